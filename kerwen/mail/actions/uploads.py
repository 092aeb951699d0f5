"""Takes in files that clients upload before they are put into messages; sealed as all mail is."""

# RFC 8620 §6.1

from __future__ import annotations

import asyncio
from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import OFF_LOOP, ROW_MAX, EpochKeys, hand
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.store import messages
from kerwen.mail.store import uploads as store
from kerwen.mail.store.uploads import Upload
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Tx, retrying
from kerwen.vault.epoch import OVERHEAD_BYTES
from kerwen.vault.seal import Belonging

_KIND: Final = "mail upload"
_AT_ONCE: Final = 500


class Uploads:
    """Keeps a file for a day; the eldest go where an account has too many."""

    def __init__(
        self, db: Database, blobs: Blobs, keys: EpochKeys, records: Records, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._keys = keys
        self._records = records
        self._clock = clock

    async def add(self, account_no: int, kind: str, data: bytes) -> int:
        """A new file; its number. `Refused`: TOO_LARGE, VAULT_CLOSED."""
        if len(data) > limits.MESSAGE_BYTES_MAX:
            raise Refused(Reason.TOO_LARGE, "The file is too large")
        upload_no = await self._db.take_id("mail_upload")
        epoch = await self._keys.of(account_no)
        belonging = Belonging(account_no, upload_no, _KIND)
        with hand(epoch, 1) as own:
            if len(data) > OFF_LOOP:
                box = await asyncio.to_thread(own.seal, belonging, data)
            else:
                box = own.seal(belonging, data)
        blob = (await self._blobs.put_bytes(box)).key if len(box) > ROW_MAX else None
        made = Upload(
            upload_no, account_no, self._clock(), len(data), kind, blob, None if blob else box
        )
        try:
            gone = await retrying(lambda: self._write(made))
        except BaseException:
            if blob:
                await self._blobs.delete([blob])
            raise
        if gone:
            await self._blobs.delete(gone)
        return upload_no

    async def _write(self, made: Upload) -> list[str]:
        """Writes the row; the blobs of files that had to make room."""
        async with self._db.write() as tx:
            count, size = await store.usage(tx, made.account_no)
            gone: list[str] = []
            while count and (
                count >= limits.JMAP_UPLOADS_MAX or size + made.size > limits.JMAP_UPLOADS_BYTES
            ):
                gone += await self._drop(tx, await store.oldest(tx, made.account_no, 16))
                count, size = await store.usage(tx, made.account_no)
            if made.blob is not None:
                await messages.add_blob(tx, made.blob, made.account_no, 1)
            await store.add(tx, made)
            return gone

    async def _drop(self, tx: Tx, some: list[tuple[int, str | None]]) -> list[str]:
        blobs = [blob for _, blob in some if blob]
        if blobs:
            await messages.drop_blobs(tx, blobs)
        await store.drop(tx, [no for no, _ in some])
        return blobs

    async def read(self, unlocked: Unlocked, upload_no: int) -> tuple[str, bytes] | None:
        """Type and bytes of a file; None: there is none. Says `BOX_DAMAGED`."""
        async with self._db.read() as snap:
            found = await store.get(snap, unlocked.account_no, upload_no)
            if found is None:
                return None
            if found.blob is None:
                box = found.box or b""
                return found.type, await self._records.open(snap, unlocked, upload_no, _KIND, box)
        try:
            box = await self._blobs.get(found.blob, 0, found.size + OVERHEAD_BYTES)
        except Refused:
            return None  # it made room meanwhile
        async with self._db.read() as snap:
            return found.type, await self._records.open(snap, unlocked, upload_no, _KIND, box)

    async def sweep(self) -> int:
        """Forgets files that nobody used within a day; how many."""
        before, count = self._clock() - limits.JMAP_UPLOAD_LIFE_MS, 0

        async def write() -> tuple[int, list[str]]:
            async with self._db.write() as tx:
                some = await store.old(tx, before, _AT_ONCE)
                return len(some), await self._drop(tx, some) if some else []

        while True:
            done, blobs = await retrying(write)
            await self._blobs.delete(blobs)
            count += done
            if done < _AT_ONCE:
                return count
