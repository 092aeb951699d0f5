"""How often things happened on a day. What they are is sealed; a keyed tag tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Counted(msgspec.Struct, frozen=True):
    """How often one thing happened on one day."""

    day: int
    tag: int
    box: bytes
    count: int


class DayTable:
    """The statements of one table of counts."""

    __slots__ = ("_add", "_days", "_forget", "_of", "_old")

    def __init__(self, table: str) -> None:
        self._add = sql(
            f"insert into {table} (day, tag, box, count) values (:day, :tag, :box, :count)"
            f" on conflict (day, tag) do update set count = {table}.count + excluded.count"
        )
        self._of = sql(f"select tag, box, count from {table} where day = :day order by tag")
        self._days = sql(f"select distinct day from {table} order by day limit :most")
        self._forget = sql(f"delete from {table} where day = :day and tag {{in_ints:tags}}")
        self._old = sql(f"delete from {table} where day < :day")

    async def add(self, tx: Tx, results: Sequence[Counted]) -> None:
        """Adds to what was counted before on the same days."""
        await tx.many(self._add, [msgspec.structs.asdict(one) for one in results])

    async def of_day(self, snap: Snap, day: int) -> list[Counted]:
        """All that was counted on a day."""
        return [Counted(day, *row) for row in await snap.all(self._of, day=day)]

    async def days(self, snap: Snap, most: int) -> list[int]:
        """The days of which something was counted, the oldest first."""
        return [row[0] for row in await snap.all(self._days, most=most)]

    async def forget(self, tx: Tx, day: int, tags: Sequence[int]) -> None:
        """Removes what was counted on a day."""
        await tx.run(self._forget, day=day, tags=list(tags))

    async def sweep(self, tx: Tx, before_day: int) -> None:
        """Removes the days before one."""
        await tx.run(self._old, day=before_day)


TLS: Final = DayTable("mail_tls_results")
DMARC: Final = DayTable("mail_dmarc_results")
