"""The user directory: finds people by name, those whom the asker may see."""

# CS #user-directory

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kerwen.accounts import profile_store
from kerwen.accounts.folding import FOLDED_MAX
from kerwen.accounts.profile_store import DirectoryEntry
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

LIMIT_DEFAULT: Final = 10
LIMIT_MAX: Final = 50
_CANDIDATES_MAX: Final = 500

Visible = Callable[[int, Sequence[int]], Awaitable[set[int]]]
"""Of these users, those who share a room with an account or are in a room open to all."""
Others = Callable[[int, str, int], Awaitable[list[DirectoryEntry]]]
"""People of other servers that an account meets in rooms: (account, text, how many at most)."""


class UserDirectory:
    """Searches people. `everyone`: all who live here may find each other (a house, a company)."""

    __slots__ = ("_db", "_everyone", "_others", "_visible")

    def __init__(
        self,
        db: Database,
        visible: Visible,
        *,
        everyone: bool = False,
        others: Others | None = None,
    ) -> None:
        self._db = db
        self._visible = visible
        self._everyone = everyone
        self._others = others

    async def search(self, account_no: int, term: str, limit: int) -> dict[str, Any]:
        """The people whose name, or id's local part, holds `term`; the closest first."""
        if limit < 1:
            raise Refused(Reason.INVALID_PARAM, "limit must be at least 1")
        limit = min(limit, LIMIT_MAX)
        term = term[:FOLDED_MAX]
        found = await self.visible_matching(account_no, term, limit + 1)
        return {
            "results": [_shown(entry) for entry in found[:limit]],
            "limited": len(found) > limit,
        }

    async def visible_matching(self, account_no: int, term: str, most: int) -> list[DirectoryEntry]:
        """Those whom the asker may see."""
        asked = most if self._everyone else _CANDIDATES_MAX
        async with self._db.read(long=True) as snap:
            found = await profile_store.search(snap, account_no, term, asked)
        if found and not self._everyone:
            seen = await self._visible(account_no, [entry.user_no for entry in found])
            found = [entry for entry in found if entry.user_no in seen]
        if len(found) < most and self._others is not None:
            known = {entry.user_id for entry in found}
            more = await self._others(account_no, term, most - len(found))
            found += [entry for entry in more if entry.user_id not in known]
        return found[:most]


def _shown(entry: DirectoryEntry) -> dict[str, str]:
    found = {"user_id": entry.user_id}
    if entry.displayname is not None:
        found["display_name"] = entry.displayname
    if entry.avatar_url is not None:
        found["avatar_url"] = entry.avatar_url
    return found
