"""Removes what nobody needs: announced uploads that never came, blobs that no row names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerwen.base.clock import Clock
from kerwen.media import store
from kerwen.storage.blobs import Blobs, Named
from kerwen.storage.database import Database, retrying

ORPHAN_MS: Final = 24 * 3_600_000  # far more than any upload takes from its last byte to its row
_AT_ONCE: Final = 500


class Clean:
    """`others` say which blobs the other subjects of this store still name."""

    def __init__(
        self, db: Database, blobs: Blobs, clock: Clock, others: Sequence[Named] = ()
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._owners = [self.named, *others]

    async def named(self, keys: Sequence[str]) -> set[str]:
        """Which of these blobs are media or thumbnails."""
        async with self._db.read(long=True) as snap:
            return await store.named(snap, keys)

    async def expire(self) -> int:
        """Removes created media whose time to be uploaded is over; how many there were."""
        now, count = self._clock(), 0

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.expire(tx, now, _AT_ONCE)

        while removed := await retrying(write):
            count += removed
        return count

    async def sweep(self) -> int:
        """Removes old blobs that nobody names; how many there were."""

        async def anybody(keys: Sequence[str]) -> set[str]:
            known: set[str] = set()
            for owner in self._owners:
                known |= await owner(keys)
            return known

        return await self._blobs.sweep(anybody, self._clock() - ORPHAN_MS)
