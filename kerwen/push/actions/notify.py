"""Whom an event notifies, and how: what the feed's follower of push does.

A room without pushers costs one look-up. Where there are some, only members who have any are
looked at, each by their own rules (2 µs); who said it, who has read it meanwhile and who ignores
the sender are left out. What is to be told is written down with the follower's cursor, in one
transaction, so a crash neither loses nor doubles it. Sending is `push/sender.py`.
"""

# CS #push-notifications

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from kerwen.accounts.push_rules_store import PushRules
from kerwen.base.clock import Clock
from kerwen.push import store
from kerwen.push.notification import tweaks_of
from kerwen.push.store import Candidate
from kerwen.rooms import push_rules
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.push_rules import EventFacts
from kerwen.rooms.store import events, heads, receipts, state, users
from kerwen.rooms.store.events import LOUD, MARKED, Stored
from kerwen.rooms.store.heads import Head
from kerwen.rooms.versions import room_version
from kerwen.storage.cursors import Batch, Item
from kerwen.storage.database import Database, Kind, Snap

_SEVERAL: Final = 64  # events of one room that are read one by one; more are a stretch


class Told(msgspec.Struct, gc=False):
    """An event and the accounts that are told of it, with the same tweaks."""

    pos: int
    n: int
    room_no: int
    seq: int
    tweaks: str
    accounts: list[int]


class Found(msgspec.Struct):
    """What a batch comes to. `badges`: accounts whose count of unread events may be another."""

    told: list[Told] = []
    badges: set[int] = set()


class Notify:
    """The deed of the follower. `awake` is called when somebody has something to send."""

    def __init__(
        self, db: Database, rulebook: PushRules, clock: Clock, awake: Callable[[], None]
    ) -> None:
        self._db = db
        self._rulebook = rulebook
        self._clock = clock
        self._awake = awake
        self.looked_at = 0  # members whose rules were asked

    async def __call__(self, batch: Batch) -> None:
        """Writes down what a part of the feed comes to."""
        found = await self._find(batch.items)
        accounts = sorted({no for told in found.told for no in told.accounts} | found.badges)
        if not accounts:
            batch.idle = True
            return
        now = self._clock()
        async with self._db.write() as tx:
            await store.lock_pushers(tx, accounts)
            for told in found.told:
                await store.add_pushes(
                    tx,
                    told.accounts,
                    at=told.pos,
                    n=told.n,
                    room_no=told.room_no,
                    seq=told.seq,
                    tweaks=told.tweaks,
                    now_ms=now,
                )
            if found.badges:
                await store.make_badge_due(tx, sorted(found.badges))
            await store.make_due(tx, accounts, now)
            await batch.save(tx)
        self._awake()

    async def _find(self, items: Sequence[Item]) -> Found:
        found = Found()
        by_room: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        read_by, moved = set(), set()
        for pos, n, (kind, subject, ref) in items:
            if kind == Kind.EVENT:
                by_room[subject].append((pos, n, ref))
            elif kind == Kind.MEMBERSHIP:
                moved.add((subject, pos))
            elif kind == Kind.RECEIPT:
                read_by.add(ref)
        async with self._db.read() as snap:
            if read_by:
                found.badges |= await store.with_pushers(snap, read_by)
            pushed = await store.rooms_with_pushers(snap, by_room) if by_room else set()
            for room_no, places in by_room.items():
                if room_no not in pushed:  # there only somebody who is asked in may be told
                    places = [place for place in places if (room_no, place[0]) in moved]
                if places:
                    await self._room(snap, room_no, places, room_no in pushed, found)
            await self._leave_ignored(snap, found)
        return found

    async def _room(
        self,
        snap: Snap,
        room_no: int,
        places: list[tuple[int, int, int]],
        pushed: bool,
        found: Found,
    ) -> None:
        """Events of one room."""
        said = await self._events(snap, room_no, [seq for _, _, seq in places])
        people = await store.candidates(snap, room_no) if pushed else []
        place: _Place | None = None
        for pos, n, seq in places:
            event = said.get(seq)
            if event is None or event.redacted_by is not None:
                continue
            found.badges |= _badges(event, people)
            invited = await self._invited(snap, event)
            heard = people if event.flags & (LOUD | MARKED) else []
            heard = [p for p in heard if p.user_id != event.sender and p.read_seq < seq]
            if event.thread is not None and heard:
                heard = await _unread_in_thread(snap, event, heard)
            if invited is not None:
                heard = [*heard, invited]
            if heard:
                place = place or await _Place.read(snap, room_no)
                facts = await place.facts(snap, event)
                for tweaks, accounts in (await self._judge(heard, facts)).items():
                    found.told.append(Told(pos, n, room_no, seq, tweaks, accounts))

    async def _events(self, snap: Snap, room_no: int, seqs: list[int]) -> dict[int, Stored]:
        first, last = min(seqs), max(seqs)
        if last - first > 4 * len(seqs) + _SEVERAL:
            rows = []
            for seq in seqs:
                rows += await events.forward(snap, room_no, seq - 1, 1, seq)
        else:
            rows = await events.forward(snap, room_no, first - 1, last - first + 1, last)
        wanted = set(seqs)
        return {event.seq: event for event in rows if event.seq in wanted}

    async def _invited(self, snap: Snap, event: Stored) -> Candidate | None:
        """Who is asked in by an event, if they have pushers: no member yet, but told of it."""
        if event.type != "m.room.member" or event.state_key == event.sender:
            return None
        assert event.state_key is not None
        if orjson.loads(events.orjson_content(event.client)).get("membership") != "invite":
            return None
        user_no = await users.user_no(snap, event.state_key)
        if user_no is None or not await store.with_pushers(snap, [user_no]):
            return None
        return Candidate(user_no, event.state_key, None, 0)

    async def _judge(self, heard: Sequence[Candidate], facts: EventFacts) -> dict[str, list[int]]:
        """Accounts that an event notifies, by the tweaks of the rule that matched."""
        rules = await self._rulebook.of_many([person.user_no for person in heard])
        self.looked_at += len(heard)
        notified: dict[str, list[int]] = defaultdict(list)
        texts: dict[int, str] = {}  # of outcomes: most people share one
        for person in heard:
            compiled = rules[person.user_no].compiled
            outcome = push_rules.evaluate(compiled, facts, person.name or "")
            if outcome.notify:
                text = texts.get(id(outcome))
                if text is None:
                    text = texts[id(outcome)] = orjson.dumps(tweaks_of(outcome.actions)).decode()
                notified[text].append(person.user_no)
        return notified

    async def _leave_ignored(self, snap: Snap, found: Found) -> None:
        """Nobody is waked by whom they ignore (CS #ignoring-users)."""
        accounts = {no for told in found.told for no in told.accounts}
        if not accounts:
            return
        lists = {
            no: _ignored(content)
            for no, content in (await store.ignored_lists(snap, accounts)).items()
        }
        if not any(lists.values()):
            return
        for told in found.told:
            rows = await events.forward(snap, told.room_no, told.seq - 1, 1, told.seq)
            sender = rows[0].sender if rows else ""
            told.accounts = [no for no in told.accounts if sender not in lists.get(no, ())]
        found.told = [told for told in found.told if told.accounts]


