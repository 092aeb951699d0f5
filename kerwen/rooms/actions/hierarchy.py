"""Walking through a space: its rooms, and theirs (CS #get-space-hierarchy)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.room_summary import RoomSummary
from kerwen.rooms.store import members
from kerwen.rooms.store.cards import Card, cards
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.spaces import Child, children, room_nos
from kerwen.storage.database import Database, Snap

DEPTH_MAX: Final = 50
ROOMS_MAX: Final = 10_000  # of one walk


class _Walk(msgspec.Struct):
    """Where a walk stands. `waiting`: rooms that were named and not yet visited, last first."""

    who: Who
    memberships: dict[int, str]
    suggested_only: bool
    depth_max: int
    waiting: list[tuple[str, int]]
    cards: dict[str, Card]
    seen: set[str]


class Hierarchy:
    """Answers `/hierarchy`. A page is the walk done again, less what came before it: nothing is
    remembered, so any worker answers, and a restart ends no walk."""

    def __init__(self, db: Database, names: Names, summary: RoomSummary) -> None:
        self._db = db
        self._names = names
        self._summary = summary

    async def __call__(
        self,
        who: Who,
        room_id: str,
        *,
        suggested_only: bool,
        limit: int,
        depth_max: int,
        start: str | None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """(rooms, token of the next page). Says `FORBIDDEN` of a room that is not shown."""
        depth_max = min(depth_max, DEPTH_MAX)
        skip = _offset(start, suggested_only, depth_max)
        found: list[dict[str, Any]] = []
        async with self._db.read(long=True) as snap:
            walk = await self._begin(snap, who, room_id, suggested_only, depth_max)
            number = 0
            while walk.waiting and number < ROOMS_MAX:
                entry = await self._step(snap, walk)
                if entry is None:
                    continue
                number += 1
                if number <= skip:
                    continue
                if len(found) == limit:
                    return found, f"{number - 1}.{depth_max}.{int(suggested_only)}"
                found.append(entry)
        return found, None

    async def _begin(
        self, snap: Snap, who: Who, room_id: str, suggested_only: bool, depth_max: int
    ) -> _Walk:
        places = await members.members_of(snap, who.user_no)
        walk = _Walk(
            who,
            {m.room_no: m.membership for m in places},
            suggested_only,
            depth_max,
            [(room_id, 0)],
            {},
            {room_id},
        )
        number = await self._names.room(snap, room_id)
        if number is not None:
            walk.cards = {c.room_id: c for c in (await cards(snap, [number])).values()}
        if room_id not in walk.cards or not await self._shown(snap, walk, walk.cards[room_id]):
            raise Refused(Reason.FORBIDDEN, "This room does not exist, or is not shown to you")
        return walk

    async def _step(self, snap: Snap, walk: _Walk) -> dict[str, Any] | None:
        """Visits the next room; None if there is nothing to show of it."""
        room_id, depth = walk.waiting.pop()
        card = walk.cards.pop(room_id, None)
        if card is None or not await self._shown(snap, walk, card):
            return None
        held: list[Child] = []
        if card.room_type == "m.space":
            held = await children(snap, card.room_no, walk.suggested_only)
            if depth < walk.depth_max:
                await self._enter(snap, walk, held, depth + 1)
        return {**card.summary(), "children_state": [child.shown() for child in held]}

    async def _enter(self, snap: Snap, walk: _Walk, held: list[Child], depth: int) -> None:
        """The children wait before all that waits already: the walk is depth first."""
        fresh = [c.room_id for c in held if c.room_id not in walk.seen]
        walk.seen.update(fresh)
        known = await room_nos(snap, fresh)
        walk.cards.update({c.room_id: c for c in (await cards(snap, known.values())).values()})
        walk.waiting += [(room_id, depth) for room_id in reversed(fresh) if room_id in known]

    async def _shown(self, snap: Snap, walk: _Walk, card: Card) -> bool:
        membership = walk.memberships.get(card.room_no, "leave")
        if membership == "ban":
            return False
        return await self._summary.visible(snap, card, membership, walk.who)


def _offset(token: str | None, suggested_only: bool, depth_max: int) -> int:
    """How many rooms earlier pages had."""
    if token is None:
        return 0
    parts = token.split(".")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 10 for p in parts):
        raise Refused(Reason.INVALID_PARAM, "That is no token of this walk")
    if parts[1:] != [str(depth_max), str(int(suggested_only))]:
        raise Refused(
            Reason.INVALID_PARAM, "suggested_only and max_depth are those of the first page"
        )
    return int(parts[0])
