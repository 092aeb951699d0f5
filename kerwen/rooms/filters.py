"""Filters: which rooms and events a client wants to see, and in what form.

    chosen = parse(orjson.loads(raw))          # Refused(BAD_JSON, INVALID_PARAM)
    if chosen.room("!a:b") and chosen.timeline.passes(event): ...

Where a filter asks for nothing, `passes_all` is true and callers skip it (the common case).
"""

# CS #filtering

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.paths import path_parts

FILTER_BYTES_MAX: Final = 64 * limits.KIB
LIST_MAX: Final = 2_000  # entries of one list
NAME_MAX: Final = 1_024  # an entry's length
FIELDS_MAX: Final = 200
DEPTH_MAX: Final = 10

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of one section pass. `None` for a set that was not given.

    `types` and `not_types` are matchers with globs compiled; the plain sets decide first.
    """

    limit: int | None = None
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    types: Globs | None = None
    not_types: Globs | None = None
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    related_by_senders: frozenset[str] | None = None  # CS #filtering-1
    related_by_rel_types: frozenset[str] | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    passes_all: bool = True  # neither events nor rooms are left out

    def room(self, room_id: str) -> bool:
        """Whether the section wants anything of a room."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    def type(self, event_type: str) -> bool:
        """Whether events of a type may pass; for what has no sender (account data, receipts)."""
        if self.types is not None and not self.types.match(event_type):
            return False
        return self.not_types is None or not self.not_types.match(event_type)

    def sender(self, user_id: str) -> bool:
        """Whether events of a person may pass."""
        if self.senders is not None and user_id not in self.senders:
            return False
        return user_id not in self.not_senders

    def passes(self, event: Event) -> bool:
        """Whether an event (its room apart) is wanted; relations are the store's to judge."""
        if self.passes_all:
            return True
        if not self.type(event["type"]) or not self.sender(event.get("sender", "")):
            return False
        if self.contains_url is None:
            return True
        content = event.get("content")
        return (isinstance(content, Mapping) and "url" in content) is self.contains_url

    @property
    def nothing(self) -> bool:
        """Whether no event can pass, so that its section needs no reading at all."""
        empty = (self.rooms, self.senders, self.related_by_senders, self.related_by_rel_types)
        if any(chosen is not None and not chosen for chosen in empty):
            return True
        if self.types is not None and self.types.empty:
            return True
        return self.not_types is not None and self.not_types.all


@dataclass(frozen=True, slots=True)
class Globs:
    """A list of names in which `*` stands for any letters; case counts."""

    plain: frozenset[str]
    globs: Callable[[str], object] | None = None
    all: bool = False  # holds "*"

    @property
    def empty(self) -> bool:
        return not self.plain and self.globs is None and not self.all

    def match(self, name: str) -> bool:
        """Whether a name is in the list."""
        if self.all or name in self.plain:
            return True
        return self.globs is not None and self.globs(name) is not None


EVERYTHING: Final = EventFilter()


@dataclass(frozen=True, slots=True)
class Filter:
    """A whole filter of `/sync`. `source` is the JSON that it was made of, as it is stored."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    timeline: EventFilter = EVERYTHING
    state: EventFilter = EVERYTHING
    ephemeral: EventFilter = EVERYTHING
    room_account_data: EventFilter = EVERYTHING
    presence: EventFilter = EVERYTHING
    account_data: EventFilter = EVERYTHING
    federation_format: bool = False
    event_fields: tuple[tuple[str, ...], ...] | None = None
    passes_all: bool = True  # no room and no event is left out, and events are whole
    source: bytes = field(default=b"{}", compare=False)

    def room(self, room_id: str) -> bool:
        """Whether a room is wanted at all."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    @property
    def shaped(self) -> bool:
        """Whether events are wanted otherwise than whole and as clients read them."""
        return self.federation_format or self.event_fields is not None

    @property
    def timeline_limit(self) -> int:
        """How many events of a timeline to send at most."""
        asked = self.timeline.limit
        return limits.TIMELINE_LIMIT_DEFAULT if asked is None else asked

    def pick(self, event: dict[str, Any]) -> dict[str, Any]:
        """The fields of an event that `event_fields` asks for; the event itself without it."""
        if self.event_fields is None:
            return event
        found: dict[str, Any] = {}
        for path in self.event_fields:
            _copy(event, found, path)
        return found


DEFAULT: Final = Filter()


def parse(value: object) -> Filter:
    """The filter that JSON stands for. Says `BAD_JSON` for wrong shapes, `INVALID_PARAM` for
    values out of range. Fields that nobody knows are let through, as the specification wants.
    """
    whole = _object(value, "the filter")
    room = _object(whole.get("room", {}), "room")
    rooms, not_rooms = _rooms(room)
    sections = {name: event_filter(room.get(name, {}), f"room.{name}") for name in _ROOM_SECTIONS}
    presence = event_filter(whole.get("presence", {}), "presence")
    account_data = event_filter(whole.get("account_data", {}), "account_data")
    shape = whole.get("event_format", "client")
    if shape not in ("client", "federation"):
        raise Refused(Reason.INVALID_PARAM, "event_format must be client or federation")
    fields = _fields(whole.get("event_fields"))
    return Filter(
        rooms=rooms,
        not_rooms=not_rooms,
        include_leave=_bool(room, "include_leave") or False,
        timeline=sections["timeline"],
        state=sections["state"],
        ephemeral=sections["ephemeral"],
        room_account_data=sections["account_data"],
        presence=presence,
        account_data=account_data,
        federation_format=shape == "federation",
        event_fields=fields,
        passes_all=(
            rooms is None
            and not not_rooms
            and fields is None
            and all(s.passes_all for s in (*sections.values(), presence, account_data))
        ),
        source=_source(whole),
    )


