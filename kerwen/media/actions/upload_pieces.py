"""Takes a file piece by piece into an announced media id, so that a cut line costs one piece."""

# docs/media.md, "Uploads in pieces": an extension of ours to MSC2246's asynchronous uploads

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.media import piece_store, store
from kerwen.media.actions.upload import Incoming, Uploads
from kerwen.media.pieces import Piece
from kerwen.media.store import OURS
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, retrying


class Pieces:
    """Uploads in pieces. Those of one file come in order; a piece may come twice."""

    def __init__(self, db: Database, blobs: Blobs, uploads: Uploads) -> None:
        self._db = db
        self._blobs = blobs
        self._uploads = uploads

    async def take(self, file: Incoming, media_id: str, piece: Piece) -> int:
        """How many bytes of the file are here afterwards; with the last one it is whole.

        A piece that does not begin where the upload is changes nothing: its sender goes on from
        the number that it is told. `Refused`: as `Uploads.fill`, and INVALID_PARAM for pieces
        that are too small or not as long as they said.
        """
        self._uploads.may_be(piece.total)
        async with self._db.read() as snap:
            self._uploads.may_fill(await store.look(snap, OURS, media_id), file.account_no)
            here = await piece_store.received(snap, media_id)
        if not piece.asks and piece.first == here:
            here = await self._add(file, media_id, piece)
        elif not piece.asks:
            async for _ in file.chunks:  # the line stays usable
                pass
        if here == piece.total:
            await self._finish(file, media_id, piece.total)
        return here

    async def _add(self, file: Incoming, media_id: str, piece: Piece) -> int:
        size = piece.last - piece.first
        if size < limits.UPLOAD_PIECE_MIN and piece.last < piece.total:
            raise Refused(Reason.INVALID_PARAM, f"At least {limits.UPLOAD_PIECE_MIN} bytes a piece")
        blob = await self._blobs.put(file.chunks, size, size)
        if blob.size != size:
            await self._blobs.delete([blob.key])
            raise Refused(Reason.INVALID_PARAM, "The piece is not as long as it says")

        async def write() -> int:
            async with self._db.write() as tx:
                # the row is locked: of two that bring the same piece one finds it there
                self._uploads.may_fill(await store.find(tx, OURS, media_id), file.account_no)
                here = await piece_store.received(tx, media_id)
                if here != piece.first:
                    return here
                usage = await store.usage(tx, file.account_no)
                self._uploads.may_use(usage, await piece_store.held(tx, file.account_no) + size)
                await piece_store.add(tx, media_id, piece.first, piece.last, blob.key)
                return piece.last

        try:
            here = await retrying(write)
        except Refused:
            await self._blobs.delete([blob.key])
            raise
        async with self._db.read() as snap:
            if blob.key not in await piece_store.named(snap, [blob.key]):
                await self._blobs.delete([blob.key])  # another request brought the same piece
        return here

    async def _finish(self, file: Incoming, media_id: str, total: int) -> None:
        async with self._db.read() as snap:
            pieces = await piece_store.of(snap, media_id)

        async def chunks() -> AsyncIterator[bytes]:
            for first, last, blob in pieces:
                reader = await self._blobs.open(blob, 0, last - first)
                try:
                    async for chunk in reader:
                        yield chunk
                finally:
                    await reader.aclose()

        await self._uploads.fill(replace(file, size=total, chunks=chunks()), media_id)

        async def write() -> None:
            async with self._db.write() as tx:
                await piece_store.drop(tx, media_id)

        await retrying(write)
        await self._blobs.delete(blob for _, _, blob in pieces)
