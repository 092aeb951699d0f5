"""Putting an event of ours at the end of a room: the one way in which anything is said.

    async with append.room(room_id) as room:     # a transaction, the room locked
        stored = await room.add(Draft(...))      # authorized, built, signed, written
                                                 # at the end the head moves

An event costs: two look-ups, five rows, one signature, one position on the feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import msgspec
import orjson

from kerwen.accounts.push_rules_store import PushRules
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.signing import SigningKey
from kerwen.rooms import push_rules, search_words
from kerwen.rooms.actions.bridges import Bridges, NoBridges
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.auth import CREATE, POWER_LEVELS, auth_types, check_auth
from kerwen.rooms.build import build_event
from kerwen.rooms.event import Event, StateKey, is_user_id, stripped_format
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.push_rules import EventFacts
from kerwen.rooms.retention import TIMERS
from kerwen.rooms.store import events, expiry, heads, marks, members, search, state, users
from kerwen.rooms.store.events import LOUD, MARKED, Stored
from kerwen.rooms.store.heads import Head
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.view import RoomView, RoomViews
from kerwen.storage.database import Database, Kind, Tx

_MENTIONS_MAX = 100  # people one event can highlight one by one
_NAME_MAX = 256
_COMING = ("join", "invite", "knock")


class Draft(msgspec.Struct, gc=False):
    """An event to be said. `sender_no` is the sender's number."""

    sender: str
    sender_no: int
    type: str
    content: dict[str, Any]
    state_key: str | None = None
    redacts: str | None = None
    ts: int | None = None
    device_no: int | None = None
    txn_id: str | None = None
    marked: bool = False  # it changes what earlier events mean to members


class Append:
    """Opens rooms for writing. `server_name` and `key` sign what is said."""

    def __init__(
        self,
        db: Database,
        server_name: str,
        key: SigningKey,
        clock: Clock,
        views: RoomViews,
        recent: Recent,
        names: Names,
        rulebook: PushRules,
    ) -> None:
        self.db = db
        self.server_name = server_name
        self.key = key
        self.clock = clock
        self.views = views
        self.recent = recent
        self.names = names
        self.rulebook = rulebook
        self.bridges: Bridges = NoBridges()

    async def meet(self, user_id: str) -> None:
        """Somebody is to be asked in whom nobody met yet: an application service may make them."""
        async with self.db.read() as snap:
            known = await self.names.user(snap, user_id)
        if known is None:
            await self.bridges.make_user(user_id)

    async def numbers(self, count: int) -> Iterator[int]:
        """Event numbers to be given out; asked for before the transaction begins."""
        first = await self.db.take_id("event", count)
        return iter(range(first, first + count))

    def room(self, room_id: str, count: int = 1, about: str | None = None) -> Writing:
        """A transaction that says at most `count` events in a room. `about`: the user of a
        member event, whom this server need not have met."""
        return Writing(self, room_id, count, about)

    async def open(self, tx: Tx, room_no: int, numbers: Iterator[int]) -> RoomWriter:
        """Locks a room. Refuses (`UNKNOWN_ROOM`) one that does not exist."""
        view = await self.views.lock(tx, room_no)
        if view is None:
            raise Refused(Reason.UNKNOWN_ROOM, "There is no such room")
        return RoomWriter(self, tx, view, numbers)

    async def start(
        self, tx: Tx, room_no: int, create: Event, numbers: Iterator[int], creator_no: int
    ) -> RoomWriter:
        """A new room with its create event."""
        head = await heads.add_room(
            tx, room_no, create.room_id, create.version.id, create.origin_server_ts
        )
        view = RoomView(head)
        self.views.put(view)
        writer = RoomWriter(self, tx, view, numbers)
        await writer.put(create, creator_no)
        return writer


