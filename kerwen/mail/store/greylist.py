"""Who was asked to come back, and who did."""

from __future__ import annotations

from collections.abc import Sequence

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_GET = sql("select tag, first_ms, passed_ms from mail_greylist where tag {in_ints:tags}")
_ADD = sql(
    "insert into mail_greylist (tag, first_ms, passed_ms) values (:tag, :now, :passed)"
    " on conflict (tag) do update set passed_ms = excluded.passed_ms"
)
_AGAIN = sql(
    "insert into mail_greylist (tag, first_ms, passed_ms) values (:tag, :now, 0)"
    " on conflict (tag) do update set first_ms = excluded.first_ms, passed_ms = 0"
)
_SWEEP = sql(
    "delete from mail_greylist where tag in (select tag from mail_greylist"
    " where first_ms < :before and passed_ms < :before order by first_ms limit :most)"
)


async def find(snap: Snap, tags: Sequence[int]) -> dict[int, tuple[int, int]]:
    """When each tag was first seen, and when it passed."""
    return {row[0]: (row[1], row[2]) for row in await snap.all(_GET, tags=list(tags))}


async def begin(tx: Tx, tag: int, now_ms: int) -> None:
    """Seen for the first time (again)."""
    await tx.run(_AGAIN, tag=tag, now=now_ms)


async def passed(tx: Tx, tags: Sequence[int], now_ms: int) -> None:
    """They came back."""
    await tx.many(_ADD, [{"tag": tag, "now": now_ms, "passed": now_ms} for tag in tags])


async def sweep(tx: Tx, before_ms: int, most: int) -> int:
    """Forgets what nobody came back for; how many."""
    return await tx.run(_SWEEP, before=before_ms, most=most)
