"""The number on an app's icon: unread events over all rooms of a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kerwen.rooms.actions.unread import unread
from kerwen.rooms.store import badge, users
from kerwen.storage.database import Database

_ROOMS_EACH: Final = 200  # of one person that are counted one by one, the newest first


class Badge:
    """Counts for many people by two statements, and some more for rooms with threads or marks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __call__(self, account_nos: Iterable[int]) -> dict[int, int]:
        """Account → how many events it has not read (as `/sync` counts them, all rooms)."""
        wanted = sorted(set(account_nos))
        async with self._db.read(long=True) as snap:
            found = await badge.plain_counts(snap, wanted)
            places = await badge.other_places(snap, wanted, _ROOMS_EACH * len(wanted))
            names = await users.user_ids(snap, {no for no, _ in places}) if places else {}
            for user_no, place in places:
                count = await unread(snap, place, user_no, names[user_no], threads=False)
                found[user_no] = found.get(user_no, 0) + count.notifications
        return {no: found.get(no, 0) for no in wanted}
