"""What a connection has sent: the rooms, with what they were wanted, and how far.

The place on the feed is the client's to keep, in its `pos`. A state changes only when the set
of rooms does, or what they are wanted with; so a live answer leaves it as it is, and the same
state with the same `pos` always gives the same answer.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import msgspec

from kerwen.base import feed_token
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SLIDING_MEMBERS_BYTES
from kerwen.rooms.sliding import Config, Required, interned

_GENERATION_DIGITS = 19
_KEY_BYTES = 8


class Pos(msgspec.Struct, frozen=True):
    """A client's `pos`: which state of its connection, and the place on the feed."""

    generation: int
    token: FeedToken

    def __str__(self) -> str:
        return f"{self.generation}.{feed_token.encode(self.token)}"


def read_pos(text: str) -> Pos:
    """Refuses (`UNKNOWN_POSITION`) what we never gave."""
    number, dot, token = text.partition(".")
    digits = number.isascii() and number.isdigit() and len(number) <= _GENERATION_DIGITS
    if not dot or not digits or (number[0] == "0" and number != "0"):
        raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
    return Pos(int(number), feed_token.decode(token))


class State(msgspec.Struct):
    """What was sent. `rooms`: room → its configuration's number, twice, plus one if direct.

    `behind`: rooms of which something was left out when they were outside all windows, and the
    position up to which they were told.
    """

    configs: list[Config] = []
    rooms: dict[int, int] = {}
    behind: dict[int, int] = {}

    def config(self, room_no: int) -> Config | None:
        """What a room was last wanted with; None if it was never sent."""
        value = self.rooms.get(room_no)
        return None if value is None else self.configs[value >> 1]

    def is_direct(self, room_no: int) -> bool:
        """Whether the room was told to be a direct chat."""
        return bool(self.rooms.get(room_no, 0) & 1)


class NextState:
    """A state in the making."""

    __slots__ = ("_behind", "_gone", "_set", "old")

    def __init__(self, old: State) -> None:
        self.old = old
        self._set: dict[int, tuple[Config, bool]] = {}
        self._gone: set[int] = set()
        self._behind: dict[int, int] = {}

    def sent(self, room_no: int, config: Config, direct: bool) -> None:
        """A room was told of up to now."""
        old = self.old
        known = room_no in old.rooms and room_no not in old.behind
        if not known or old.config(room_no) != config or old.is_direct(room_no) != direct:
            self._set[room_no] = (config, direct)

    def gone(self, room_no: int) -> None:
        """A room is not the client's any more."""
        if room_no in self.old.rooms:
            self._gone.add(room_no)

    def left_out(self, room_no: int, pos: int) -> None:
        """A room had news that were not told; `pos`: what came up to there was."""
        if room_no not in self.old.behind:
            self._behind[room_no] = pos

    @property
    def changed(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._set or self._gone or self._behind)

    def made(self) -> State:
        """The new state; configurations that no room has any more are dropped."""
        old = self.old
        rooms: dict[int, tuple[Config, int]] = {
            room_no: (old.configs[value >> 1], value & 1)
            for room_no, value in old.rooms.items()
            if room_no not in self._gone
        }
        for room_no, (config, direct) in self._set.items():
            rooms[room_no] = (config, int(direct))
        behind = {
            room_no: pos
            for room_no, pos in (old.behind | self._behind).items()
            if room_no in rooms and room_no not in self._set
        }
        configs = list(dict.fromkeys(config for config, _ in rooms.values()))
        number = {config: n << 1 for n, config in enumerate(configs)}
        return State(
            configs, {no: number[config] | bit for no, (config, bit) in rooms.items()}, behind
        )


# --- as bytes -------------------------------------------------------------------------------


class _StoredConfig(msgspec.Struct, array_like=True):
    limit: int
    extras: int
    exact: list[tuple[str, str]]
    types: list[str]
    keys: list[str]
    everything: bool
    lazy: bool


class _Form(msgspec.Struct, array_like=True):
    configs: list[_StoredConfig]
    rooms: list[int]  # each less the one before
    values: list[int]
    behind: dict[int, int]


_decode = msgspec.msgpack.Decoder(_Form).decode


def encode_state(state: State) -> bytes:
    """A state as it is kept."""
    configs = [
        _StoredConfig(
            c.limit,
            c.extras,
            sorted(c.required.exact),
            sorted(c.required.types),
            sorted(c.required.keys),
            c.required.everything,
            c.required.lazy,
        )
        for c in state.configs
    ]
    rooms = sorted(state.rooms)
    steps = [b - a for a, b in zip([0, *rooms], rooms, strict=False)]
    form = _Form(configs, steps, [state.rooms[no] for no in rooms], state.behind)
    return msgspec.msgpack.encode(form)


def decode_state(body: bytes) -> State:
    """The state that was kept."""
    form = _decode(body)
    configs = [
        interned(
            Config(
                c.limit,
                Required(
                    frozenset(c.exact), frozenset(c.types), frozenset(c.keys), c.everything, c.lazy
                ),
                c.extras,
            )
        )
        for c in form.configs
    ]
    rooms: dict[int, int] = {}
    at = 0
    for step, value in zip(form.rooms, form.values, strict=True):
        at += step
        rooms[at] = value
    return State(configs, rooms, form.behind)


# --- members ------------------------------------------------------------------------------


class SentMembers:
    """Which member events a client has, where it wants them as the timeline needs them.

    Eight bytes each, by hash, for there may be thousands. What an answer told counts once the
    client comes back with that answer's position.
    """

    __slots__ = ("_epochs", "_known", "_told")

    def __init__(self) -> None:
        self._known = bytearray()
        self._told: list[tuple[int, int, bytes]] = []  # (generation, position, keys)
        self._epochs: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._known) // _KEY_BYTES

    def keys(self, room_no: int, user_ids: Iterable[str]) -> bytes:
        """What stands for members of a room."""
        epoch = self._epochs.get(room_no, 0)
        return array("q", [hash((room_no, epoch, user_id)) for user_id in user_ids]).tobytes()

    def has(self, room_no: int, user_id: str) -> bool:
        """Whether the client has a member."""
        return bool(self._known) and self.keys(room_no, (user_id,)) in self._known

    def forget(self, room_no: int) -> None:
        """The client has no member of a room any more."""
        if self._known:
            self._epochs[room_no] = self._epochs.get(room_no, 0) + 1

    def told(self, pos: Pos, keys: bytes) -> None:
        """An answer with this `pos` told of members."""
        if keys:
            self._told.append((pos.generation, pos.token.pos, keys))

    def came_back(self, pos: Pos) -> None:
        """The client has the answer with this `pos`, and those before; later ones got lost."""
        if not self._told:
            return
        for generation, upto, keys in self._told:
            if generation <= pos.generation and upto <= pos.token.pos:
                self._known += keys
        self._told.clear()
        if len(self._known) > SLIDING_MEMBERS_BYTES:
            self._known.clear()
            self._epochs.clear()


# --- filters --------------------------------------------------------------------------------


def direct_rooms(content: Mapping[str, object]) -> frozenset[str]:
    """The rooms that `m.direct` names (CS #direct-messaging)."""
    found: set[str] = set()
    for rooms in content.values():
        if isinstance(rooms, list):
            found.update(room for room in rooms if isinstance(room, str))
    return frozenset(found)
