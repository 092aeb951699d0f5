"""Takes a file: bytes to the blobs, and the row that names them.

The row of an upload is written while the disk is still at the bytes: nobody knows its id before
both are on disk. A mark beside the row goes with the next upload; what a crash leaves marked is
looked at by `clean.py`. An announced upload, whose id people may know already, takes one after
the other.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.media import store
from kerwen.media.rules import MediaRules
from kerwen.media.store import OURS, Media
from kerwen.storage.blobs import Blob, Blobs
from kerwen.storage.database import Database, Kind, Tx, retrying

_PROVED_AT_ONCE = 200
_PROVED_MAX = 2_000  # more than that are looked at by the cleaner
_UNDONE = {Unready.DISK_FULL, Unready.BUSY, Unready.STOPPING}  # surely nothing was committed


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that a caller sends: `size` is what it declared in bytes, if it did."""

    account_no: int
    content_type: str
    file_name: str | None
    size: int | None
    chunks: AsyncIterator[bytes]


class Uploads:
    """Uploads, in one step or into a piece of media that was created before."""

    def __init__(self, db: Database, blobs: Blobs, rules: MediaRules, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._rules = rules
        self._clock = clock
        self._proved: list[str] = []  # on disk: their marks go with the next upload

    async def upload(self, file: Incoming) -> str:
        """Stores a file under a fresh media id (128 random bits). # CS #post_matrixmediav3upload

        `Refused`: TOO_LARGE, OVER_QUOTA.
        """
        await self._may_upload(file)
        arriving = await self._blobs.begin(file.chunks, self._rules.upload_bytes_max, file.size)
        media = self._media(file, arriving.blob, secrets.token_urlsafe(16))
        proved = self._proved[:_PROVED_AT_ONCE]

        async def write() -> None:
            async with self._db.write() as tx:
                await self._take_quota(tx, file.account_no, media.size)
                await store.add(tx, media)
                if not arriving.settled:
                    await store.mark_unproved(tx, media)
                if proved:
                    await store.proved(tx, proved)

        try:
            await retrying(write)
        except (Refused, Unavailable) as error:
            if isinstance(error, Refused) or error.reason in _UNDONE:
                await arriving.discard()
            else:  # the row may be there: its file is to be whole
                await arriving.settle()
            raise
        del self._proved[: len(proved)]
        try:
            await arriving.settle()
        except Unavailable:
            await self._take_back(media)
            raise
        if not arriving.settled and len(self._proved) < _PROVED_MAX:
            self._proved.append(media.media_id)
        return media.media_id

    async def _take_back(self, media: Media) -> None:
        """The disk failed under a file whose row was written meanwhile."""

        async def write() -> None:
            async with self._db.write() as tx:
                await store.forget(tx, media)

        await retrying(write)

    async def fill(self, file: Incoming, media_id: str) -> None:
        """Stores a file into a created piece of media and wakes those who wait for it.

        `Refused`: NOT_FOUND (never created, or its time is over), FORBIDDEN (another's),
        CANNOT_OVERWRITE, TOO_LARGE, OVER_QUOTA.
        # CS #put_matrixmediav3uploadservernamemediaid
        """
        async with self._db.read() as snap:
            self.may_fill(await store.look(snap, OURS, media_id), file.account_no)
        await self._may_upload(file)
        blob = await self._blobs.put(file.chunks, self._rules.upload_bytes_max, file.size)
        media = self._media(file, blob, media_id)

        async def write() -> None:
            async with self._db.write() as tx:
                self.may_fill(await store.find(tx, OURS, media_id), file.account_no)
                await self._take_quota(tx, file.account_no, blob.size)
                await store.fill(tx, media)
                tx.change(Kind.ACCOUNT, file.account_no)

        await self._name(blob, write)

    def may_fill(self, media: Media | None, account_no: int) -> None:
        """`Refused`: as `fill`."""
        if media is None or (media.expires_ms or self._clock()) < self._clock():
            raise Refused(Reason.NOT_FOUND, "Unknown media ID")
        if media.account_no != account_no:
            raise Refused(Reason.FORBIDDEN, "This media ID belongs to another user")
        if media.blob is not None:
            raise Refused(Reason.CANNOT_OVERWRITE, "Media already uploaded")

    async def _may_upload(self, file: Incoming) -> None:
        """What can be refused before the first byte is read."""
        self.may_be(file.size or 0)
        async with self._db.read() as snap:
            self.may_use(await store.usage(snap, file.account_no), file.size or 0)

    def may_be(self, size: int) -> None:
        """`Refused(TOO_LARGE)` for a file of more bytes than one may have."""
        most = self._rules.upload_bytes_max
        if size > most:
            raise Refused(Reason.TOO_LARGE, f"A file may have {most} bytes")

    async def _take_quota(self, tx: Tx, account_no: int, size: int) -> None:
        self.may_use(await store.use(tx, account_no, size, 1), 0)

    def may_use(self, usage: store.Usage, more: int) -> None:
        """`Refused(OVER_QUOTA)` where `more` bytes would be too many."""
        quota = self._rules.quota if usage.quota is None else usage.quota
        if usage.bytes + more > quota:
            raise Refused(Reason.OVER_QUOTA, "Your files would need more room than you have here")

    def _media(self, file: Incoming, blob: Blob, media_id: str) -> Media:
        return Media(
            origin=OURS,
            media_id=media_id,
            account_no=file.account_no,
            blob=blob.key,
            content_type=file.content_type,
            file_name=file.file_name,
            size=blob.size,
            created_ms=self._clock(),
            expires_ms=None,
        )

    async def _name(self, blob: Blob, write: Callable[[], Awaitable[None]]) -> None:
        """Writes the row; a blob that surely got none goes at once, else the sweep decides."""
        try:
            await retrying(write)
        except Refused:
            await self._blobs.delete([blob.key])
            raise
        except Unavailable as error:
            if error.reason in _UNDONE:
                await self._blobs.delete([blob.key])
            raise


class Creation:
    """Gives a media id before its file is there."""

    def __init__(self, db: Database, rules: MediaRules, clock: Clock) -> None:
        self._db = db
        self._rules = rules
        self._clock = clock

    async def create(self, account_no: int) -> Media:
        """A fresh id that its owner may fill until `expires_ms`. # CS #post_matrixmediav1create

        `Refused(LIMIT_EXCEEDED)` while the account owes too many uploads.
        """
        now = self._clock()
        fresh = Media(
            origin=OURS,
            media_id=secrets.token_urlsafe(16),
            account_no=account_no,
            blob=None,
            content_type="",
            file_name=None,
            size=0,
            created_ms=now,
            expires_ms=now + self._rules.pending_ms,
        )

        async def write() -> None:
            async with self._db.write() as tx:
                owed, first_expires_ms = await store.pending(tx, account_no, now)
                if owed >= self._rules.pending_max:
                    raise Refused(
                        Reason.LIMIT_EXCEEDED,
                        "Too many uploads are pending",
                        extra={"retry_after_ms": max(1000, first_expires_ms - now)},
                    )
                await store.add(tx, fresh)

        await retrying(write)
        return fresh
