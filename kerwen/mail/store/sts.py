"""MTA-STS policies of other domains, sealed; a domain stands there as its keyed tag."""

from __future__ import annotations

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_GET = sql("select box from mail_sts where destination = :destination and expires_ms > :now")
_PUT = sql(
    "insert into mail_sts (destination, expires_ms, box) values (:destination, :expires_ms, :box)"
    " on conflict (destination) do update set expires_ms = excluded.expires_ms, box = excluded.box"
)
_OLD = sql("delete from mail_sts where expires_ms <= :now")


async def policy(snap: Snap, destination: int, now_ms: int) -> bytes | None:
    """A domain's policy that is still good."""
    row = await snap.one(_GET, destination=destination, now=now_ms)
    return row[0] if row else None


async def put_policy(tx: Tx, destination: int, expires_ms: int, box: bytes) -> None:
    """Keeps a policy, in place of another one."""
    await tx.run(_PUT, destination=destination, expires_ms=expires_ms, box=box)


async def sweep(tx: Tx, now_ms: int) -> None:
    """Forgets policies that are over."""
    await tx.run(_OLD, now=now_ms)