class Writing:
    """`Append.room`: opens the transaction and the room, finishes or fails both."""

    __slots__ = ("_about", "_append", "_count", "_room", "_room_id", "_writing")

    def __init__(self, append: Append, room_id: str, count: int, about: str | None = None) -> None:
        self._about = about
        self._append = append
        self._room_id = room_id
        self._count = count
        self._room: RoomWriter | None = None

    async def __aenter__(self) -> RoomWriter:
        append = self._append
        numbers = await append.numbers(self._count)
        fresh_user = 0 if self._about is None else await self._stranger(self._about)
        self._writing = append.db.write()
        tx = await self._writing.__aenter__()
        try:
            room_no = await append.names.room(tx, self._room_id)
            if room_no is None:
                raise Refused(Reason.UNKNOWN_ROOM, "There is no such room")
            self._room = await append.open(tx, room_no, numbers)
            self._room.fresh_user = fresh_user
        except BaseException as error:
            await self._writing.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._room

    async def _stranger(self, user_id: str) -> int:
        """A number for a user whom this server never met; 0 for others."""
        if not is_user_id(user_id):
            raise Refused(Reason.INVALID_PARAM, "That is no user id")
        append = self._append
        async with append.db.read() as snap:
            known = await append.names.user(snap, user_id)
        return 0 if known is not None else await append.db.take_id("user")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._room is not None
        try:
            if error is None:
                self._room.finish()
            await self._writing.__aexit__(kind, error, trace)
        except BaseException:
            self._room.fail()
            raise
        if error is not None:
            self._room.fail()


