"""Deletes media: rows first, then bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from kerwen.base.errors import Reason, Refused
from kerwen.media import store
from kerwen.media.mxc import parse_mxc, well_formed
from kerwen.media.store import OURS, Media
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Kind, Tx, retrying

_AT_ONCE = 100


class Deletion:
    """Deletes a piece of media for its owner or an administrator."""

    def __init__(self, db: Database, blobs: Blobs, domain: str) -> None:
        self._db = db
        self._blobs = blobs
        self._domain = domain

    async def delete_own(self, account_no: int, server: str, media_id: str) -> None:
        """`Refused`: NOT_FOUND, FORBIDDEN (another's)."""
        await self._delete(self._origin(server, media_id), media_id, account_no)

    async def delete_any(self, server: str, media_id: str) -> None:
        """For administrators, also of other servers' media that is kept here."""
        await self._delete(self._origin(server, media_id), media_id, None)

    async def delete_all(self, account_no: int) -> int:
        """Everything that an account has here; how many pieces that were."""
        count = 0
        while True:
            async with self._db.read() as snap:
                found = await store.of_account(snap, account_no, 2**62, _AT_ONCE)
            for media in found:
                try:
                    await self._delete(media.origin, media.media_id, None)
                    count += 1
                except Refused:
                    pass  # its owner was quicker
            if len(found) < _AT_ONCE:
                return count

    async def delete_shared(self, shared: Sequence[tuple[int, str]]) -> None:
        """What messages that are gone have brought, (account, mxc): only if that account has
        uploaded it here."""
        for account_no, uri in shared:
            named = parse_mxc(uri)
            if named is not None and named[0] == self._domain:
                with contextlib.suppress(Refused):
                    await self.delete_own(account_no, *named)

    async def quarantine(self, server: str, media_id: str, quarantined: bool) -> None:
        """For administrators: nobody gets a piece any more, or again; `Refused(NOT_FOUND)`."""
        origin = self._origin(server, media_id)

        async def write() -> None:
            async with self._db.write() as tx:
                if not await store.quarantine(tx, origin, media_id, quarantined):
                    raise Refused(Reason.NOT_FOUND, "Not found")

        await retrying(write)

    def _origin(self, server: str, media_id: str) -> str:
        if not well_formed(server, media_id):
            raise Refused(Reason.NOT_FOUND, "Not found")
        return OURS if server == self._domain else server

    async def _delete(self, origin: str, media_id: str, account_no: int | None) -> None:
        async def write() -> list[str]:
            async with self._db.write() as tx:
                media = await store.find(tx, origin, media_id)
                if media is None:
                    raise Refused(Reason.NOT_FOUND, "Not found")
                if account_no is not None and media.account_no != account_no:
                    raise Refused(Reason.FORBIDDEN, "This media belongs to another user")
                return await self._remove_rows(tx, media)

        keys = await retrying(write)
        if keys:
            await self._blobs.delete(keys)

    async def _remove_rows(self, tx: Tx, media: Media) -> list[str]:
        """Removes all rows of a piece; the blobs that they named."""
        keys = [kept.blob for kept in await store.thumbnails(tx, media.origin, media.media_id)]
        await store.remove(tx, media.origin, media.media_id)
        if media.blob is not None:
            keys.append(media.blob)
            if media.account_no is not None:
                await store.use(tx, media.account_no, -media.size, -1)
        elif media.account_no is not None:
            tx.change(Kind.ACCOUNT, media.account_no)  # somebody may wait for it
        return keys
