"""What a timer does, and what the sweep of blobs asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.mail.store import messages, objects, submissions, threads
from kerwen.storage.database import Database, retrying

RETIRED_MS: Final = 24 * 3_600_000  # longer than a backup takes
_AT_ONCE: Final = 1_000


class Tidy:
    """Forgets what is old."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def named(self, keys: Sequence[str]) -> set[str]:
        """Which of these blobs belong to mail: the sweep must leave them."""
        async with self._db.read(long=True) as snap:
            return await messages.named(snap, keys)

    async def run(self) -> int:
        """Forgets deliveries that nobody repeats any more; how many there were."""
        before, count = self._clock() - limits.DELIVERED_KEPT_MS, 0

        async def write() -> int:
            async with self._db.write() as tx:
                return await threads.sweep(tx, before, _AT_ONCE)

        while removed := await retrying(write):
            count += removed
        return count

    async def forget_objects(self) -> None:
        """Forgets things of JMAP that are gone for longer than clients are told of."""
        before_s = self._clock() // 1000 - limits.VANISHED_KEPT_S

        async def write() -> None:
            async with self._db.write() as tx:
                await objects.sweep(tx, before_s)
                await submissions.sweep(tx, before_s)

        await retrying(write)

    async def retired(self) -> list[str]:
        """Blobs that were retired a day ago; no row names them any more: remove them."""
        before = self._clock() - RETIRED_MS

        async def write() -> list[str]:
            async with self._db.write() as tx:
                blobs = await messages.retired_blobs(tx, before, _AT_ONCE)
                if blobs:
                    await messages.drop_blobs(tx, blobs)
                return blobs

        return await retrying(write)
