"""What a room looks like from outside, and which rooms two people share."""

from __future__ import annotations

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who
from kerwen.rooms.event import is_user_id
from kerwen.rooms.store import aliases, members
from kerwen.rooms.store.cards import Card, cards
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database, Snap

_OPEN_RULES = frozenset({"public", "knock", "knock_restricted"})
_INSIDE = frozenset({"join", "invite", "knock"})
_MUTUAL_PAGE = 100


class Mutual(msgspec.Struct):
    """Rooms that two people share; `count` is of all of them."""

    room_ids: list[str]
    count: int
    next_batch: str | None


class RoomSummary:
    """Answers without joining (CS #get-room-summary, #mutual-rooms)."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def __call__(self, who: Who | None, room: str) -> dict[str, object]:
        """The summary of a room by id or alias. Says `NOT_FOUND` where it is none of theirs."""
        async with self._db.read() as snap:
            if room.startswith("#"):
                room_no = await aliases.room_of(snap, room)
            else:
                room_no = await self._names.room(snap, room)
            card = (await cards(snap, [room_no])).get(room_no) if room_no is not None else None
            if card is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room, or it is not shown")
            membership = None
            if who is not None:
                member = await members.member(snap, card.room_no, who.user_no)
                membership = member.membership if member is not None else "leave"
            if not await self.visible(snap, card, membership, who):
                raise Refused(Reason.NOT_FOUND, "There is no such room, or it is not shown")
        shown = card.summary()
        if membership is not None:
            shown["membership"] = membership
        return shown

    async def visible(
        self, snap: Snap, card: Card, membership: str | None, who: Who | None
    ) -> bool:
        """Whether somebody may know of a room: it is open, or they are in it, or could be."""
        if card.world_readable or card.join_rule in _OPEN_RULES or membership in _INSIDE:
            return True
        if who is None:
            return False
        for room_id in card.allowed:
            room_no = await self._names.room(snap, room_id)
            if room_no is not None:
                member = await members.member(snap, room_no, who.user_no)
                if member is not None and member.membership == "join":
                    return True
        return False

    async def mutual(self, who: Who, other: str, start: str | None) -> Mutual:
        """A page of the rooms that the asker shares with somebody."""
        if not is_user_id(other):
            raise Refused(Reason.INVALID_PARAM, "That is no user id")
        if other == who.user_id:
            raise Refused(Reason.INVALID_PARAM, "That is yourself")
        if start is not None and not (start.isascii() and start.isdecimal() and len(start) < 19):
            raise Refused(Reason.INVALID_PARAM, "That is no token of this server")
        async with self._db.read() as snap:
            other_no = await self._names.user(snap, other)
            found = (
                [] if other_no is None else await members.mutual_rooms(snap, who.user_no, other_no)
            )
        after = [r for r in found if start is None or r[0] > int(start)]
        page = after[:_MUTUAL_PAGE]
        more = len(after) > len(page)
        return Mutual([r[1] for r in page], len(found), str(page[-1][0]) if more else None)
