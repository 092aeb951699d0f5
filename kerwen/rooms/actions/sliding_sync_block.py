"""A room as a client gets it that did not have it, made once for all who are in the room.

A fresh connection asks for the same of each room as another member's: the newest events, some
state, whoever spoke. That is kept as the bytes that go out, with places for what differs: how
old each event is, the reader's own member event, by whom a nameless room is called, counts.
"""

# MSC4186 (room results)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from kerwen.rooms.sliding import Config, Required
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.state import StateKey

State = Mapping[StateKey, Stored]

_BLOCK_BYTES = 1_500  # what a block takes beside its text
_EVENT_BYTES = 150  # likewise each event in it


class Said(Protocol):
    """A timeline: its events, whether there are older ones, the place where it begins."""

    shown: list[Stored]
    limited: bool

    @property
    def first(self) -> int: ...


class Block(msgspec.Struct, gc=False):
    """A room as of its event `head`, as `config` wants it.

    `version`: of the room's state in memory; `ids`, `places`: the events shown and their
    positions; `members`: whose member events are in it; `devices`: those that said events in
    it: they are to see their transaction ids.
    """

    config: Config
    head: int
    version: int
    ids: list[str]
    places: list[int]
    members: frozenset[str]
    devices: frozenset[int]
    form: bytes
    times: list[int]  # of the state and members, then of the timeline
    state: int  # how many of them are of the state and members

    def suits(self, config: Config, head: int, version: int, device_no: int) -> bool:
        """Whether it is what somebody may be shown."""
        return (
            self.head == head
            and self.config is config
            and self.version == version
            and device_no not in self.devices
        )

    def rendered(self, now_ms: int, live: int, personal: bytes, own: bytes, counts: bytes) -> bytes:
        """The room result. `live`: events after this position just happened; `own`: the
        reader's member event, or nothing; `personal`, `counts`: members of the object."""
        ages = [now_ms - ts if now_ms > ts else 0 for ts in self.times]
        if own and self.state:
            own = b"," + own
        said = (personal, *ages[: self.state], own, *ages[self.state :])
        if not self.ids:
            return self.form % (*said, counts)
        fresh = sum([pos > live for pos in self.places]) if live else 0
        return self.form % (*said, fresh, counts)

    @property
    def size(self) -> int:
        """About what it takes in memory, in bytes."""
        return _BLOCK_BYTES + len(self.form) + _EVENT_BYTES * len(self.times)


def make_block(
    config: Config,
    head: int,
    version: int,
    named: Sequence[bytes],
    state: Sequence[Stored],
    timeline: Said,
) -> Block | None:
    """A block; None where an event must be rendered for each reader apart.

    `named`: members of the object that are the same for all readers.
    """
    shown = timeline.shown
    if any(e.redacted_by is not None for e in (*state, *shown)):
        return None
    parts = [b'"initial":true', *(part.replace(b"%", b"%%") for part in named)]
    form = b"{%b%%b," % b",".join(parts) + b'"required_state":[%b%%b]' % _form(state)
    if shown:
        form += b',"timeline":[%b],"num_live":%%d' % _form(shown)
    if timeline.limited:
        form += b',"limited":true'
    form += b',"prev_batch":"t%d"' % timeline.first + b",%b}"
    return Block(
        config,
        head,
        version,
        [e.event_id for e in shown],
        [e.pos for e in shown],
        frozenset(e.state_key for e in state if e.type == "m.room.member" and e.state_key),
        frozenset(e.device_no for e in (*state, *shown) if e.txn_id and e.device_no),
        form,
        [e.ts for e in (*state, *shown)],
        len(state),
    )


def _form(events: Sequence[Stored]) -> bytes:
    """Events (CS #room-event-format), with a place for the age of each."""
    parts = []
    for event in events:
        more = b"" if event.unsigned_json is None else b"," + event.unsigned_json
        client, more = event.client.replace(b"%", b"%%"), more.replace(b"%", b"%%")
        parts.append(b'%b,"unsigned":{"age":%%d%b}}' % (client, more))
    return b",".join(parts)


def pick(entries: State, wanted: Required, me: str) -> list[Stored]:
    """The wanted ones of a room's state; of member events there are none in `entries`."""
    if wanted.by_name:
        found = []
        for event_type, key in wanted.exact:
            event = entries.get((event_type, me if key == "$ME" else key))
            if event is not None:
                found.append(event)
        return found
    if wanted.everything:
        return list(entries.values())
    return [e for (t, key), e in entries.items() if wanted.wants(t, key, me)]
