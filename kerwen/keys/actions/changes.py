"""Lists the users whose keys changed between two positions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kerwen.keys.store import cross_signing, device_keys
from kerwen.storage.database import Database, Snap

SharesRoom = Callable[[Snap, int], Awaitable[set[int]]]
"""Who is joined to some room with a user."""
Moved = Callable[[Snap, int, int, int], Awaitable[tuple[set[int], set[int]]]]
"""Who (snap, account, since, upto) came to share a room with a user, and who shares none more."""


@dataclass(frozen=True, slots=True)
class DeviceLists:
    """User ids, sorted."""

    changed: list[str]
    left: list[str]


async def nobody(snap: Snap, account_no: int, since: int, upto: int) -> tuple[set[int], set[int]]:
    """Where nobody keeps account of who comes and goes."""
    return set(), set()


class Changes:
    """CS #get_matrixclientv3keyschanges."""

    def __init__(self, db: Database, shares_room: SharesRoom, moved: Moved = nobody) -> None:
        self._db = db
        self._shares_room = shares_room
        self._moved = moved

    async def __call__(self, account_no: int, since: int, upto: int) -> DeviceLists:
        """Who changed after `since` and not after `upto`, of those the account may know of."""
        async with self._db.read() as snap:
            changed = set(await device_keys.device_list_changes(snap, since, upto))
            if changed:
                changed &= await self._shares_room(snap, account_no) | {account_no}
            changed |= set(await cross_signing.signature_changes(snap, account_no, since, upto))
            came, left = await self._moved(snap, account_no, since, upto)
            changed |= came
            left -= changed
            return DeviceLists(
                await device_keys.user_ids(snap, changed) if changed else [],
                await device_keys.user_ids(snap, left) if left else [],
            )
