"""The timeline of one room in an answer to a sliding sync: from memory, else from the database."""

# MSC4186 (room results)

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.rooms.actions.recent import Recent, Ring
from kerwen.rooms.actions.sliding_sync_facts import RoomFacts
from kerwen.rooms.actions.sliding_sync_shelf import Entry
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.sliding import MEMBER, Config
from kerwen.rooms.sliding_state import SentMembers
from kerwen.rooms.store import events
from kerwen.rooms.store.events import LOUD, MARKED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Snap

_FLOOR = -(2**62)
_END = 2**62


class Reader(msgspec.Struct, gc=False):
    """Who syncs. `sent`: the members that the client has; `telling`: those of this answer;
    `own`: the reader's own member events, by room, as far as they were read.
    """

    user_no: int
    user_id: str
    device_no: int
    ignored: frozenset[str]
    sent: SentMembers
    telling: bytearray
    own: dict[int, Stored]


class Span(msgspec.Struct, gc=False):
    """What an answer covers of a room: since < pos <= upto; 0: all of it.

    `live`: events after this position just happened.
    """

    since: int
    live: int
    upto: int
    now_ms: int


class Timeline(msgspec.Struct, gc=False):
    """The newest events, oldest first. `fresh`: all that came since, if they are known.

    `end`: the place after the newest event.
    """

    shown: list[Stored]
    limited: bool
    end: int
    fresh: list[Stored] | None = None
    expanded: bool = False
    encrypted: bool = False  # the room is, from now on
    counted: bool = False  # something that is not shown changes what is unread
    ring: Ring | None = None  # where a rendering of it may be kept for others

    @property
    def first(self) -> int:
        """Where it begins, for paging back from there."""
        return self.shown[0].seq if self.shown else self.end


class Timelines:
    """Reads timelines."""

    def __init__(self, recent: Recent, facts: RoomFacts) -> None:
        self._recent = recent
        self._facts = facts

    async def news(
        self,
        snap: Snap,
        me: Reader,
        place: Standing,
        config: Config,
        before: Config,
        span: Span,
        entry: Entry,
    ) -> Timeline:
        """What was said since in a room that the client has."""
        ring = self._recent.ring(place.room_no)
        fresh = self._recent.since(place.room_no, span.since, span.upto)
        if config.limit > before.limit:
            # MSC4186: a higher limit brings older events, unless all of them were sent before
            timeline = await self.newest(snap, me, place, config.limit, span, entry)
            timeline.fresh = fresh
            told = sum(1 for e in timeline.shown if e.pos <= span.since)
            if told > before.limit:
                # marked as limited, so that clients put older events before those they have
                timeline.expanded = timeline.limited = True
                return timeline
        if fresh is None:
            return await self._since(snap, me, place, config.limit, span, entry)
        shown = self.heard(me, fresh)
        timeline = Timeline(shown, len(shown) > config.limit, place.head + 1, fresh)
        timeline.ring = ring
        if timeline.limited:
            timeline.shown = shown[len(shown) - config.limit :]
        if len(shown) < len(fresh):
            timeline.counted = any(e.flags & (LOUD | MARKED) for e in fresh)
        timeline.encrypted = any(e.type == "m.room.encryption" for e in fresh)
        return timeline

    async def newest(
        self,
        snap: Snap,
        me: Reader,
        place: Standing,
        limit: int,
        span: Span,
        entry: Entry,
        page: list[Stored] | None = None,
    ) -> Timeline:
        """The newest events that the reader may see, and whether there are more."""
        floor = _FLOOR
        if not await self._facts.is_open(snap, entry.facts):
            sight = await visible_events(snap, place.room_no, me.user_id)
            floor = sight.since(_END) - 1
        kept = page
        if kept is None:
            kept = self._recent.after(place.room_no, place.head - limit - 1, span.upto)
        if kept is not None and len(kept) > limit and kept[0].seq > floor:
            found = self.heard(me, kept[1:])
            if len(found) == limit:
                return Timeline(found, True, place.head + 1)
        found, more = await self._scan(snap, me, place.room_no, limit, span.upto, floor)
        return Timeline(found, more or floor > _FLOOR, place.head + 1)

    async def _since(
        self, snap: Snap, me: Reader, place: Standing, limit: int, span: Span, entry: Entry
    ) -> Timeline:
        rows = await events.newest(snap, place.room_no, span.since, span.upto, limit + 1)
        shown = self.heard(me, rows)
        limited = len(rows) > limit
        shown = shown[len(shown) - limit :] if len(shown) > limit else shown
        timeline = Timeline(shown, limited, place.head + 1, None if limited else rows)
        timeline.counted = len(shown) < len(rows)
        timeline.encrypted = entry.facts.encrypted  # perhaps before, too: that does no harm
        return timeline

    async def _scan(
        self, snap: Snap, me: Reader, room_no: int, limit: int, upto: int, floor: int
    ) -> tuple[list[Stored], bool]:
        """The newest `limit` events after a place that the reader hears, and if there are more."""
        found: list[Stored] = []
        before, count = _END, limit + 1
        for _ in range(6):
            page = await events.backward(snap, room_no, before, count, floor)
            found += self.heard(me, [e for e in page if e.pos <= upto])
            if len(found) > limit or len(page) < count:
                break
            before, count = page[-1].seq, 100
        more = len(found) > limit or len(page) == count
        found = found[:limit]
        found.reverse()
        return found, more

    def heard(self, me: Reader, found: list[Stored]) -> list[Stored]:
        """CS #ignoring-users: all but the words of those whom the reader ignores."""
        if not me.ignored:
            return found
        return [e for e in found if e.state_key is not None or e.sender not in me.ignored]


def timeline_members(shown: Iterable[Stored]) -> set[str]:
    """Whose member events a timeline needs: who spoke, and of whom a member event tells."""
    needed = set()
    for event in shown:
        needed.add(event.sender)
        if event.type == MEMBER and event.state_key:
            needed.add(event.state_key)
    return needed