def parse_json(raw: str | bytes) -> Filter:
    """A filter written in a query parameter or a body."""
    if len(raw) > FILTER_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A filter may have {FILTER_BYTES_MAX} bytes")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused(Reason.NOT_JSON, "The filter is not JSON") from None
    return parse(value)


def event_filter(value: object, where: str = "filter") -> EventFilter:
    """One section: a RoomEventFilter, also of `/messages`, `/context` and `/search`."""
    given = _object(value, where)
    if not given:
        return EVERYTHING
    rooms, not_rooms = _rooms(given)
    senders = _names(given, "senders")
    not_senders = _names(given, "not_senders") or frozenset()
    types, not_types = _globs(given, "types"), _globs(given, "not_types")
    contains_url = _bool(given, "contains_url")
    by_senders = _names(given, "related_by_senders")
    by_types = _names(given, "related_by_rel_types")
    chosen = (rooms, senders, types, not_types, contains_url, by_senders, by_types)
    return EventFilter(
        limit=_limit(given),
        senders=senders,
        not_senders=not_senders,
        types=types,
        not_types=not_types,
        rooms=rooms,
        not_rooms=not_rooms,
        contains_url=contains_url,
        related_by_senders=by_senders,
        related_by_rel_types=by_types,
        lazy_load_members=_bool(given, "lazy_load_members") or False,
        include_redundant_members=_bool(given, "include_redundant_members") or False,
        unread_thread_notifications=_bool(given, "unread_thread_notifications") or False,
        passes_all=all(c is None for c in chosen) and not not_rooms and not not_senders,
    )


_ROOM_SECTIONS: Final = ("timeline", "state", "ephemeral", "account_data")


# --- parts ----------------------------------------------------------------------------------


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(Reason.BAD_JSON, f"{where} must be an object")
    return value


def _source(whole: dict[str, Any]) -> bytes:
    try:
        source = b"%b" % orjson.dumps(whole)  # a copy as small as it is: it is kept
    except TypeError:
        raise Refused(Reason.BAD_JSON, "The filter is not JSON") from None
    if len(source) > FILTER_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A filter may have {FILTER_BYTES_MAX} bytes")
    return source


def _texts(given: dict[str, Any], name: str) -> list[str] | None:
    found = given.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(f, str) for f in found):
        raise Refused(Reason.BAD_JSON, f"{name} must be a list of strings")
    if len(found) > LIST_MAX or any(len(f) > NAME_MAX for f in found):
        raise Refused(Reason.INVALID_PARAM, f"{name} is too long")
    return found


def _names(given: dict[str, Any], name: str, sigil: str = "@") -> frozenset[str] | None:
    found = _texts(given, name)
    if found is None:
        return None
    if name.endswith("senders") or name.endswith("rooms"):
        for entry in found:
            if not entry.startswith(sigil):
                raise Refused(Reason.INVALID_PARAM, f"{name}: an id begins with {sigil}")
    return frozenset(found)


def _rooms(given: dict[str, Any]) -> tuple[frozenset[str] | None, frozenset[str]]:
    return _names(given, "rooms", "!"), _names(given, "not_rooms", "!") or frozenset()


def _bool(given: dict[str, Any], name: str) -> bool | None:
    found = given.get(name)
    if found is None or isinstance(found, bool):
        return found
    raise Refused(Reason.BAD_JSON, f"{name} must be true or false")


def _limit(given: dict[str, Any]) -> int | None:
    found = given.get("limit")
    if found is None:
        return None
    if type(found) is not int:
        raise Refused(Reason.BAD_JSON, "limit must be an integer")
    if found < 0:
        raise Refused(Reason.INVALID_PARAM, "limit must be greater than 0")
    # QUIRK: 0 is not allowed, but clients in use send it; they mean "as few as you can"
    return max(1, min(found, limits.TIMELINE_LIMIT_MAX))


def _globs(given: dict[str, Any], name: str) -> Globs | None:
    found = _texts(given, name)
    if found is None:
        return None
    if not found:
        return Globs(frozenset())
    plain = frozenset(f for f in found if "*" not in f)
    starred = [f for f in found if "*" in f]
    if any(not f.strip("*") for f in starred):
        return Globs(plain, None, True)
    return Globs(plain, _glob_matcher(starred))


def _glob_matcher(patterns: Sequence[str]) -> Callable[[str], object] | None:
    """One expression for all: atomic groups, so that stars never backtrack into each other."""
    if not patterns:
        return None
    alternatives = []
    for pattern in patterns:
        first, *rest = [re.escape(piece) for piece in re.split(r"\*+", pattern)]
        middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
        alternatives.append(f"{first}{middle}.*{rest[-1]}")
    return re.compile("|".join(alternatives), re.DOTALL).fullmatch


def _fields(value: object) -> tuple[tuple[str, ...], ...] | None:
    """`event_fields` as paths; a backslash before a dot makes it part of a name."""
    if value is None:
        return None
    found = _texts({"event_fields": value}, "event_fields") or []
    if len(found) > FIELDS_MAX:
        raise Refused(Reason.INVALID_PARAM, "event_fields is too long")
    paths = tuple(path_parts(entry) for entry in found)
    if any(len(path) > DEPTH_MAX for path in paths):
        raise Refused(Reason.INVALID_PARAM, "event_fields: a path is too deep")
    return paths


def _copy(source: Mapping[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    value: Any = source
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return
        value = value[part]
    for part in path[:-1]:
        inner = target.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        target = inner
    target[path[-1]] = value
