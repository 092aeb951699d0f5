"""Counts by day what is to be reported to other domains.

Counts are gathered in memory and written now and then; after a crash the last minute's are missing.
Who counts is not trusted to be few: there is a limit in memory, and one for different things a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Refused
from kerwen.mail.store.day_counts import Counted, DayTable
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database, retrying

DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 200

T = TypeVar("T", bound=msgspec.Struct)


class DayCounts(Generic[T]):
    """Counts, writes, and gives back. `kind` names what is counted, for its seals and tags."""

    def __init__(
        self,
        table: DayTable,
        kind: str,
        form: type[T],
        db: Database,
        key: QueueKey,
        tags: Tags,
        clock: Clock,
    ) -> None:
        self._table = table
        self._kind = kind
        self._form = form
        self._db = db
        self._key = key
        self._tags = tags
        self._clock = clock
        self._counts: dict[tuple[int, T], int] = {}
        self._seen: tuple[int, set[int]] = (0, set())

    def add(self, what: T) -> None:
        """It happened once more."""
        key = (self._clock() // DAY_MS, what)
        if key in self._counts or len(self._counts) < limits.DAY_COUNTS_IN_MEMORY:
            self._counts[key] = self._counts.get(key, 0) + 1

    async def flush(self) -> None:
        """Writes what was counted."""
        counts, self._counts = self._counts, {}
        rows = []
        for at, ((day, what), count) in enumerate(counts.items()):
            if at % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # each row takes a key of its own: let others go on
            plain = msgspec.msgpack.encode(what)
            tag = self._tag(plain)
            if self._has_room(day, tag):
                rows.append(Counted(day, tag, self._key.seal(tag, self._kind, plain), count))
        if not rows:
            return
        rows.sort(key=lambda one: (one.day, one.tag))

        async def write() -> None:
            async with self._db.write() as tx:
                await self._table.add(tx, rows)

        await retrying(write)

    def _tag(self, plain: bytes) -> int:
        return self._tags.tag(0, self._kind.encode(), plain)

    def _has_room(self, day: int, tag: int) -> bool:
        """Whether a day's different things are not too many; what is known is always counted."""
        if self._seen[0] != day:
            self._seen = (day, set())
        seen = self._seen[1]
        if tag in seen:
            return True
        if len(seen) >= limits.DAY_COUNTS_MAX:
            return False
        seen.add(tag)
        return True

    async def of_day(self, day: int) -> list[tuple[T, int]]:
        """What was written of a day (of UTC, since 1970), and how often it happened."""
        async with self._db.read(single=True) as snap:
            rows = await self._table.of_day(snap, day)
        found = []
        for at, one in enumerate(rows):
            if at % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                plain = self._key.open(one.tag, self._kind, one.box)
            except Refused:
                continue  # damaged: it is swept with its day
            found.append((msgspec.msgpack.decode(plain, type=self._form), one.count))
        return found

    async def over(self) -> list[int]:
        """The days of which something is written and that are over, the oldest first."""
        async with self._db.read(single=True) as snap:
            days = await self._table.days(snap, limits.DAY_COUNTS_KEPT_DAYS + 2)
        today = self._clock() // DAY_MS
        return [day for day in days if day < today]

    async def forget(self, day: int, things: Sequence[T]) -> None:
        """Removes what was written of a day: it has been reported."""
        tags = [self._tag(msgspec.msgpack.encode(one)) for one in things]

        async def write() -> None:
            async with self._db.write() as tx:
                await self._table.forget(tx, day, tags)

        await retrying(write)

    async def sweep(self) -> None:
        """Forgets days that nobody reports any more."""
        before = self._clock() // DAY_MS - limits.DAY_COUNTS_KEPT_DAYS

        async def write() -> None:
            async with self._db.write() as tx:
                await self._table.sweep(tx, before)

        await retrying(write)
