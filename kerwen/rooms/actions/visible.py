"""Which events of a room somebody may see (CS #room-history-visibility)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store import members, state
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.members import Member
from kerwen.rooms.store.users import user_ids
from kerwen.storage.database import Snap

_OPEN = ("shared", "world_readable")


class _Body(msgspec.Struct):
    history_visibility: str | None = None
    membership: str | None = None


class _Form(msgspec.Struct):
    content: _Body


_decode = msgspec.json.Decoder(_Form).decode

Stretch = tuple[int, int | None, str]


def _value(client: bytes, name: str, default: str) -> str:
    try:
        return getattr(_decode(client + b"}").content, name) or default
    except msgspec.ValidationError:
        return default


class Sight:
    """What one person sees of one room, judged by the state at each event."""

    __slots__ = ("_everything", "_memberships", "_visibilities")

    def __init__(self, visibilities: list[Stretch], memberships: list[Stretch]) -> None:
        self._visibilities = visibilities
        self._memberships = memberships
        now = memberships[-1][2] if memberships else "leave"
        self._everything = now == "join" and all(v[2] in _OPEN for v in visibilities)

    def sees(self, seq: int) -> bool:
        """Whether the event at a place is visible."""
        if self._everything:
            return True
        # an event that changes visibility or membership is seen if either side allows it
        return self._allows(seq) or self._allows(seq - 1, at=seq)

    def _allows(self, seq: int, at: int | None = None) -> bool:
        place = seq if at is None else at
        visibility = _at(self._visibilities, seq, "shared")
        membership = _at(self._memberships, seq, "leave")
        if visibility == "world_readable" or membership == "join":
            return True
        if at is not None:
            return False
        if visibility == "shared":
            return any(m == "join" and first >= place for first, _, m in self._memberships)
        return visibility == "invited" and membership == "invite"

    def filter(self, stored: Iterable[Stored]) -> list[Stored]:
        """Those that are visible."""
        if self._everything:
            return list(stored)
        return [e for e in stored if self.sees(e.seq)]

    @property
    def everything(self) -> bool:
        return self._everything


def _at(stretches: list[Stretch], seq: int, default: str) -> str:
    for first, end, value in reversed(stretches):
        if first <= seq and (end is None or seq < end):
            return value
    return default


async def visible_events(snap: Snap, room_no: int, user_id: str) -> Sight:
    """What a person sees of a room."""
    visibilities = await state.stretches(snap, room_no, "m.room.history_visibility", "")
    memberships = await state.stretches(snap, room_no, "m.room.member", user_id)
    return Sight(
        [(a, b, _value(c, "history_visibility", "shared")) for a, b, c in visibilities],
        [(a, b, _value(c, "membership", "leave")) for a, b, c in memberships],
    )


async def visible_room(snap: Snap, room_no: int | None, user_no: int) -> tuple[int, Member | None]:
    """The room and the person's place in it. Refuses rooms of which they may see nothing."""
    if room_no is None:
        raise Refused(Reason.FORBIDDEN, "You are not in this room")
    member = await members.member(snap, room_no, user_no)
    if member is not None and await _knows(snap, member):
        return room_no, member
    now = await state.current_event(snap, room_no, "m.room.history_visibility", "")
    if now is not None and _value(now.client, "history_visibility", "shared") == "world_readable":
        return room_no, None
    raise Refused(Reason.FORBIDDEN, "You are not in this room")


async def _knows(snap: Snap, member: Member) -> bool:
    """Whether the person is, or once was, in the room."""
    if member.membership == "join":
        return True
    if member.forgotten:
        return False
    user_id = (await user_ids(snap, [member.user_no]))[member.user_no]
    history = await state.stretches(snap, member.room_no, "m.room.member", user_id)
    return any(_value(client, "membership", "leave") == "join" for _, _, client in history)
