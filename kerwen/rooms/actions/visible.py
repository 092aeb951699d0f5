"""What somebody may see of a room, by its rows (CS #room-history-visibility).

The rule itself is `rooms/visibility.py`; these are the only ways for a door to a room's events
and state.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store import members, state
from kerwen.rooms.visibility import WORLD_READABLE, Sight, visibility_named
from kerwen.storage.database import Snap


class _Body(msgspec.Struct):
    history_visibility: object = None
    membership: object = None


class _Form(msgspec.Struct):
    content: _Body


_decode = msgspec.json.Decoder(_Form).decode


def _visibility(client: bytes) -> str:
    return visibility_named(_decode(client + b"}").content.history_visibility)


def _membership(client: bytes) -> str:
    named = _decode(client + b"}").content.membership
    return named if isinstance(named, str) else "leave"


async def visible_events(snap: Snap, room_no: int, user_id: str) -> Sight:
    """What a person sees of a room."""
    return _sight(
        await state.stretches(snap, room_no, "m.room.history_visibility", ""),
        await state.stretches(snap, room_no, "m.room.member", user_id),
    )


async def visible_in_rooms(snap: Snap, rooms: Collection[int], user_id: str) -> dict[int, Sight]:
    """What a person sees of each of some rooms."""
    seen = await state.stretches_of_rooms(snap, rooms, "m.room.history_visibility", "")
    been = await state.stretches_of_rooms(snap, rooms, "m.room.member", user_id)
    return {room_no: _sight(seen.get(room_no, ()), been.get(room_no, ())) for room_no in rooms}


def _sight(
    visibilities: Sequence[tuple[int, int | None, bytes]],
    memberships: Sequence[tuple[int, int | None, bytes]],
) -> Sight:
    return Sight(
        [(first, end, _visibility(client)) for first, end, client in visibilities],
        [(first, end, _membership(client)) for first, end, client in memberships],
    )


async def visible_room(
    snap: Snap, room_no: int | None, user_no: int, user_id: str
) -> tuple[int, int | None]:
    """The room, and the place whose state the person may know: None for the state as it is
    now, else where they left. Refuses (`FORBIDDEN`) rooms of which they may see nothing.
    """
    if room_no is None:
        raise Refused(Reason.FORBIDDEN, "You are not in this room")
    member = await members.member(snap, room_no, user_no)
    if member is not None and member.membership == "join":
        return room_no, None
    if await is_world_readable(snap, room_no):
        return room_no, None
    if member is not None and not member.forgotten:
        left = await _left(snap, room_no, user_id)
        if left is not None:
            return room_no, left
    raise Refused(Reason.FORBIDDEN, "You are not in this room")


async def is_world_readable(snap: Snap, room_no: int) -> bool:
    """Whether anybody may read the room now."""
    now = await state.current_event(snap, room_no, "m.room.history_visibility", "")
    return now is not None and _visibility(now.client) == WORLD_READABLE


async def _left(snap: Snap, room_no: int, user_id: str) -> int | None:
    """Where somebody's last stay in a room ended; None if they never were in it."""
    history = await state.stretches(snap, room_no, "m.room.member", user_id)
    for _, end, client in reversed(history):
        if _membership(client) == "join":
            return end
    return None
