"""Finds a piece of media for one who may see it, waiting for its upload if need be."""

from __future__ import annotations

import asyncio
from typing import Protocol

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.media import store
from kerwen.media.actions.note_use import NoteUse
from kerwen.media.arrivals import Arrivals
from kerwen.media.mxc import well_formed
from kerwen.media.rules import MediaRules
from kerwen.media.store import OURS, Media
from kerwen.storage.database import Database


class RemoteMedia(Protocol):
    """Fetches other servers' media; federation gives it."""

    async def fetch(self, server: str, media_id: str, timeout_ms: int) -> Media:
        """A row whose blob is stored here by now; `Refused(NOT_FOUND)`."""


class NoRemoteMedia:
    """Knows no other servers."""

    async def fetch(self, server: str, media_id: str, timeout_ms: int) -> Media:
        raise Refused(Reason.NOT_FOUND, "Not found")


class Downloads:
    """The one way from a name to the media that a door may serve."""

    def __init__(
        self,
        db: Database,
        domain: str,
        arrivals: Arrivals,
        remote: RemoteMedia,
        rules: MediaRules,
        clock: Clock,
    ) -> None:
        self._db = db
        self._domain = domain
        self._arrivals = arrivals
        self._remote = remote
        self._rules = rules
        self._clock = clock
        self.use = NoteUse(db, clock)

    async def visible_to_users(self, server: str, media_id: str, timeout_ms: int) -> Media:
        """Uploaded media for a caller with an account: its name is the key to it.

        Waits `timeout_ms` at most for an upload that was announced. `Refused`: NOT_FOUND,
        NOT_YET_UPLOADED. # CS #get_matrixclientv1mediadownloadservernamemediaid
        """
        if not well_formed(server, media_id):
            raise Refused(Reason.NOT_FOUND, "Not found")
        if server != self._domain:
            return self._given(await self._remote.fetch(server, media_id, timeout_ms))
        media = await self._look(media_id)
        if media.blob is None:
            media = await self._wait(media, min(timeout_ms, limits.UPLOAD_WAIT_MAX_MS))
        return self._given(media)

    def _given(self, media: Media) -> Media:
        """Somebody gets it, unless an administrator keeps it from everybody."""
        if media.quarantined:
            raise Refused(Reason.NOT_FOUND, "Not found")
        self.use.note(media)
        return media

    async def visible_to_anyone(self, server: str, media_id: str) -> Media:
        """Media of ours from before the freeze. # CS #content-repo-client-behaviour"""
        if well_formed(server, media_id) and server == self._domain:
            media = await self._look(media_id)
            if media.blob is not None and media.created_ms < self._rules.legacy_before_ms:
                return self._given(media)
        raise Refused(Reason.NOT_FOUND, "Not found")

    async def _look(self, media_id: str) -> Media:
        async with self._db.read() as snap:
            media = await store.look(snap, OURS, media_id)
        if media is None or (media.expires_ms is not None and media.expires_ms < self._clock()):
            raise Refused(Reason.NOT_FOUND, "Not found")
        return media

    async def _wait(self, media: Media, timeout_ms: int) -> Media:
        assert media.account_no is not None
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while True:
                    changed = self._arrivals.register(media.account_no)
                    try:
                        media = await self._look(media.media_id)
                        if media.blob is not None:
                            return media
                        await changed
                    finally:
                        changed.cancel()
        except TimeoutError:
            raise Refused(Reason.NOT_YET_UPLOADED, "Content has not yet been uploaded") from None
