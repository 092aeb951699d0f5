"""What is known of TLS at other servers: MTA-STS policies, and results by day. Boxes are sealed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_GET = sql("select box from mail_sts where destination = :destination and expires_ms > :now")
_PUT = sql(
    "insert into mail_sts (destination, expires_ms, box) values (:destination, :expires_ms, :box)"
    " on conflict (destination) do update set expires_ms = excluded.expires_ms, box = excluded.box"
)
_DROP = sql("delete from mail_sts where destination = :destination")
_OLD = sql("delete from mail_sts where expires_ms <= :now")
_COUNT = sql(
    "insert into mail_tls_results (day, tag, box, count) values (:day, :tag, :box, :count)"
    " on conflict (day, tag) do update set count = mail_tls_results.count + excluded.count"
)
_DAY = sql("select tag, box, count from mail_tls_results where day = :day order by tag")
_DAYS = sql("select distinct day from mail_tls_results order by day limit :most")
_FORGET = sql("delete from mail_tls_results where day = :day and tag {in_ints:tags}")
_OLD_DAYS = sql("delete from mail_tls_results where day < :day")


class Counted(msgspec.Struct, frozen=True):
    """How often one thing happened on one day."""

    day: int
    tag: int
    box: bytes
    count: int


async def policy(snap: Snap, destination: int, now_ms: int) -> bytes | None:
    """A domain's policy that is still good."""
    row = await snap.one(_GET, destination=destination, now=now_ms)
    return row[0] if row else None


async def put_policy(tx: Tx, destination: int, expires_ms: int, box: bytes) -> None:
    """Keeps a policy, in place of another one."""
    await tx.run(_PUT, destination=destination, expires_ms=expires_ms, box=box)


async def drop_policy(tx: Tx, destination: int) -> None:
    """The domain has no policy any more."""
    await tx.run(_DROP, destination=destination)


async def count(tx: Tx, results: Sequence[Counted]) -> None:
    """Adds results to those of their days."""
    await tx.many(_COUNT, [msgspec.structs.asdict(one) for one in results])


async def of_day(snap: Snap, day: int) -> list[Counted]:
    """All that was counted on a day."""
    return [Counted(day, *row) for row in await snap.all(_DAY, day=day)]


async def sweep(tx: Tx, now_ms: int, before_day: int) -> None:
    """Forgets policies that are over, and the results of days before one."""
    await tx.run(_OLD, now=now_ms)
    await tx.run(_OLD_DAYS, day=before_day)


async def days(snap: Snap, most: int) -> list[int]:
    """The days of which something was counted, the oldest first."""
    return [row[0] for row in await snap.all(_DAYS, most=most)]


async def forget(tx: Tx, day: int, tags: Sequence[int]) -> None:
    """Removes what was counted on a day."""
    await tx.run(_FORGET, day=day, tags=list(tags))
