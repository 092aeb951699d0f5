"""Lists the users whose keys changed between two positions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kerwen.keys.store import cross_signing, device_keys
from kerwen.storage.database import Database, Snap

SharesRoom = Callable[[Snap, int], Awaitable[set[int]]]
"""Who is joined to some room with a user."""
Departed = Callable[[Snap, int, int, int], Awaitable[set[int]]]
"""Who (snap, account, since, upto) no longer shares any room with a user."""


@dataclass(frozen=True, slots=True)
class DeviceLists:
    """User ids, sorted."""

    changed: list[str]
    left: list[str]


async def nobody(snap: Snap, account_no: int, since: int, upto: int) -> set[int]:
    """Where nobody keeps account of those who left."""
    return set()


class Changes:
    """CS #get_matrixclientv3keyschanges."""

    def __init__(self, db: Database, shares_room: SharesRoom, departed: Departed = nobody) -> None:
        self._db = db
        self._shares_room = shares_room
        self._departed = departed

    async def __call__(self, account_no: int, since: int, upto: int) -> DeviceLists:
        """Who changed after `since` and not after `upto`, of those the account may know of."""
        async with self._db.read() as snap:
            changed = set(await device_keys.device_list_changes(snap, since, upto))
            if changed:
                changed &= await self._shares_room(snap, account_no) | {account_no}
            changed |= set(await cross_signing.signature_changes(snap, account_no, since, upto))
            left = await self._departed(snap, account_no, since, upto) - changed
            return DeviceLists(
                await device_keys.user_ids(snap, changed) if changed else [],
                await device_keys.user_ids(snap, left) if left else [],
            )
