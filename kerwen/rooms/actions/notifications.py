"""What somebody was, or would have been, notified of (CS #get-notifications).

The events are those that were loud, or marked, when they were said; the actions are what the
person's rules say of them now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from kerwen.accounts.push_rules_store import PushRules
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import push_rules
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.render import render
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.auth import CREATE, POWER_LEVELS
from kerwen.rooms.event import Event
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.push_rules import EventFacts, Outcome
from kerwen.rooms.store import events, heads, receipts, state
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.notices import Notice, notices
from kerwen.rooms.versions import room_version
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Database, Snap

_END: Final = 2**62
_PAGE: Final = 100
_PAGES_MAX: Final = 10  # read to fill an answer of which rules leave little


class _Room(msgspec.Struct):
    """What rules ask about a room, and what of it somebody sees and has read."""

    joined: int
    levels: PowerLevels
    notifications: Mapping[str, Any]
    sight: Sight
    thread_reads: Mapping[str, int]


class Notifications:
    """Answers `/notifications`."""

    def __init__(self, db: Database, rulebook: PushRules, clock: Clock) -> None:
        self._db = db
        self._rulebook = rulebook
        self._clock = clock

    async def __call__(
        self, who: Who, start: str | None, limit: int, highlights: bool
    ) -> tuple[list[bytes], str | None]:
        """(notifications newest first, token of what comes after). Says `INVALID_PARAM`."""
        place = _place(start)
        rules = (await self._rulebook.of(who.user_no)).compiled
        found: list[bytes] = []
        rooms: dict[int, _Room] = {}
        async with self._db.read(long=True) as snap:
            for _ in range(_PAGES_MAX):
                page = await notices(snap, who.user_no, who.user_id, place, _PAGE)
                rows = await events.events_by_no(snap, [n.event_no for n in page])
                for notice in page:
                    place = (notice.pos, notice.event_no)
                    event = rows[notice.event_no]
                    room = rooms.get(notice.room_no)
                    if room is None:
                        room = rooms[notice.room_no] = await self._room(snap, who, notice)
                    outcome = _outcome(rules, notice, room, event)
                    if not room.sight.sees(event.seq) or not outcome.notify:
                        continue
                    if highlights and not outcome.highlight:
                        continue
                    found.append(self._shown(who, notice, room, event, outcome))
                    if len(found) == limit:
                        return found, f"{place[0]}-{place[1]}"
                if len(page) < _PAGE:
                    return found, None
        return found, f"{place[0]}-{place[1]}"

    async def _room(self, snap: Snap, who: Who, notice: Notice) -> _Room:
        head = await heads.get_head(snap, notice.room_no)
        assert head is not None
        version = room_version(head.version)
        selected: list[Event | None] = []
        for key in (CREATE, POWER_LEVELS):
            entry = await state.current_entry(snap, head.room_no, *key)
            selected.append(await events.pdu(snap, entry[0], version) if entry else None)
        create, levels = selected
        said = levels.content.get("notifications") if levels is not None else None
        return _Room(
            head.joined,
            PowerLevels(create, levels, version),
            said if isinstance(said, dict) else {},
            await visible_events(snap, head.room_no, who.user_id),
            await receipts.thread_reads(snap, head.room_no, who.user_no),
        )

    def _shown(
        self, who: Who, notice: Notice, room: _Room, event: Stored, outcome: Outcome
    ) -> bytes:
        read = notice.read_seq
        if event.thread is not None:
            read = max(read, room.thread_reads.get(event.thread, 0))
        return b'{"actions":%b,"event":%b,"read":%b,"room_id":%b,"ts":%d}' % (
            orjson.dumps(list(outcome.actions)),
            render(event, self._clock(), who.device_no),
            b"true" if event.seq <= read else b"false",
            orjson.dumps(notice.room_id),
            event.ts,
        )


def _outcome(rules: push_rules.Compiled, notice: Notice, room: _Room, event: Stored) -> Outcome:
    shown = {
        "type": event.type,
        "sender": event.sender,
        "room_id": notice.room_id,
        "content": orjson.loads(events.orjson_content(event.client)),
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    facts = EventFacts(shown, room.joined, room.levels.user(event.sender), room.notifications)
    return push_rules.evaluate(rules, facts, notice.name)


def _place(token: str | None) -> tuple[int, int]:
    if token is None:
        return (_END, _END)
    pos, dash, number = token.partition("-")
    if not dash or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in (pos, number)):
        raise Refused(Reason.INVALID_PARAM, "That is no token of this server")
    return (int(pos), int(number))
