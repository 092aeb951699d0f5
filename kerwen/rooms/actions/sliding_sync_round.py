"""A request of sliding sync, and one look for what there is to answer, in the making."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from kerwen.base.feed_token import FeedToken
from kerwen.rooms.actions.sliding_sync_shelf import Entry, Shelf
from kerwen.rooms.actions.sliding_sync_timeline import Reader, Span
from kerwen.rooms.sliding import Config, Wish
from kerwen.rooms.sliding_state import NextState, State
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.wake import Watch


class Asked(msgspec.Struct, gc=False):
    """A request. `key`: a hash of its body."""

    user_no: int
    user_id: str
    device_no: int
    pos: str | None
    timeout_ms: int
    wish: Wish
    key: int


class Look(msgspec.Struct, gc=False):
    """What a look found: sections of the answer, whether they are news, the state after it."""

    lists: bytes
    rooms: list[tuple[str, bytes]]
    extensions: list[bytes]
    next: NextState
    following: FeedToken
    news: bool
    sizes: tuple[int, ...]  # how many rooms each list holds
    shelf: int  # the number of the shelf it was made of
    members: bytes  # keys of the members that it tells of


class Round(msgspec.Struct, gc=False):
    """One look in the making."""

    asked: Asked
    me: Reader
    watch: Watch
    shelf: Shelf
    base: State
    next: NextState
    token: FeedToken | None
    span: Span
    known: bool  # memory knows all that changed since the token
    changed: Collection[int] = ()
    moved: bool = True  # the reader came or went somewhere
    matched: dict[int, tuple[Entry, Config]] = {}  # of an unchanged rest none
    places: dict[int, Standing] = {}
    pages: dict[int, list[Stored]] = {}  # of rooms told anew: the newest events, one too many
    told: list[tuple[str, bytes]] = []
    anew: dict[int, Sequence[str]] = {}  # rooms told anew → the events shown of them
    expanded: dict[int, list[str]] = {}  # rooms of which older events are shown → the events
    gone: dict[int, Standing] = {}  # rooms that the reader left
    encrypted: list[int] = []  # rooms that are told to be so from now on

    @property
    def since(self) -> int:
        return self.span.live
