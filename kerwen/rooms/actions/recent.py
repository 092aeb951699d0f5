"""The newest events of busy rooms, kept in memory so that those who wait need no database."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice

from kerwen.rooms.actions.history_pages import HistoryPages
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Change, Kind

_EVENTS_MAX = 64  # per room
_ROOMS_MAX = 1_000
_EVENT_BYTES_MAX = 16 * 1024  # larger events are read from the database
_BYTES_MAX = 64 * 1024 * 1024  # of all rooms together
_EVENT_COST = 600  # of an event besides its text


class Ring:
    """The newest events of one room."""

    __slots__ = ("events", "floor", "timeline")

    def __init__(self, floor: int) -> None:
        self.floor = floor  # complete for every position above this one
        self.events: deque[Stored] = deque()
        self.timeline: tuple[int, int, bytes] | None = None  # a rendering, shared by members


class Recent:
    """Follows the feed: what another worker wrote breaks a room's ring, which begins anew."""

    def __init__(self) -> None:
        self._rings: OrderedDict[int, Ring] = OrderedDict()
        self.pages = HistoryPages()  # of the events before
        self.bytes = 0  # about what all rings hold
        self._settled = 0  # the newest position that the feed has told

    def add(self, stored: Stored) -> None:
        """A committed event; its change is most often told after this.

        On PostgreSQL the feed's reader may have told it first, and later ones of the room too:
        then no ring can begin with it. Nor can it if its position is not known (0).
        """
        if stored.pos <= self._settled:
            self.drop(stored.room_no)
            return
        ring = self._rings.get(stored.room_no)
        if ring is not None and ring.events and ring.events[-1].seq != stored.seq - 1:
            self.drop(stored.room_no)  # between them stands another worker's event
            ring = None
        if ring is None:
            ring = self._rings[stored.room_no] = Ring(stored.pos - 1)
            if len(self._rings) > _ROOMS_MAX:
                self._drop_oldest()
        else:
            self._rings.move_to_end(stored.room_no)
        ring.events.append(stored)
        self.bytes += _cost(stored)
        if len(stored.client) > _EVENT_BYTES_MAX:
            self._shorten(ring, 0)
        elif len(ring.events) > _EVENTS_MAX:
            self._shorten(ring, _EVENTS_MAX // 2)
        while self.bytes > _BYTES_MAX:
            self._drop_oldest()

    def _shorten(self, ring: Ring, kept: int) -> None:
        """Forgets all but the newest events; never a part of one position."""
        while len(ring.events) > kept or (ring.events and ring.events[0].pos <= ring.floor):
            gone = ring.events.popleft()
            ring.floor = max(ring.floor, gone.pos)
            self.bytes -= _cost(gone)

    def _drop_oldest(self) -> None:
        ring = self._rings.pop(next(iter(self._rings)))
        self.bytes -= sum(map(_cost, ring.events))

    def since(self, room_no: int, since: int, upto: int) -> list[Stored] | None:
        """All events with since < pos <= upto, oldest first; None if memory does not know."""
        ring = self._rings.get(room_no)
        if ring is None or since < ring.floor:
            return None
        found: list[Stored] = []
        for stored in reversed(ring.events):
            if stored.pos <= since:
                break
            if stored.pos <= upto:
                found.append(stored)
        found.reverse()
        return found

    def after(self, room_no: int, seq: int, upto: int) -> list[Stored] | None:
        """All events after a place and with pos <= upto; None if memory does not know."""
        ring = self._rings.get(room_no)
        if ring is None or not ring.events:
            return None
        newest = ring.events[-1]
        if newest.seq == seq:
            return []
        if newest.seq == seq + 1 and newest.pos <= upto:
            return [newest]
        if not ring.events[0].seq - 1 <= seq < newest.seq:
            return None  # also if who asks knows a later place: the database has it, we not yet
        # one place after the other: so many stand behind it
        found = [e for e in islice(reversed(ring.events), newest.seq - seq) if e.pos <= upto]
        found.reverse()
        return found

    def held(self, room_no: int) -> Sequence[Stored]:
        """The newest events of a room that memory holds, oldest first; the last one is the
        room's newest that this process was told of."""
        ring = self._rings.get(room_no)
        return ring.events if ring is not None else ()

    def rendering(self, room_no: int, first: int, last: int) -> bytes | None:
        """The shared rendering of a room's events first to last, if it was just made."""
        ring = self._rings.get(room_no)
        if ring is not None and ring.timeline is not None and ring.timeline[:2] == (first, last):
            return ring.timeline[2]
        return None

    def keep_rendering(self, room_no: int, first: int, last: int, rendered: bytes) -> None:
        """Keeps a rendering for the other members who are woken by the same change."""
        ring = self._rings.get(room_no)
        if ring is not None:
            ring.timeline = (first, last, rendered)

    def ring(self, room_no: int) -> Ring | None:
        """The room's ring as it is now: taken before its events are read."""
        return self._rings.get(room_no)

    def keep_in(self, ring: Ring | None, first: int, last: int, rendered: bytes) -> None:
        """`keep_rendering` into the ring of when the events were read: a redaction meanwhile
        has begun another one."""
        if ring is not None:
            ring.timeline = (first, last, rendered)

    def drop(self, room_no: int) -> None:
        """An event of the room was changed (redacted)."""
        ring = self._rings.pop(room_no, None)
        if ring is not None:
            self.bytes -= sum(map(_cost, ring.events))
        self.pages.drop(room_no)

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed: an event that is not in the ring came from another worker."""
        self._settled = pos
        for kind, room_no, seq in changes:
            if kind == Kind.EVENT:
                ring = self._rings.get(room_no)
                if ring is None or not ring.events or ring.events[-1].seq < seq:
                    self.drop(room_no)
            elif kind in (Kind.PURGE, Kind.BACKFILL):
                self.drop(room_no)


def _cost(stored: Stored) -> int:
    return _EVENT_COST + len(stored.client) + len(stored.unsigned_json or b"")
