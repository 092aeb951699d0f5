"""Keeps the disk within bounds: which media go, in which order (docs/administration.md).

1. Other servers' media that nobody used for a month: they can be fetched again.
2. Files of people, only if the operator says after how long: those that are so old and that
   nobody got for as long, but no picture of a person or room.
3. Above the budget: thumbnails, which are made anew, then all of other servers' media, the
   longest unused first. Never a file of a person: if that is not enough, the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from kerwen.base.clock import Clock
from kerwen.base.errors import Refused
from kerwen.media import store
from kerwen.media.actions.delete import Deletion
from kerwen.media.store import Media
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, retrying

log = logging.getLogger("kerwen.media")

_DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 100

Pictures = Callable[[], Awaitable[frozenset[str]]]
"""The mxc URIs of people's and rooms' pictures, which stay whatever their age."""


@dataclass(frozen=True, slots=True)
class KeepRules:
    """`files_ms`, `cached_ms`: how long an unused file is kept, 0 for ever. `budget`: bytes, 0:
    as many as there are."""

    files_ms: int = 0
    cached_ms: int = 30 * _DAY_MS
    budget: int = 0


class Keep:
    """Run by the cleaner, now and then."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        deletion: Deletion,
        domain: str,
        rules: KeepRules,
        pictures: Pictures,
        clock: Clock,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._deletion = deletion
        self._domain = domain
        self._rules = rules
        self._pictures = pictures
        self._clock = clock

    async def run(self) -> int:
        """How many pieces went, thumbnails counted."""
        removed = await self._cached() if self._rules.cached_ms else 0
        if self._rules.files_ms:
            removed += await self._files()
        if self._rules.budget:
            removed += await self._within_budget()
        return removed

    async def _cached(self) -> int:
        return await self._drop_cached(self._clock() - self._rules.cached_ms, 2**62)

    async def _drop_cached(self, before_ms: int, wanted: int) -> int:
        """Removes other servers' media that were not used since, until enough bytes are free."""
        count = 0
        while wanted > 0:
            async with self._db.read() as snap:
                found = await store.cached(snap, before_ms, _AT_ONCE)
            for media in found:
                if wanted > 0 and await self._drop(media):
                    count += 1
                    wanted -= media.size
            if len(found) < _AT_ONCE:
                break
        return count

    async def _files(self) -> int:
        before, after, count = self._clock() - self._rules.files_ms, (-1, ""), 0
        pictures = await self._pictures()
        while True:
            async with self._db.read() as snap:
                found = await store.unused(snap, before, after, _AT_ONCE)
            for media in found:
                if f"mxc://{self._domain}/{media.media_id}" not in pictures:
                    count += await self._drop(media)
            if len(found) < _AT_ONCE:
                return count
            after = (found[-1].created_ms, found[-1].media_id)

    async def _drop(self, media: Media) -> bool:
        try:
            await self._deletion.delete_any(media.origin or self._domain, media.media_id)
        except Refused:
            return False  # its owner was quicker
        return True

    async def _within_budget(self) -> int:
        over = await self._over()
        count = 0
        while over > 0 and (freed := await self._drop_thumbnails(over)):
            count += freed
            over = await self._over()
        if over > 0:
            count += await self._drop_cached(2**62, over)
            over = await self._over()
        if over > 0:
            log.warning("media above the budget: what is left is people's own", extra={"by": over})
        return count

    async def _over(self) -> int:
        async with self._db.read(long=True) as snap:
            return await store.total(snap) - self._rules.budget

    async def _drop_thumbnails(self, wanted: int) -> int:
        """Removes up to a hundred thumbnails, until enough bytes are free; how many."""
        async with self._db.read(long=True) as snap:
            found = await store.old_thumbnails(snap, _AT_ONCE)
        gone = []
        for thumbnail in found:
            if wanted <= 0:
                break
            gone.append(thumbnail)
            wanted -= thumbnail[4]

        async def write() -> None:
            async with self._db.write() as tx:
                for origin, media_id, variant, _, _ in gone:
                    await store.remove_thumbnail(tx, origin, media_id, variant)

        if gone:
            await retrying(write)
            await self._blobs.delete([blob for _, _, _, blob, _ in gone])
        return len(gone)
