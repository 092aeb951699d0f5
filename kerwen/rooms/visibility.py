"""History visibility: which events of a room a user, or a server, may see."""

# CS #room-history-visibility

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from kerwen.rooms.event import Event

WORLD_READABLE: Final = "world_readable"
SHARED: Final = "shared"
INVITED: Final = "invited"
JOINED: Final = "joined"
_ALL: Final = frozenset({WORLD_READABLE, SHARED, INVITED, JOINED})
_FOR_ALL_MEMBERS: Final = frozenset({WORLD_READABLE, SHARED})
_START: Final = -(2**62)
_END: Final = 2**62

Stretch = tuple[int, int | None, str]
"""(first, end, value): so it was from the event at `first` on, until the one at `end`."""


def visibility_of(event: Event | None) -> str:
    """The visibility that an `m.room.history_visibility` event sets; `shared` without one."""
    return visibility_named(None if event is None else event.content.get("history_visibility"))


def visibility_named(value: object) -> str:
    """What a value in such an event means; `shared` where it is not understood."""
    return value if isinstance(value, str) and value in _ALL else SHARED


def _rules(visibility: str, membership: str, joined_since: bool) -> bool:
    # CS #server-behaviour-9: the rules in their order
    if visibility == WORLD_READABLE or membership == "join":
        return True
    if visibility == SHARED:
        return joined_since
    return visibility == INVITED and membership == "invite"


class Sight:
    """What one user sees of one room: places of its timeline, judged by the state at each.

    `visibilities` and `memberships` (the user's) are all that ever was, in order. Between two
    changes every event is judged alike, so what is visible is a few ranges of places. Most
    often it is one range without an end: the user is in the room, and the room never hid its
    history from members.
    """

    __slots__ = ("_memberships", "_ranges")

    def __init__(self, visibilities: Sequence[Stretch], memberships: Sequence[Stretch]) -> None:
        self._memberships = memberships
        now = memberships[-1][2] if memberships else "leave"
        if now == "join" and _FOR_ALL_MEMBERS.issuperset(v[2] for v in visibilities):
            self._ranges = [(_START, _END)]
        else:
            self._ranges = _ranges(visibilities, memberships)

    @property
    def everything(self) -> bool:
        """Whether no event need be looked at one by one."""
        return self._ranges == [(_START, _END)]

    def sees(self, seq: int) -> bool:
        """Whether the event at a place is visible."""
        at = bisect_right(self._ranges, (seq, _END)) - 1
        return at >= 0 and seq <= self._ranges[at][1]

    def since(self, seq: int) -> int:
        """Where the range that holds a place begins: from there on nothing is hidden."""
        at = bisect_right(self._ranges, (seq, _END)) - 1
        return self._ranges[at][0] if at >= 0 and seq <= self._ranges[at][1] else seq

    def membership_at(self, seq: int) -> str:
        """The user's membership just after a place."""
        return _at(self._memberships, seq, "leave")

    def was_in(self) -> bool:
        """Whether the user ever was in the room."""
        return any(value == "join" for _, _, value in self._memberships)

    def last_before(self, seq: int) -> int | None:
        """The newest place below `seq` that may be visible; None if there is none."""
        at = bisect_right(self._ranges, (seq - 1, _END)) - 1
        return None if at < 0 else min(seq - 1, self._ranges[at][1])

    def first_from(self, seq: int) -> int | None:
        """The oldest place from `seq` on that may be visible; None if there is none."""
        for first, last in self._ranges:
            if last >= seq:
                return max(first, seq)
        return None


def _ranges(
    visibilities: Sequence[Stretch], memberships: Sequence[Stretch]
) -> list[tuple[int, int]]:
    """The visible places, as ranges with both ends in them."""
    last_join = max((first for first, _, value in memberships if value == "join"), default=_START)
    edges = sorted(
        {edge for s in (*visibilities, *memberships) for edge in s[:2] if edge is not None}
    )
    found: list[tuple[int, int]] = []
    behind = _START
    for edge in (*edges, _END + 1):
        # the events between two changes, then the change itself: the state after it counts too
        if behind < edge and _sees(visibilities, memberships, [behind], last_join > behind):
            _add(found, behind, edge - 1)
        if edge <= _END:
            if _sees(visibilities, memberships, [edge - 1, edge], last_join > edge):
                _add(found, edge, edge)
            behind = edge + 1
    return found


def _add(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    if ranges and ranges[-1][1] + 1 == first:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))


def _sees(
    visibilities: Sequence[Stretch],
    memberships: Sequence[Stretch],
    places: Iterable[int],
    joined_since: bool,
) -> bool:
    """By the state at any of some places: a change is seen if either side of it allows that."""
    return any(
        _rules(_at(visibilities, place, SHARED), _at(memberships, place, "leave"), joined_since)
        for place in places
    )


def _at(stretches: Sequence[Stretch], seq: int, default: str) -> str:
    for first, end, value in reversed(stretches):
        if first <= seq and (end is None or seq < end):
            return value
    return default


def server_may_see(event: Event, *, visibility: str, memberships: Collection[str]) -> bool:
    """Whether a server in the room may have the event whole; else it gets it redacted.

    `memberships` are those that the server's users had when the event was sent.
    """
    # SS #backfilling-and-retrieving-missing-events
    changes = event.type == "m.room.history_visibility" and event.state_key == ""
    if changes and visibility_of(event) in _FOR_ALL_MEMBERS:
        return True
    if visibility in _FOR_ALL_MEMBERS or "join" in memberships:
        return True
    return visibility == INVITED and "invite" in memberships
