"""What a sliding sync asks for: lists of rooms with windows, subscriptions, extensions.

    wish = parse(body)                        # Refused(NOT_JSON, BAD_JSON, INVALID_PARAM)
    chosen = windows(len(rooms), wish.lists[0].ranges)
    config = combine(configs)                 # of all rules that a room matches

A `Config` is what one room is wanted with. Those that are equal are one object, so that the
state of a connection names them by number and a thousand connections share them.
"""

# MSC4186 (on its unstable path, in the form that clients speak today)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache, reduce
from sys import intern
from typing import Annotated, Final, Protocol

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused

MEMBER: Final = "m.room.member"
LAZY: Final = "$LAZY"
ME: Final = "$ME"
ANY: Final = "*"

# what a room may be wanted with beside its own news: bits of `Config.extras`
ACCOUNT_DATA: Final = 1
RECEIPTS: Final = 2
TYPING: Final = 4

BUMP_TYPES: Final = (
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
)

_KEPT: Final = 512  # of each: what clients ask for, in one piece
_BODY_KEPT_MAX: Final = 8 * 1024  # a longer request is read anew each time

StateKey = tuple[str, str]
Index = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Text = Annotated[str, msgspec.Meta(max_length=limits.SLIDING_NAME_MAX)]
Texts = Annotated[list[Text], msgspec.Meta(max_length=limits.SLIDING_NAMES_MAX)]
Pairs = Annotated[list[tuple[Text, Text]], msgspec.Meta(max_length=limits.SLIDING_STATE_MAX)]


class Filters(msgspec.Struct, gc=False):
    """Which rooms a list holds. None: not asked."""

    is_dm: bool | None = None
    spaces: Texts | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    room_types: list[str | None] | None = None
    not_room_types: list[str | None] | None = None
    room_name_like: Text | None = None
    tags: Texts | None = None
    not_tags: Texts | None = None

    @property
    def of_state(self) -> bool:
        """Whether a room's state must be known to judge it."""
        return not (
            self.is_encrypted is None
            and self.room_types is None
            and self.not_room_types is None
            and self.room_name_like is None
        )

    @property
    def of_tags(self) -> bool:
        """Whether a room's tags must be known."""
        return self.tags is not None or self.not_tags is not None

    def admit(self, room: Seen, tags: AbstractSet[str], children: AbstractSet[str]) -> bool:
        """Whether a list holds a room. `children`: the rooms of the spaces that were named."""
        if self.is_dm is not None and room.direct is not self.is_dm:
            return False
        if self.is_invite is not None and (room.membership == "invite") is not self.is_invite:
            return False
        if self.is_encrypted is not None and room.encrypted is not self.is_encrypted:
            return False
        if self.not_room_types is not None and room.room_type in self.not_room_types:
            return False
        if self.room_types is not None and room.room_type not in self.room_types:
            return False
        like = self.room_name_like
        if like is not None and like.lower() not in (room.name or "").lower():
            return False
        if self.not_tags is not None and not tags.isdisjoint(self.not_tags):
            return False
        if self.tags is not None and tags.isdisjoint(self.tags):
            return False
        return self.spaces is None or room.room_id in children


