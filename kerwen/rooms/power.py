"""Power levels: what a user must have, and has, to do a thing in a room."""

# CS #mroompower_levels, RV12 #authorisation-rules

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from kerwen.rooms.event import Event, StateKey
from kerwen.rooms.versions import RoomVersion

INFINITE: Final = 1 << 63  # the level of creators from v12 on; no event can name it

NAMED_DEFAULTS: Final = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}
NOTIFICATION_DEFAULT: Final = 50
_CREATOR_WITHOUT_LEVELS: Final = 100

_INTEGER_TEXT = re.compile(r"[ \t\n\r\f\v]*[+-]?[0-9]{1,1000}[ \t\n\r\f\v]*")


def level_of(value: object, version: RoomVersion) -> int | None:
    """The level that a JSON value stands for; None if for none.

    Before version 10 also strings that hold an integer, and floats, cut at the point.
    """
    # RV9 #mroompower_levels-events-accept-values-as-strings, RV5 … as-floats
    if type(value) is int:
        return value
    if version.integer_power_levels:
        return None
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return None


class PowerLevels:
    """The levels of one room state. Making one costs next to nothing: it looks when asked."""

    __slots__ = ("_content", "_creator", "_creators", "_users", "_version")

    def __init__(
        self, create: Event | None, power_levels: Event | None, version: RoomVersion
    ) -> None:
        self._version = version
        self._content: Mapping[str, Any] = {} if power_levels is None else power_levels.content
        users = self._content.get("users")
        self._users: Mapping[str, Any] = users if isinstance(users, dict) else {}
        self._creators: frozenset[str] = frozenset()
        self._creator: str | None = None
        if create is not None and version.privileged_creators:
            self._creators = creators_of(create)
        elif create is not None and power_levels is None:
            self._creator = creator_of(create)

    @classmethod
    def of_state(cls, state: Mapping[StateKey, Event], version: RoomVersion) -> PowerLevels:
        """The levels of a room state, or of the part of it that authorizes."""
        create = state.get(("m.room.create", ""))
        return cls(create, state.get(("m.room.power_levels", "")), version)

    def user(self, user_id: str) -> int:
        """The level that the user has."""
        if user_id in self._creators:
            return INFINITE
        level = level_of(self._users.get(user_id), self._version)
        if level is not None:
            return level
        if user_id == self._creator:
            return _CREATOR_WITHOUT_LEVELS
        return self.named("users_default")

    def required(self, event_type: str, *, is_state: bool) -> int:
        """The level that sending an event of that type needs (member events have own rules)."""
        # SS #definitions: Required Power Level
        events = self._content.get("events")
        if isinstance(events, dict):
            level = level_of(events.get(event_type), self._version)
            if level is not None:
                return level
        return self.named("state_default" if is_state else "events_default")

    def named(self, name: str) -> int:
        """The level called `users_default`, `state_default`, `ban`, `invite` and so on."""
        level = level_of(self._content.get(name), self._version)
        return NAMED_DEFAULTS[name] if level is None else level

    def notification(self, key: str) -> int:
        """The level that notifying everybody (`key` = "room") needs."""
        notifications = self._content.get("notifications")
        if isinstance(notifications, dict):
            level = level_of(notifications.get(key), self._version)
            if level is not None:
                return level
        return NOTIFICATION_DEFAULT


def creator_of(create: Event) -> str | None:
    """Who made the room: the sender, in rooms before version 11 `content.creator`."""
    if create.version.creator_is_sender:
        return create.sender
    creator = create.content.get("creator")
    return creator if isinstance(creator, str) else None


def creators_of(create: Event) -> frozenset[str]:
    """All whose power is infinite, in rooms of version 12 on; nobody before."""
    if not create.version.privileged_creators:
        return frozenset()
    additional = create.content.get("additional_creators")
    if not isinstance(additional, list):
        return frozenset((create.sender,))
    return frozenset((create.sender, *(user for user in additional if isinstance(user, str))))
