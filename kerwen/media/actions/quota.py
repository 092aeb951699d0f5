"""How much an account has here and may have."""

from __future__ import annotations

from kerwen.media import store
from kerwen.media.rules import MediaRules
from kerwen.media.store import Media, Usage
from kerwen.storage.database import Database, Kind, retrying


class Quota:
    """Reads usage and sets quotas."""

    def __init__(self, db: Database, rules: MediaRules) -> None:
        self._db = db
        self._rules = rules

    async def usage(self, account_no: int) -> Usage:
        """What an account has, and the quota that holds for it, in bytes."""
        async with self._db.read() as snap:
            found = await store.usage(snap, account_no)
        quota = self._rules.quota if found.quota is None else found.quota
        return Usage(found.bytes, found.files, quota)

    async def own_media(self, account_no: int, before_ms: int, count: int) -> list[Media]:
        """A page of what an account uploaded, newest first."""
        async with self._db.read() as snap:
            return await store.of_account(snap, account_no, before_ms, count)

    async def set_quota(self, account_no: int, quota: int | None) -> None:
        """For administrators: an account's own quota in bytes; None for the server's."""

        async def write() -> None:
            async with self._db.write() as tx:
                await store.set_quota(tx, account_no, quota)
                tx.change(Kind.ACCOUNT, account_no)

        await retrying(write)
