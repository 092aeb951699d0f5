"""Removes what nobody needs: announced uploads that never came, blobs that no row names, rows
whose file a crash has cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerwen.base.clock import Clock
from kerwen.media import piece_store, store
from kerwen.storage.blobs import Blobs, Named
from kerwen.storage.database import Database, retrying

ORPHAN_MS: Final = 24 * 3_600_000  # far more than any upload takes from its last byte to its row
_UNPROVED_MS: Final = 10 * 60_000  # the disk is not at a file for so long
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
        """Which of these blobs are media, thumbnails or pieces."""
        async with self._db.read(long=True) as snap:
            return await store.named(snap, keys) | await piece_store.named(snap, keys)

    async def expire(self) -> int:
        """Removes created media whose time to be uploaded is over; how many there were."""
        now, count = self._clock(), 0

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.expire(tx, now, _AT_ONCE)

        while removed := await retrying(write):
            count += removed
        await self._drop_pieces()
        return count

    async def _drop_pieces(self) -> None:
        """Pieces of uploads that are whole, or will never be."""
        while True:
            async with self._db.read() as snap:
                left = await piece_store.left(snap, _AT_ONCE)
            if not left:
                return
            await self._forget_pieces({media_id for media_id, _ in left})
            await self._blobs.delete(blob for _, blob in left)

    async def _forget_pieces(self, media_ids: set[str]) -> None:
        async def write() -> None:
            async with self._db.write() as tx:
                for media_id in media_ids:
                    await piece_store.drop(tx, media_id)

        await retrying(write)

    async def prove(self) -> int:
        """Looks at the files of rows that were written while the disk was at them: what a crash
        has cut goes with its row, which nobody was ever told of. How many those were."""
        before_ms, count = self._clock() - _UNPROVED_MS, 0
        while True:
            async with self._db.read() as snap:
                marked = await store.unproved(snap, before_ms, _AT_ONCE)
            if not marked:
                return count
            whole = await self._blobs.whole({blob: size for _, blob, size in marked})
            cut = [media_id for media_id, blob, _ in marked if blob not in whole]
            await self._settle(cut, [media_id for media_id, _, _ in marked])
            await self._blobs.delete(blob for media_id, blob, _ in marked if media_id in set(cut))
            count += len(cut)

    async def _settle(self, cut: Sequence[str], marked: Sequence[str]) -> None:
        async def write() -> None:
            async with self._db.write() as tx:
                for media_id in cut:
                    media = await store.find(tx, store.OURS, media_id)
                    if media is not None:
                        await store.forget(tx, media)
                await store.proved(tx, marked)

        await retrying(write)

    async def sweep(self) -> int:
        """Removes old blobs that nobody names; how many there were."""

        async def anybody(keys: Sequence[str]) -> set[str]:
            known: set[str] = set()
            for owner in self._owners:
                known |= await owner(keys)
            return known

        return await self._blobs.sweep(anybody, self._clock() - ORPHAN_MS)
