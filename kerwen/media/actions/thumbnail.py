"""Finds or makes a thumbnail of a piece of media."""

from __future__ import annotations

import asyncio
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.media import store
from kerwen.media.content_type import image_type, may_have_thumbnail
from kerwen.media.store import Media, Thumbnail
from kerwen.media.thumbnail_sizes import Variant
from kerwen.media.thumbnailer import Thumbnailer
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, retrying

_HEAD_BYTES: Final = 16
_FAILURES_MAX: Final = 1000

Key = tuple[str, str, Variant]


class Thumbnails:
    """Thumbnails are made once, when first asked for, and kept as blobs."""

    def __init__(self, db: Database, blobs: Blobs, thumbnailer: Thumbnailer) -> None:
        self._db = db
        self._blobs = blobs
        self._thumbnailer = thumbnailer
        self._making: dict[Key, asyncio.Task[Thumbnail]] = {}
        self._failed: dict[Key, tuple[Reason, str]] = {}  # images that will not get better

    async def thumbnail(self, media: Media, wanted: Variant) -> Thumbnail:
        """A thumbnail of media that its caller may see.

        `Refused`: CANNOT_THUMBNAIL (no image, broken, opaque), TOO_LARGE.
        # CS #get_matrixclientv1mediathumbnailservernamemediaid
        """
        async with self._db.read() as snap:
            kept = await store.thumbnail(snap, media, wanted.name)
        if kept is not None:
            return kept
        key = media.origin, media.media_id, wanted
        if key in self._failed:
            raise Refused(*self._failed[key])
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(self._make(media, wanted))
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(task)  # others may wait for it when this caller leaves

    def _made(self, key: Key, task: asyncio.Task[Thumbnail]) -> None:
        del self._making[key]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Refused) and error.reason in (
            Reason.CANNOT_THUMBNAIL,
            Reason.TOO_LARGE,
        ):
            while len(self._failed) >= _FAILURES_MAX:
                del self._failed[next(iter(self._failed))]
            self._failed[key] = error.reason, error.public_text

    async def _make(self, media: Media, wanted: Variant) -> Thumbnail:
        assert media.blob is not None
        if not may_have_thumbnail(media.content_type):
            raise _cannot()
        if media.size > limits.THUMBNAIL_SOURCE_MAX:
            raise Refused(Reason.TOO_LARGE, "Content is too large to thumbnail")
        head = await self._blobs.get(media.blob, 0, min(_HEAD_BYTES, media.size))
        if image_type(head) is None:
            raise _cannot()
        async with self._thumbnailer.turn():
            data = await self._blobs.get(media.blob, 0, media.size)
            made = await self._thumbnailer.make(data, wanted)
        if made.data is None:
            own = Thumbnail(wanted.name, media.blob, made.content_type, media.size)
            return await self._keep(media, own)
        blob = await self._blobs.put_bytes(made.data)
        try:
            return await self._keep(
                media, Thumbnail(wanted.name, blob.key, made.content_type, blob.size)
            )
        except Refused:
            await self._blobs.delete([blob.key])
            raise

    async def _keep(self, media: Media, made: Thumbnail) -> Thumbnail:
        """Writes the row; where an image has too many, the others go."""

        async def write() -> list[Thumbnail]:
            async with self._db.write() as tx:
                now = await store.find(tx, media.origin, media.media_id)
                if now is None:
                    raise Refused(Reason.NOT_FOUND, "Not found")  # deleted meanwhile
                kept = await store.thumbnails(tx, media.origin, media.media_id)
                dropped = []
                if len(kept) >= limits.THUMBNAILS_KEPT_MAX:
                    await store.remove_thumbnails(tx, media.origin, media.media_id)
                    dropped = kept
                await store.add_thumbnail(tx, media, made)
                return dropped

        dropped = await retrying(write)
        if dropped:
            await self._blobs.delete([old.blob for old in dropped if old.blob != media.blob])
        return made


def _cannot() -> Refused:
    return Refused(Reason.CANNOT_THUMBNAIL, "Cannot generate thumbnails for the requested content")
