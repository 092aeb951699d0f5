"""History visibility: which events of a room a user, or a server, may see."""

# CS #room-history-visibility

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from kerwen.rooms.event import Event

WORLD_READABLE: Final = "world_readable"
SHARED: Final = "shared"
INVITED: Final = "invited"
JOINED: Final = "joined"
_ALL: Final = frozenset({WORLD_READABLE, SHARED, INVITED, JOINED})
_FOR_ALL_MEMBERS: Final = frozenset({WORLD_READABLE, SHARED})


def visibility_of(event: Event | None) -> str:
    """The visibility that an `m.room.history_visibility` event sets; `shared` without one."""
    named = None if event is None else event.content.get("history_visibility")
    return named if isinstance(named, str) and named in _ALL else SHARED


def may_see(
    event: Event, user_id: str, *, visibility: str, membership: str | None, joined_since: bool
) -> bool:
    """Whether the user may see the event.

    `visibility` and `membership` (the user's) stand in the room state before the event.
    `joined_since`: whether the user joined, or was joined, at any time after it.
    """
    visibilities, memberships = {visibility}, {membership}
    if event.type == "m.room.history_visibility" and event.state_key == "":
        visibilities.add(visibility_of(event))
    elif event.type == "m.room.member" and event.state_key == user_id:
        memberships.add(event.membership)
    return any(_rules(v, m, joined_since) for v in visibilities for m in memberships)


def _rules(visibility: str, membership: str | None, joined_since: bool) -> bool:
    # CS #server-behaviour-9: the rules in their order
    if visibility == WORLD_READABLE or membership == "join":
        return True
    if visibility == SHARED:
        return joined_since
    return visibility == INVITED and membership == "invite"


def sees_everything(visibilities: Iterable[str], membership_now: str | None) -> bool:
    """Whether no event of the room need be looked at one by one.

    `visibilities` are all that the room ever had, the `shared` before the first included. So
    it is in most rooms: the user is in the room, and it never hid its history from members.
    """
    return membership_now == "join" and _FOR_ALL_MEMBERS.issuperset(visibilities)


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
