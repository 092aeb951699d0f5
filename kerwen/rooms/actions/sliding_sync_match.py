"""Which rooms the lists and subscriptions of a sliding sync match, and which of them to tell.

A client that asks again what it asked before, and was told all of it, can only be told of rooms
with news. Where its lists hold all rooms anyway, the rest is not even looked at: a message then
costs the same in an account of ten rooms and of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from kerwen.rooms.actions.sliding_sync_connections import Connection
from kerwen.rooms.actions.sliding_sync_round import Round
from kerwen.rooms.actions.sliding_sync_shelf import Entry, Shelves
from kerwen.rooms.sliding import Config, Rule, combine, windows
from kerwen.storage.database import Snap

Room = tuple[Entry, Config]


class Matching:
    """Finds the rooms of a round."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    async def __call__(
        self, snap: Snap, this: Round, conn: Connection, calm: bool
    ) -> tuple[list[Room], bytes, tuple[int, ...]]:
        """The rooms to look at, the section `lists`, and the sizes of the lists.

        `calm`: the client had been told all that it asks for, but for the news of this round.
        """
        calm = calm and conn.shelf == this.shelf.number
        if calm and self._is_steady(this, conn.sizes):
            await self._match_news(snap, this)
            return list(this.matched.values()), conn.lists, conn.sizes
        sizes = await self._match_all(snap, this)
        lists = b",".join(
            b'%b:{"count":%d}' % (orjson.dumps(rule.name), size)
            for rule, size in zip(this.asked.wish.lists, sizes, strict=True)
        )
        if calm and not any(_looks_at_state(rule) for rule in this.asked.wish.lists):
            return _with_news(this), lists, sizes
        return _to_tell(this), lists, sizes

    # --- everything -------------------------------------------------------------------------

    async def _match_all(self, snap: Snap, this: Round) -> tuple[int, ...]:
        sizes = []
        for rule in this.asked.wish.lists:
            rooms = await self._shelves.admitted(snap, this.shelf, rule.filters)
            for window in windows(len(rooms), rule.ranges):
                _add(this, rooms[window.start : window.stop], rule.config)
            sizes.append(len(rooms))
        for room_id, config in this.asked.wish.subscriptions:
            entry = this.shelf.by_id(room_id)
            if entry is None:
                me = this.me
                entry = await self._shelves.former(snap, me.user_no, me.user_id, room_id)
            if entry is not None:
                _add(this, (entry,), config)
        return tuple(sizes)

    # --- news -------------------------------------------------------------------------------

    def _is_steady(self, this: Round, sizes: Sequence[int]) -> bool:
        """Whether all rooms but those with news match as they did before."""
        return all(
            _covers(rule, size) and self._judges_alike(this, rule)
            for rule, size in zip(this.asked.wish.lists, sizes, strict=True)
        )

    def _judges_alike(self, this: Round, rule: Rule) -> bool:
        """Whether a filter says of every room what it said before."""
        if not _looks_at_state(rule):
            return True
        assert rule.filters is not None
        return not rule.filters.spaces and all(
            entry.facts.known for entry in _entries(this, this.changed)
        )

    async def _match_news(self, snap: Snap, this: Round) -> None:
        entries = [
            entry for entry in _entries(this, {*this.changed, *this.base.behind}) if entry.listed
        ]
        for rule in this.asked.wish.lists:
            admitted = self._shelves.judge(this.shelf, entries, rule.filters)
            _add(this, admitted, rule.config)
        numbers = {entry.room_no for entry in entries}
        for room_id, config in this.asked.wish.subscriptions:
            entry = this.shelf.by_id(room_id)
            if entry is not None and entry.room_no in numbers:
                _add(this, (entry,), config)


def _covers(rule: Rule, size: int) -> bool:
    """Whether a window shows all of a list."""
    return rule.ranges is None or any(
        first == 0 and last >= size - 1 for first, last in rule.ranges
    )


def _looks_at_state(rule: Rule) -> bool:
    return rule.filters is not None and (rule.filters.of_state or bool(rule.filters.spaces))


def _entries(this: Round, numbers: Iterable[int]) -> list[Entry]:
    found = [this.shelf.get(room_no) for room_no in numbers]
    return [entry for entry in found if entry is not None]


def _add(this: Round, entries: Iterable[Entry], config: Config) -> None:
    """A rule matches rooms: with what other rules want of them, it wants the superset."""
    matched = this.matched
    if not matched:
        matched.update({entry.room_no: (entry, config) for entry in entries})
        return
    for entry in entries:
        known = matched.get(entry.room_no)
        if known is None:
            matched[entry.room_no] = (entry, config)
        elif known[1] is not config:
            matched[entry.room_no] = (entry, combine((known[1], config)))


def _with_news(this: Round) -> list[Room]:
    """Rooms that came into a window or have news. That one is wanted with less than before need
    not be known until it has some: up to then, the client has what it had."""
    matched = this.matched
    found = matched.keys() - this.base.rooms.keys()
    found |= matched.keys() & {*this.changed, *this.base.behind}
    return [matched[room_no] for room_no in found]


def _to_tell(this: Round) -> list[Room]:
    """Rooms that are new, have news, or are wanted otherwise than before."""
    base, since = this.base, this.since
    return [
        (entry, config)
        for room_no, (entry, config) in this.matched.items()
        if room_no not in base.rooms
        or room_no in this.changed
        or room_no in base.behind
        or entry.pos > since
        or entry.read_pos > since
        or base.config(room_no) != config
        or base.is_direct(room_no) != entry.direct
    ]