class Seen(Protocol):
    """What filters look at."""

    membership: str
    direct: bool

    @property
    def room_id(self) -> str: ...
    @property
    def encrypted(self) -> bool: ...
    @property
    def room_type(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...


class ToDevice(msgspec.Struct, gc=False):
    """MSC3885. `since`: up to where messages came."""

    enabled: bool | None = None
    since: Text | None = None
    limit: Index | None = None


class ThreadsWish(msgspec.Struct, gc=False):
    """MSC4308. `limit`: most changes in one answer."""

    enabled: bool | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = limits.THREADS_AT_ONCE


class Rule(msgspec.Struct):
    """A list. `ranges`: windows with both ends in them; None: all of it."""

    name: str
    ranges: list[tuple[int, int]] | None
    filters: Filters | None
    config: Config


class Wish(msgspec.Struct):
    """What a request asks for. Extensions that are not enabled are None or false."""

    conn_id: str
    txn_id: str | None
    lists: list[Rule]
    subscriptions: list[tuple[str, Config]]
    to_device: ToDevice | None = None
    e2ee: bool = False
    account_data: bool = False
    receipts: bool = False
    typing: bool = False
    threads: int = 0  # most changes of thread subscriptions; 0: not asked for


def windows(count: int, ranges: Sequence[tuple[int, int]] | None) -> list[range]:
    """The places of a list of `count` rooms that are in its windows, each once, in order."""
    if ranges is None:
        return [range(count)]
    found: list[range] = []
    for first, last in sorted(ranges):
        first = max(first, found[-1].stop if found else 0)
        if first < count and last >= first:
            found.append(range(first, min(last + 1, count)))
    return found


# --- required state -------------------------------------------------------------------------


class Required(msgspec.Struct, frozen=True):
    """Which state a room is wanted with. `$ME` may stand for a state key.

    `types`: all events of a type; `keys`: events of any type with a key. `lazy`: member events
    only as the timeline needs them.
    """

    exact: frozenset[StateKey] = frozenset()
    types: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    everything: bool = False
    lazy: bool = False

    @property
    def all_members(self) -> bool:
        """Whether every member event is wanted."""
        return MEMBER in self.types or (self.everything and not self.lazy)

    def wants(self, event_type: str, state_key: str, me: str) -> bool:
        """Whether a piece of state is wanted; lazy members aside."""
        if event_type == MEMBER:
            if self.all_members:
                return True
        elif self.everything or event_type in self.types:
            return True
        if (event_type, state_key) in self.exact or state_key in self.keys:
            return True
        return state_key == me and ((event_type, ME) in self.exact or ME in self.keys)

    @property
    def wants_me(self) -> bool:
        """Whether the reader's own member event is wanted as such."""
        return (MEMBER, ME) in self.exact or ME in self.keys

    def members(self, me: str) -> set[str]:
        """The users whose member events are wanted by name."""
        named = {key for event_type, key in self.exact if event_type == MEMBER}
        named |= self.keys
        if ME in named:
            named.discard(ME)
            named.add(me)
        return named

    @property
    def personal(self) -> bool:
        """Whether two people in a room may be shown different state, member events aside."""
        named = any(key == ME and event_type != MEMBER for event_type, key in self.exact)
        return named or ME in self.keys

    @property
    def by_name(self) -> bool:
        """Whether only single entries are wanted: they can be looked up one by one."""
        return not (self.everything or self.types or self.keys)


@lru_cache(_KEPT)
def required(pairs: tuple[StateKey, ...]) -> Required:
    """What pairs of type and state key want; `*` is any, `$LAZY` and `$ME` as they say."""
    exact: set[StateKey] = set()
    types: set[str] = set()
    keys: set[str] = set()
    everything = lazy = False
    for event_type, state_key in pairs:
        if state_key == LAZY:
            lazy = lazy or event_type == MEMBER
        elif event_type == ANY and state_key == ANY:
            everything = True
        elif event_type == ANY:
            keys.add(state_key)
        elif state_key == ANY:
            types.add(event_type)
        else:
            exact.add((event_type, state_key))
    return _normal(exact, types, keys, everything, lazy)


def _normal(
    exact: Iterable[StateKey],
    types: Iterable[str],
    keys: Iterable[str],
    everything: bool,
    lazy: bool,
) -> Required:
    """One form for all that mean the same."""
    types, keys = frozenset(types), frozenset(keys)
    if MEMBER in types:
        lazy = False  # who gets all of them needs none beside
    if everything:
        types &= {MEMBER}
        kept = frozenset(pair for pair in exact if lazy and pair[0] == MEMBER)
        keys = keys if lazy else frozenset()
        return Required(kept, types, keys, True, lazy)
    exact = frozenset(p for p in exact if p[0] not in types and p[1] not in keys)
    return Required(exact, types, keys, False, lazy)


def both(one: Required, other: Required) -> Required:
    """What either wants (MSC4186: combining room configs)."""
    if one == other:
        return one
    types = one.types | other.types
    if one.all_members or other.all_members:
        types |= {MEMBER}
    return _normal(
        one.exact | other.exact,
        types,
        one.keys | other.keys,
        one.everything or other.everything,
        one.lazy or other.lazy,
    )


# --- configurations -------------------------------------------------------------------------


class Config(msgspec.Struct, frozen=True):
    """What a room is wanted with: how many events, which state, which extras (bits)."""

    limit: int
    required: Required
    extras: int = 0


@lru_cache(_KEPT)
def _one(config: Config) -> Config:
    return config


@lru_cache(_KEPT)
def _union(one: Config, other: Config) -> Config:
    return _one(
        Config(
            max(one.limit, other.limit),
            both(one.required, other.required),
            one.extras | other.extras,
        )
    )


def combine(configs: Iterable[Config]) -> Config:
    """The superset of several configurations."""
    return reduce(_union, configs)


def interned(config: Config) -> Config:
    """The object that stands for all equal configurations."""
    return _one(config)


# --- requests -------------------------------------------------------------------------------


class _Room(msgspec.Struct):
    """What a rule wants of its rooms."""

    timeline_limit: Index = limits.TIMELINE_LIMIT_DEFAULT
    required_state: Pairs = []

    def config(self, extras: int) -> Config:
        limit = min(self.timeline_limit, limits.SLIDING_TIMELINE_MAX)
        return _one(Config(limit, required(tuple(self.required_state)), extras))


class _List(_Room):
    ranges: Annotated[list[tuple[Index, Index]], msgspec.Meta(max_length=100)] | None = None
    filters: Filters | None = None


class _Extension(msgspec.Struct):
    """`lists`, `rooms`: whose rooms it is for; None, or `*`: all."""

    enabled: bool | None = None
    lists: Texts | None = None
    rooms: Texts | None = None


_ABSENT: Final = msgspec.Raw(b"null")


class _Extensions(msgspec.Struct):
    """`to_device` is another one in each request; the others stand there as they came."""

    to_device: ToDevice | None = None
    threads: ThreadsWish | None = msgspec.field(
        name="io.element.msc4308.thread_subscriptions", default=None
    )
    e2ee: msgspec.Raw = _ABSENT
    account_data: msgspec.Raw = _ABSENT
    receipts: msgspec.Raw = _ABSENT
    typing: msgspec.Raw = _ABSENT


class _Body(msgspec.Struct):
    """A request by its sections; those that are the same in each request are not read yet."""

    conn_id: Text | None = None
    txn_id: Text | None = None
    lists: msgspec.Raw = _ABSENT
    room_subscriptions: msgspec.Raw = _ABSENT
    extensions: _Extensions | None = None


class _Rules(msgspec.Struct, frozen=True):
    """What a client asks for again and again."""

    lists: list[Rule]
    subscriptions: list[tuple[str, Config]]
    e2ee: bool
    account_data: bool
    receipts: bool
    typing: bool


_decode = msgspec.json.Decoder(_Body).decode
_lists_of = msgspec.json.Decoder(dict[Text, _List] | None).decode
_rooms_of = msgspec.json.Decoder(dict[Text, _Room] | None).decode
_extension_of = msgspec.json.Decoder(_Extension | None).decode
_NO_EXTENSIONS: Final = _Extensions()


def parse(raw: bytes) -> Wish:
    """The wish that a body holds; an empty one reads as `{}`."""
    try:
        if not raw.isascii():
            raw.decode()  # what is skipped is checked too
        body = _decode(raw or b"{}")
        extensions = body.extensions or _NO_EXTENSIONS
        sections = (
            body.lists,
            body.room_subscriptions,
            extensions.e2ee,
            extensions.account_data,
            extensions.receipts,
            extensions.typing,
        )
        read = _rules if len(raw) <= _BODY_KEPT_MAX else _read_rules
        rules = read(*[bytes(section) for section in sections])
    except msgspec.ValidationError as error:
        raise Refused(Reason.INVALID_PARAM, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(Reason.NOT_JSON, "The body is not JSON") from None
    if "\0" in (body.conn_id or ""):
        raise Refused(Reason.INVALID_PARAM, "An id holds a NUL")
    wish = Wish(intern(body.conn_id or ""), body.txn_id, rules.lists, rules.subscriptions)
    if extensions.to_device is not None and extensions.to_device.enabled:
        wish.to_device = extensions.to_device
    wish.e2ee = rules.e2ee
    wish.account_data = rules.account_data
    wish.receipts = rules.receipts
    wish.typing = rules.typing
    if extensions.threads is not None and extensions.threads.enabled:
        wish.threads = min(extensions.threads.limit, limits.THREADS_AT_ONCE)
    return wish


def _read_rules(
    lists: bytes,
    subscriptions: bytes,
    e2ee: bytes,
    account_data: bytes,
    receipts: bytes,
    typing: bytes,
) -> _Rules:
    by_name, by_id = _lists_of(lists) or {}, _rooms_of(subscriptions) or {}
    _check(by_name, by_id)
    of_rooms = [
        (ACCOUNT_DATA, _extension_of(account_data)),
        (RECEIPTS, _extension_of(receipts)),
        (TYPING, _extension_of(typing)),
    ]
    return _Rules(
        [
            Rule(name, one.ranges, one.filters, one.config(_extras(of_rooms, name, True)))
            for name, one in by_name.items()
        ],
        [
            (room_id, one.config(_extras(of_rooms, room_id, False)))
            for room_id, one in by_id.items()
        ],
        _enabled(_extension_of(e2ee)),
        *[_enabled(extension) for _, extension in of_rooms],
    )


# a client asks for the same again and again, and so do all clients of a kind
_rules = lru_cache(_KEPT // 2)(_read_rules)


def _extras(found: Sequence[tuple[int, _Extension | None]], name: str, of_list: bool) -> int:
    """The extras of a list's rooms, or of one room that is subscribed to."""
    extras = 0
    for bit, extension in found:
        if extension is not None and extension.enabled:
            wanted = extension.lists if of_list else extension.rooms
            if wanted is None or ANY in wanted or name in wanted:
                extras |= bit
    return extras


def _enabled(extension: _Extension | None) -> bool:
    return extension is not None and bool(extension.enabled)


def _check(lists: dict[str, _List], subscriptions: dict[str, _Room]) -> None:
    if len(lists) > limits.SLIDING_LISTS_MAX:
        raise Refused(Reason.INVALID_PARAM, "Too many lists")
    if len(subscriptions) > limits.SLIDING_LISTS_MAX:
        raise Refused(Reason.INVALID_PARAM, "Too many room subscriptions")
    for one in lists.values():
        if any(first > last for first, last in one.ranges or ()):
            raise Refused(Reason.INVALID_PARAM, "A range ends before it begins")
    if any("\0" in text for text in subscriptions):
        raise Refused(Reason.INVALID_PARAM, "An id holds a NUL")
