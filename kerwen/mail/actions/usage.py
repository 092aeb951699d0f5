"""What an account's mail uses: bytes of its quota, names of keywords."""

from __future__ import annotations

from kerwen.base import limits
from kerwen.mail.store import mailboxes as store
from kerwen.storage.database import Database


class Usage:
    """Reads it. `quota`: bytes an account may use if nothing else is set for it."""

    def __init__(self, db: Database, quota: int = limits.MAIL_QUOTA) -> None:
        self._db = db
        self._quota = quota

    async def quota(self, account_no: int) -> tuple[int, int]:
        """Bytes used and allowed."""
        async with self._db.read(single=True) as snap:
            found = await store.account(snap, account_no)
        if found is None:
            return 0, self._quota
        return found.used, self._quota if found.quota is None else found.quota

    async def keywords(self, account_no: int) -> list[str]:
        """The names of an account's keywords; a name's place is its bit."""
        async with self._db.read(single=True) as snap:
            return await store.keywords(snap, account_no)