class RoomWriter:
    """A room that is locked for one transaction."""

    def __init__(self, append: Append, tx: Tx, view: RoomView, numbers: Iterator[int]) -> None:
        self._append = append
        self._tx = tx
        self._numbers = numbers
        self.view = view
        self.said: list[Stored] = []
        self._drawn = 0  # the number of the next event, if it is known already
        self.fresh_user = 0  # for the user of a member event, if nobody met them yet

    @property
    def head(self) -> Head:
        return self.view.head

    async def sent_before(self, device_no: int, kind: str, txn_id: str) -> str | None:
        """The event that a device said under this transaction id already; if there is none, the
        next event is noted as that."""
        self._drawn = next(self._numbers)
        return await events.claim_txn(self._tx, device_no, self.room_no, kind, txn_id, self._drawn)

    async def auth_state(self, keys: list[StateKey]) -> dict[StateKey, Event]:
        """The state that authorizes: the selected entries, and the create event always."""
        found: dict[StateKey, Event] = {}
        for key in (CREATE, *keys):
            event = (await self.view.entry(self._tx, key)).event
            if event is not None:
                found[key] = event
        return found

    async def add(self, draft: Draft) -> Stored:
        """Says an event. Refuses (`FORBIDDEN`) what the room's state does not allow.

        State that says what is so already gives the event that said it, and nothing new.
        """
        same = await self._already_so(draft) if draft.state_key is not None else None
        version = self.view.version
        keys = auth_types(version, draft.type, draft.sender, draft.state_key, draft.content)
        allowed_by = await self.auth_state(keys)
        head = self.view.head
        event = build_event(
            version,
            room_id=head.room_id,
            sender=draft.sender,
            type=draft.type,
            content=draft.content,
            prev_events=head.tips,
            auth_events=[allowed_by[key].event_id for key in keys if key in allowed_by],
            depth=head.depth + 1,
            origin_server_ts=draft.ts if draft.ts is not None else self._append.clock(),
            key=self._append.key,
            server_name=self._append.server_name,
            state_key=draft.state_key,
            redacts=draft.redacts,
        )
        check_auth(event, allowed_by, version)
        if same is not None:
            return same
        return await self.put(event, draft.sender_no, draft)

    async def _already_so(self, draft: Draft) -> Stored | None:
        assert draft.state_key is not None
        entry = await self.view.entry(self._tx, (draft.type, draft.state_key))
        event = entry.event
        if event is None or event.sender != draft.sender or event.content != draft.content:
            return None
        found = await events.events_by_no(self._tx, [entry.event_no])
        return found.get(entry.event_no)

    async def put(self, event: Event, sender_no: int, draft: Draft | None = None) -> Stored:
        """Writes an authorized event: rows, head, marks, changes to tell."""
        tx, head = self._tx, self.view.head
        room_no = head.room_no
        facts = await self._facts(event)
        everyone = push_rules.for_everyone(facts)
        relates_to, rel_type, thread = relation_of(event)
        if relates_to is not None and thread is None:
            thread = await self._thread_of(relates_to)
        event_no, self._drawn = self._drawn or next(self._numbers), 0
        stored = Stored(
            event_no,
            room_no,
            head.head + 1,
            0,
            event.event_id,
            event.type,
            event.state_key,
            event.sender,
            event.origin_server_ts,
            LOUD if everyone.notify else 0,
            head.loud + everyone.notify,
            head.state_group,
            thread,
            None,
            draft.device_no if draft else None,
            draft.txn_id if draft else None,
            None,
            events.client_prefix(event),
        )
        moved = {
            "head": stored.seq,
            "depth": event.depth,
            "tips": (event.event_id,),
            "loud": stored.loud,
        }
        if event.state_key is not None:
            moved |= await self._put_state(event, stored)
        marked = await self._mark(stored, facts, everyone, sender_no)
        if marked or (draft is not None and draft.marked):
            stored.flags |= MARKED
            moved["marked"] = stored.seq
        if thread is not None:
            moved["threaded"] = stored.seq
        events.add_event(tx, event, stored, relates_to=relates_to, rel_type=rel_type)
        if search_words.text_of(event.type, event.content) is not None:
            search.note(tx, stored.event_no)
        if thread is None:
            members.mark_read(tx, room_no, sender_no, stored.seq, stored.loud)
        self.view.head = msgspec.structs.replace(head, **moved)
        tx.change(Kind.EVENT, room_no, stored.seq)
        self.said.append(stored)
        return stored

    async def _thread_of(self, event_id: str) -> str | None:
        """The thread of an event that another one relates to (CS #threaded-read-receipts)."""
        found = await events.parent(self._tx, event_id)
        return found.thread if found is not None and found.room_no == self.room_no else None

    async def _put_state(self, event: Event, stored: Stored) -> dict[str, int]:
        head, key = self.view.head, event.key
        old = await self.view.entry(self._tx, key)
        if old.event is not None:
            stored.unsigned_json = b'"prev_content":%b,"prev_sender":%b,"replaces_state":%b' % (
                old.event.content_json,
                orjson.dumps(old.event.sender),
                orjson.dumps(old.event.event_id),
            )
        await state.set_state(
            self._tx,
            head.room_no,
            key,
            stored.event_no,
            stored.seq,
            replaces=old.event is not None,
        )
        await state.add_group(
            self._tx, stored.event_no, head.room_no, head.state_group, {key: stored.event_no}
        )
        moved = {"state_seq": stored.seq, "state_group": stored.event_no}
        if event.type == "m.room.member":
            self.view.own_rules = None
            moved |= await self._put_member(event, stored, old.event)
        elif event.type in TIMERS and event.state_key == "":
            await expiry.touch(self._tx, head.room_no)
        self.view.put(key, stored.event_no, event)
        return moved

    async def _put_member(self, event: Event, stored: Stored, old: Event | None) -> dict[str, int]:
        assert event.state_key is not None
        user_no = await users.user_no(self._tx, event.state_key)
        if user_no is None and self.fresh_user:
            user_no = await users.add_user(self._tx, event.state_key, self.fresh_user)
        if user_no is None:
            raise Refused(Reason.NOT_FOUND, "There is no such user")
        now, before = event.membership or "leave", (old.membership if old else None) or "leave"
        if now in _COMING and before != now and await expiry.blocked(self._tx, event.room_id):
            raise Refused(Reason.FORBIDDEN, "An administrator has closed this room")
        members.set_member(
            self._tx,
            room_no=stored.room_no,
            user_no=user_no,
            membership=now,
            seq=stored.seq,
            event_no=stored.event_no,
            loud=stored.loud,
            name=_text(event.content.get("displayname")),
            avatar=_text(event.content.get("avatar_url")),
            stripped=await self._stripped(event) if now in ("invite", "knock") else None,
        )
        self._tx.change(Kind.MEMBERSHIP, stored.room_no, user_no)
        head = self.view.head
        return {
            "joined": head.joined + (now == "join") - (before == "join"),
            "invited": head.invited + (now == "invite") - (before == "invite"),
        }

    async def _stripped(self, event: Event) -> bytes:
        """What somebody who is asked in may know of the room (CS #stripped-state)."""
        shown = []
        for event_type in _STRIPPED_TYPES:
            found = await self.view.state_event(self._tx, event_type)
            if found is not None:
                shown.append(stripped_format(found))
        inviter = await self.view.state_event(self._tx, "m.room.member", event.sender)
        if inviter is not None and event.sender != event.state_key:
            shown.append(stripped_format(inviter))
        shown.append(stripped_format(event))
        return b"[" + b",".join(shown) + b"]"

    async def _facts(self, event: Event) -> EventFacts:
        shown = {
            "type": event.type,
            "sender": event.sender,
            "room_id": event.room_id,
            "content": event.content,
        }
        if event.state_key is not None:
            shown["state_key"] = event.state_key
        mentions = event.content.get("m.mentions")
        if not (isinstance(mentions, dict) and mentions.get("room")) and not (
            await self._with_own_rules()
        ):
            return EventFacts(shown, self.view.head.joined)  # no rule asks for the sender's power
        levels_event = await self.view.state_event(self._tx, *POWER_LEVELS)
        create = await self.view.state_event(self._tx, *CREATE)
        levels = PowerLevels(create, levels_event, self.view.version)
        notifications = levels_event.content.get("notifications") if levels_event else None
        return EventFacts(
            shown,
            self.view.head.joined,
            levels.user(event.sender),
            notifications if isinstance(notifications, dict) else {},
        )

    async def _mark(
        self,
        stored: Stored,
        facts: EventFacts,
        everyone: push_rules.Outcome,
        sender_no: int,
    ) -> bool:
        """Rows for those to whom the event means something else than to everyone."""
        tx, room_no, thread = self._tx, stored.room_no, stored.thread or ""
        marked = everyone.highlight
        if everyone.highlight:
            marks.add_mark(tx, room_no, marks.EVERYONE, stored.seq, 0, 1, thread)
        named = push_rules.singled_out(facts.event)[:_MENTIONS_MAX]
        people = set(await self._with_own_rules())
        if named:
            people |= set((await users.user_nos(tx, named)).values())
        people.discard(sender_no)
        for user_no in people:
            member = await members.member(tx, room_no, user_no)
            if member is None or member.membership != "join":
                continue
            rules = await self._append.rulebook.within(tx, user_no)
            outcome = push_rules.evaluate(rules.compiled, facts, member.name or "")
            notify = int(outcome.notify) - int(everyone.notify)
            highlight = int(outcome.highlight) - int(everyone.highlight)
            if notify or highlight:
                marks.add_mark(tx, room_no, user_no, stored.seq, notify, highlight, thread)
                marked = True
        return marked

    async def _with_own_rules(self) -> list[int]:
        """Members with rules of their own; asked again when somebody's rules changed."""
        epoch = self._append.rulebook.epoch
        known = self.view.own_rules
        if known is None or known[0] != epoch:
            found = await members.with_own_rules(self._tx, self.room_no)
            known = self.view.own_rules = (epoch, found)
        return known[1]

    @property
    def tx(self) -> Tx:
        return self._tx

    @property
    def room_no(self) -> int:
        return self.view.head.room_no

    def finish(self) -> None:
        """Moves the room's head; what was said is kept in memory once it is on disk."""
        if not self.said:
            return
        heads.move_head(self._tx, self.view.head)
        self._tx.after(self._after)

    def _after(self) -> None:
        for stored in self.said:
            stored.pos = self._tx.pos
            self._append.recent.add(stored)

    def fail(self) -> None:
        """The transaction did not happen: what the view holds is not so."""
        self._append.views.drop(self.view.head.room_no)


_STRIPPED_TYPES = (
    "m.room.create",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.topic",
    "m.room.encryption",
    "m.room.name",
)


def relation_of(event: Event) -> tuple[str | None, str | None, str | None]:
    """(related event, relation, thread root) of an event (CS #forming-relationships)."""
    if event.state_key is not None:
        return None, None, None
    relates = event.content.get("m.relates_to")
    if not isinstance(relates, dict):
        return None, None, None
    rel_type, target = relates.get("rel_type"), relates.get("event_id")
    if not isinstance(rel_type, str) or not isinstance(target, str):
        return None, None, None
    if len(rel_type) > 255 or len(target) > 255:
        return None, None, None
    return target, rel_type, target if rel_type == "m.thread" else None


def _text(value: object) -> str | None:
    return value[:_NAME_MAX] if isinstance(value, str) else None
