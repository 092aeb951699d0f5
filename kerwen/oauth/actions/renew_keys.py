"""Lets an OAuth client replace the cross-signing keys, once (CS #oauth-authentication)."""

from __future__ import annotations

from kerwen.base.clock import Clock, now_ms
from kerwen.oauth.store import grants
from kerwen.storage.database import Database

ALLOWED_MS = 10 * 60_000


class RenewKeys:
    """The owner allows it on the account's page; the next upload of new keys uses it up."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def allow(self, account_no: int) -> None:
        """For ten minutes."""
        async with self._db.write() as tx:
            await grants.allow_reset(tx, account_no, self._clock() + ALLOWED_MS)

    async def use(self, account_no: int) -> bool:
        """Whether it was allowed; not a second time."""
        async with self._db.read() as snap:
            if not await grants.reset_allowed(snap, account_no, self._clock()):
                return False
        async with self._db.write() as tx:
            return await grants.end_reset(tx, account_no)
