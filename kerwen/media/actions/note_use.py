"""Remembers which media somebody got, to the day: by it the disk is cleared of what nobody uses."""

from __future__ import annotations

from typing import Final

from kerwen.base.clock import Clock
from kerwen.media import store
from kerwen.media.store import Media
from kerwen.storage.database import Database, retrying

_DAY_MS: Final = 86_400_000
_WAITING_MAX: Final = 50_000
_AT_ONCE: Final = 500


class NoteUse:
    """In memory first; a timer writes it down. What a crash loses, the next use notes again."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._waiting: set[tuple[str, str]] = set()

    def note(self, media: Media) -> None:
        """Somebody gets a piece; only the first time of a day is news."""
        if media.used_ms < self._today() and len(self._waiting) < _WAITING_MAX:
            self._waiting.add((media.origin, media.media_id))

    async def write(self) -> None:
        """Writes down what was noted, a few hundred at a time."""
        today = self._today()
        while self._waiting:
            some = [self._waiting.pop() for _ in range(min(_AT_ONCE, len(self._waiting)))]

            async def write(some: list[tuple[str, str]] = some) -> None:
                async with self._db.write() as tx:
                    await store.used(tx, some, today)

            await retrying(write)

    def _today(self) -> int:
        return self._clock() // _DAY_MS * _DAY_MS
