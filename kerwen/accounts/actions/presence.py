"""Who is there: presence as people set it themselves, kept in memory only (CS #presence).

Nobody is told of it: it costs a message to everybody for every step of everybody. With
`shared`, those who share a room with somebody may at least ask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from kerwen.accounts import profile_store
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

_KEPT_MAX: Final = 100_000  # people whose presence is remembered
_STATUS_MAX: Final = 1_024  # characters
_ACTIVE_MS: Final = 300_000  # somebody who did something so lately is active
STATES: Final = frozenset({"online", "offline", "unavailable"})

Visible = Callable[[int, Sequence[int]], Awaitable[set[int]]]


class Seen(msgspec.Struct, gc=False):
    """What somebody said of themselves, and when (ms)."""

    presence: str
    status_msg: str | None
    set_ms: int


class Presence:
    """`visible(account, others)` says with whom an account shares a room."""

    def __init__(
        self, db: Database, visible: Visible, clock: Clock, *, shared: bool = False
    ) -> None:
        self._db = db
        self._visible = visible
        self._clock = clock
        self._shared = shared
        self._seen: OrderedDict[int, Seen] = OrderedDict()

    def set(self, account_no: int, presence: str, status_msg: str | None) -> None:
        """Takes note. Says `INVALID_PARAM`."""
        if presence not in STATES:
            raise Refused(Reason.INVALID_PARAM, "presence is online, offline or unavailable")
        if status_msg is not None and len(status_msg) > _STATUS_MAX:
            raise Refused(Reason.INVALID_PARAM, "The status message is too long")
        self._seen[account_no] = Seen(presence, status_msg, self._clock())
        self._seen.move_to_end(account_no)
        if len(self._seen) > _KEPT_MAX:
            self._seen.popitem(last=False)

    async def get(self, asker_no: int, user_id: str) -> dict[str, object]:
        """Somebody's presence as the asker may know it. Says `FORBIDDEN` to strangers."""
        async with self._db.read() as snap:
            found_user = await profile_store.of_user(snap, user_id)
        if found_user is None:
            raise Refused(Reason.NOT_FOUND, "There is no presence of this user")
        number = found_user[0]
        if number != asker_no and not await self._visible(asker_no, [number]):
            raise Refused(Reason.FORBIDDEN, "You share no room with this user")
        seen = self._seen.get(number)
        if seen is None or (number != asker_no and not self._shared):
            return {"presence": "offline"}
        ago = max(0, self._clock() - seen.set_ms)
        found: dict[str, object] = {"presence": seen.presence, "last_active_ago": ago}
        if seen.presence == "online":
            found["currently_active"] = ago < _ACTIVE_MS
        if seen.status_msg is not None:
            found["status_msg"] = seen.status_msg
        return found
