"""The newest events of busy rooms, kept in memory so that those who wait need no database."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Change, Kind

_EVENTS_MAX = 64  # per room
_ROOMS_MAX = 1_000
_BYTES_MAX = 64 * 1024  # larger events are read from the database


class _Ring:
    __slots__ = ("events", "floor", "timeline")

    def __init__(self, floor: int) -> None:
        self.floor = floor  # complete for every position above this one
        self.events: deque[Stored] = deque()
        self.timeline: tuple[int, int, bytes] | None = None  # a rendering, shared by members


class Recent:
    """Follows the feed: what another worker wrote breaks a room's ring, which begins anew."""

    def __init__(self) -> None:
        self._rings: OrderedDict[int, _Ring] = OrderedDict()

    def add(self, stored: Stored) -> None:
        """A committed event; called before its change is told."""
        ring = self._rings.get(stored.room_no)
        if ring is None:
            ring = self._rings[stored.room_no] = _Ring(stored.pos - 1)
            if len(self._rings) > _ROOMS_MAX:
                self._rings.popitem(last=False)
        else:
            self._rings.move_to_end(stored.room_no)
        ring.events.append(stored)
        if len(ring.events) > _EVENTS_MAX or len(stored.client) > _BYTES_MAX:
            while len(ring.events) > _EVENTS_MAX // 2:
                ring.floor = ring.events.popleft().pos
            while ring.events and ring.events[0].pos <= ring.floor:
                ring.events.popleft()

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
        if ring.events[0].seq > seq + 1:
            return None
        return [e for e in ring.events if e.seq > seq and e.pos <= upto]

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

    def drop(self, room_no: int) -> None:
        """An event of the room was changed (redacted)."""
        self._rings.pop(room_no, None)

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed: an event that is not in the ring came from another worker."""
        for kind, room_no, seq in changes:
            if kind == Kind.EVENT:
                ring = self._rings.get(room_no)
                if ring is not None and (not ring.events or ring.events[-1].seq < seq):
                    del self._rings[room_no]
