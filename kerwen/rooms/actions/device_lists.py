"""Whose keys somebody should look at again, and whose no more (CS #tracking-the-device-list)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

import orjson

from kerwen.keys.store import device_list_changes, signature_changes
from kerwen.rooms.store import heads, members, receipts, users
from kerwen.storage.database import Snap


class Place(Protocol):
    """Where somebody stands in a room."""

    @property
    def room_no(self) -> int: ...
    @property
    def membership(self) -> str: ...
    @property
    def pos(self) -> int: ...
    @property
    def joined_pos(self) -> int: ...


async def moved_between(
    snap: Snap, user_no: int, since: int, upto: int
) -> tuple[set[int], set[int]]:
    """Who came to share a room with somebody, and who shares none any more."""
    places: dict[int, Place] = {
        place.room_no: place
        for place in await receipts.changed_standings(snap, user_no, since, upto)
    }
    for room_no in await heads.changed_rooms(snap, user_no, since):
        if room_no not in places:
            place = await receipts.standing(snap, room_no, user_no)
            if place is not None:
                places[room_no] = place
    return await _moved(snap, user_no, since, upto, places.values(), ())


async def device_lists(
    snap: Snap,
    user_no: int,
    since: int,
    upto: int,
    places: Iterable[Place],
    encrypted: Collection[int],
) -> bytes | None:
    """The section `device_lists` as a JSON member; None if there is nothing to tell.

    `places`: the rooms where anything changed; `encrypted`: those that are so from now on.
    """
    changed, gone = await _moved(snap, user_no, since, upto, places, encrypted)
    renewed = set(await device_list_changes(snap, since, upto))
    if renewed:
        changed |= await members.sharing_among(snap, user_no, renewed)
        changed |= renewed & {user_no}
    changed |= set(await signature_changes(snap, user_no, since, upto))
    gone -= changed
    if not changed and not gone:
        return None
    ids = await users.user_ids(snap, changed | gone)
    said = {
        "changed": sorted(ids[n] for n in changed if n in ids),
        "left": sorted(ids[n] for n in gone if n in ids),
    }
    return b'"device_lists":' + orjson.dumps(said)


async def _moved(
    snap: Snap,
    user_no: int,
    since: int,
    upto: int,
    places: Iterable[Place],
    encrypted: Collection[int],
) -> tuple[set[int], set[int]]:
    """(whose keys are news, whose are no matter any more), by where they are."""
    changed: set[int] = set()
    gone: set[int] = set()
    for place in places:
        inside = place.membership == "join"
        if inside and (place.joined_pos > since or place.room_no in encrypted):
            changed |= set(await members.joined_users(snap, place.room_no))
        if not inside and place.pos > since:
            gone |= set(await members.joined_users(snap, place.room_no))
        for other, membership, joined_pos in await members.moved_members(
            snap, place.room_no, since, upto
        ):
            if membership != "join":
                gone.add(other)
            elif inside and joined_pos > since:
                changed.add(other)
    gone -= changed
    if gone:
        gone -= await members.sharing_among(snap, user_no, gone)
    changed.discard(user_no)
    gone.discard(user_no)
    return changed, gone
