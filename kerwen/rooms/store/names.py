"""Numbers of rooms and users by their ids: looked up once, for they never change."""

from __future__ import annotations

from collections import OrderedDict

from kerwen.rooms.store import users
from kerwen.storage.database import Snap

_KEPT_MAX = 50_000


class Names:
    """Remembers numbers. Only committed ones may be asked for: a number rolled back would stay."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[str, int] = OrderedDict()
        self._users: OrderedDict[str, int] = OrderedDict()

    async def room(self, snap: Snap, room_id: str) -> int | None:
        """The number of a room."""
        found = self._rooms.get(room_id)
        if found is None:
            found = await users.room_no(snap, room_id)
            if found is not None:
                _keep(self._rooms, room_id, found)
        return found

    async def user(self, snap: Snap, user_id: str) -> int | None:
        """The number of a user."""
        found = self._users.get(user_id)
        if found is None:
            found = await users.user_no(snap, user_id)
            if found is not None:
                _keep(self._users, user_id, found)
        return found


def _keep(kept: OrderedDict[str, int], key: str, number: int) -> None:
    kept[key] = number
    if len(kept) > _KEPT_MAX:
        kept.popitem(last=False)