class _Place:
    """What rules may ask about a room, read once for all events of a batch."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._levels: tuple[PowerLevels, Mapping[str, Any]] | None = None

    @classmethod
    async def read(cls, snap: Snap, room_no: int) -> _Place:
        head = await heads.get_head(snap, room_no)
        assert head is not None, "it has events"
        return cls(head)

    async def facts(self, snap: Snap, event: Stored) -> EventFacts:
        """The facts of one event. Its sender's power is what it is now."""
        shown = orjson.loads(event.client + b"}")
        shown["room_id"] = self._head.room_id
        levels, notifications = await self._power(snap)
        return EventFacts(shown, self._head.joined, levels.user(event.sender), notifications)

    async def _power(self, snap: Snap) -> tuple[PowerLevels, Mapping[str, Any]]:
        if self._levels is None:
            version, found = room_version(self._head.version), []
            for event_type in ("m.room.create", "m.room.power_levels"):
                entry = await state.current_entry(snap, self._head.room_no, event_type, "")
                found.append(await events.pdu(snap, entry[0], version) if entry else None)
            create, levels = found
            told = levels.content.get("notifications") if levels is not None else None
            self._levels = (
                PowerLevels(create, levels, version),
                told if isinstance(told, dict) else {},
            )
        return self._levels


def _badges(event: Stored, people: Sequence[Candidate]) -> set[int]:
    """Whose count of unread events falls: who speaks has read; what is redacted is nobody's."""
    if event.type == "m.room.redaction" and event.flags & MARKED:
        return {person.user_no for person in people}
    return {person.user_no for person in people if person.user_id == event.sender}


async def _unread_in_thread(
    snap: Snap, event: Stored, heard: Sequence[Candidate]
) -> list[Candidate]:
    assert event.thread is not None
    unread = []
    for person in heard:
        reads = await receipts.thread_reads(snap, event.room_no, person.user_no)
        if max(reads.get(event.thread, 0), reads.get("", 0)) < event.seq:
            unread.append(person)
    return unread


def _ignored(content: bytes) -> frozenset[str]:
    found = orjson.loads(content).get("ignored_users")
    return frozenset(found) if isinstance(found, dict) else frozenset()
