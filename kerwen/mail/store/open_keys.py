"""OpenPGP keys that accounts publish; public, so in clear."""

from __future__ import annotations

from collections.abc import Sequence

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_BY_HASH = sql("select account_no, keys from mail_open_keys where hash = :hash")
_OWN = sql("select keys from mail_open_keys where account_no = :account_no")
_PUT = sql(
    "insert into mail_open_keys (account_no, hash, at_ms, keys)"
    " values (:account_no, :hash, :at_ms, :keys) on conflict (account_no) do update set"
    " hash = excluded.hash, at_ms = excluded.at_ms, keys = excluded.keys"
)
_DROP = sql("delete from mail_open_keys where account_no = :account_no")
_AMONG = sql("select count(*) from mail_open_keys where account_no {in_ints:accounts}")
_ANY = sql("select 1 from mail_open_keys limit 1")


async def by_hash(snap: Snap, name: str) -> tuple[int, bytes] | None:
    """(account, keys) by the hash that WKD asks for."""
    row = await snap.one(_BY_HASH, hash=name)
    return (row[0], bytes(row[1])) if row is not None else None


async def own(snap: Snap, account_no: int) -> bytes | None:
    """What an account publishes."""
    row = await snap.one(_OWN, account_no=account_no)
    return bytes(row[0]) if row is not None else None


async def put(tx: Tx, account_no: int, name: str, keys: bytes, at_ms: int) -> None:
    """Publishes keys instead of those before."""
    await tx.run(_PUT, account_no=account_no, hash=name, at_ms=at_ms, keys=keys)


async def drop(tx: Tx, account_no: int) -> bool:
    """False if there were none."""
    return await tx.run(_DROP, account_no=account_no) == 1


async def count_among(snap: Snap, accounts: Sequence[int]) -> int:
    """How many of these publish."""
    row = await snap.one(_AMONG, accounts=list(accounts))
    return int(row[0]) if row is not None else 0


async def any_at_all(snap: Snap) -> bool:
    """Whether anybody publishes."""
    return await snap.one(_ANY) is not None
