"""Simplified sliding sync (MSC4186): the rooms in a client's windows, and what is new in them.

An answer is a function of the state that the client's `pos` names (what it was sent), of its
place on the feed, and of the request. It makes a new state only when the set of rooms changes or
what they are wanted with. The order is register, read, wait, as in classic sync; both share the
watch of the account, the newest events in memory, and the renderings of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence

import msgspec
import orjson

from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SYNC_TIMEOUT_MAX_MS
from kerwen.keys.store.key_counts import KeyCounts
from kerwen.rooms import sliding as asked_for
from kerwen.rooms.actions import sliding_sync_extensions as extensions
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.sliding_sync_connections import Connection, Connections, Turn
from kerwen.rooms.actions.sliding_sync_extensions import Known
from kerwen.rooms.actions.sliding_sync_facts import RoomFacts
from kerwen.rooms.actions.sliding_sync_rooms import Reader, SlidingRooms, Span
from kerwen.rooms.actions.sliding_sync_shelf import Entry, Shelf, Shelves
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.sliding import Config, Wish, combine, windows
from kerwen.rooms.sliding_state import NextState, Pos, State, read_pos
from kerwen.rooms.store import events, heads, members, receipts, sliding
from kerwen.rooms.store.events import MARKED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Change, Database, Snap
from kerwen.storage.feed import Feed
from kerwen.storage.lazy import LazySnap
from kerwen.storage.wake import LINGER_MS, WakeIndex, Watch

_PLACES_MAX = 64  # rooms whose place is kept for a connected account
_ROOMS_A_TURN = 16  # rooms of a long answer that are made before others get their turn


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
    shelf: int  # the number of the shelf it was made of
    members: bytes  # keys of the members that it tells of


class _Round(msgspec.Struct, gc=False):
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
    matched: dict[int, tuple[Entry, Config]] = {}
    only_news: bool = False  # no rule can match otherwise than before
    places: dict[int, Standing] = {}
    told: list[tuple[str, bytes]] = []
    anew: dict[int, list[str]] = {}  # rooms told anew → the events shown of them
    expanded: dict[int, list[str]] = {}  # rooms of which older events are shown → the events
    gone: list[int] = []

    @property
    def since(self) -> int:
        return self.span.live


class SlidingSync:
    """Answers sliding syncs; `stop` ends all that wait."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        wake: WakeIndex,
        recent: Recent,
        typing: Typing,
        key_counts: KeyCounts,
        clock: Clock,
    ) -> None:
        self._db = db
        self._feed = feed
        self._wake = wake
        self._recent = recent
        self._typing = typing
        self._key_counts = key_counts
        self._clock = clock
        self._facts = RoomFacts(recent)
        self._shelves = Shelves(db, wake, self._facts)
        self._rooms = SlidingRooms(recent, self._facts)
        self.connections = Connections(db, clock)
        self._stopping = False
        self.parked = 0

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed; after `Recent` and before whoever wakes."""
        self._facts.follow(pos, changes)
        self._shelves.follow(pos, changes)

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._stopping = True
        self._wake.wake_all()

    async def tidy(self) -> None:
        """Forgets what nobody uses; called by a timer."""
        self._shelves.sweep()
        await self.connections.sweep()

    async def __call__(self, asked: Asked) -> bytes:
        """The answer's JSON."""
        pos = read_pos(asked.pos) if asked.pos else None
        if (
            pos is not None
            and pos.token.pos > self._feed.settled
            and not await self._feed.until(pos.token.pos)
        ):
            raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
        conn = self.connections.open(asked.device_no, asked.wish.conn_id)
        base = State()
        if pos is not None:
            base = await self.connections.state(conn, pos.generation)
            conn.sent.came_back(pos)
        watch = await self._watch(asked)
        await self._acknowledge(asked, watch)
        turn = Turn()
        before = conn.turns.get(asked.pos or "")
        if before is not None:
            before.end()
        conn.turns[asked.pos or ""] = turn
        watch.parked += 1
        try:
            return await self._answer(asked, conn, pos, base, watch, turn)
        finally:
            watch.parked -= 1
            watch.expires_ms = self._clock() + LINGER_MS
            if conn.turns.get(asked.pos or "") is turn:
                del conn.turns[asked.pos or ""]

    async def _watch(self, asked: Asked) -> Watch:
        watch = self._wake.get(asked.user_no)
        if watch is None:
            watch = self._wake.open(asked.user_no, (), self._feed.settled)
            await self._shelves.of(watch, asked.user_id)
            watch.base = watch.last = self._feed.settled
        self._wake.add_device(watch, asked.device_no)
        return watch

    async def _acknowledge(self, asked: Asked, watch: Watch) -> None:
        wish = asked.wish.to_device
        if wish is None or not wish.since:
            return
        try:
            since = feed_token.decode(wish.since)
        except Refused:
            raise Refused(Reason.INVALID_PARAM, "Unknown since of to_device") from None
        await extensions.acknowledge(self._db, watch, asked.device_no, since)

    # --- waiting ----------------------------------------------------------------------------

    async def _answer(
        self,
        asked: Asked,
        conn: Connection,
        pos: Pos | None,
        base: State,
        watch: Watch,
        turn: Turn,
    ) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(asked.timeout_ms, SYNC_TIMEOUT_MAX_MS) / 1000
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            watch.waiters.append(waiter)
            turn.waiter = waiter
            try:
                upto = self._feed.settled
                soft = self._typing.count
                look = None
                if not self._is_calm(asked, conn, pos, watch, soft):
                    following = FeedToken(upto, 0, self._typing.origin, soft)
                    look = await self._look(asked, conn, pos, base, watch, following)
                    if pos is not None and not look.news and not look.next.changed:
                        _note_calm(conn, pos.generation, asked, look)
                left = deadline - loop.time()
                ready = (look is not None and look.news) or left <= 0 or self._stopping
                if pos is None or ready or turn.over:
                    return await self._close(asked, conn, pos, base, look, turn, upto, soft)
                await self._park(waiter, left)
            finally:
                if not waiter.done():
                    waiter.cancel()
                    if waiter in watch.waiters:
                        watch.waiters.remove(waiter)

    def _is_calm(
        self, asked: Asked, conn: Connection, pos: Pos | None, watch: Watch, soft: int
    ) -> bool:
        """Whether nothing can have come: then there is no need to look."""
        return (
            pos is not None
            and conn.calm == (pos.generation, asked.key)
            and watch.base <= pos.token.pos
            and watch.last <= pos.token.pos
            and (pos.token.soft_origin, pos.token.soft) == (self._typing.origin, soft)
        )

    async def _park(self, waiter: asyncio.Future[None], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, _ring, waiter)
        self.parked += 1
        try:
            await waiter
        finally:
            self.parked -= 1
            timer.cancel()

    async def _close(
        self,
        asked: Asked,
        conn: Connection,
        pos: Pos | None,
        base: State,
        look: Look | None,
        turn: Turn,
        upto: int,
        soft: int,
    ) -> bytes:
        if turn.over:  # the client asked again: this answer must not move anything
            same = (asked.pos or "").encode()
            return b'{"pos":"%b","lists":{},"rooms":{},"extensions":{}}' % same
        generation = pos.generation if pos is not None else 0
        following = FeedToken(upto, 0, self._typing.origin, soft)
        rooms, more, lists = b"", list[bytes](), conn.lists
        if look is not None:
            following, lists, more = look.following, look.lists, look.extensions
            rooms = b",".join(orjson.dumps(no) + b":" + body for no, body in look.rooms)
            if look.next.changed or pos is None:
                kept = await self.connections.keep(conn, generation, base, look.next.made(), turn)
                if kept is None:
                    return await self._close(asked, conn, pos, base, None, turn, upto, soft)
                generation = kept
            _note_calm(conn, generation, asked, look)
            conn.sent.told(Pos(generation, following), look.members)
        more = await self._with_counts(asked, more)
        parts = [b'"pos":"%b"' % str(Pos(generation, following)).encode()]
        if asked.wish.txn_id is not None:
            parts.append(b'"txn_id":' + orjson.dumps(asked.wish.txn_id))
        parts.append(b'"lists":{%b},"rooms":{%b}' % (lists, rooms))
        parts.append(b'"extensions":{%b}' % b",".join(more))
        return b"{%b}" % b",".join(parts)

    async def _with_counts(self, asked: Asked, found: list[bytes]) -> list[bytes]:
        """MSC3884: the counts of keys go with every answer."""
        if not asked.wish.e2ee:
            return found
        counts = await self._key_counts.of(asked.device_no)
        lists = [part for part in found if part.startswith(b'"device_lists"')]
        rest = [part for part in found if not part.startswith(b'"device_lists"')]
        return [*rest, b'"e2ee":{%b}' % b",".join([*lists, counts])]

    # --- looking ----------------------------------------------------------------------------

    async def _look(
        self,
        asked: Asked,
        conn: Connection,
        pos: Pos | None,
        base: State,
        watch: Watch,
        following: FeedToken,
    ) -> Look:
        """What there is to tell after the token, up to `following`."""
        token = pos.token if pos is not None else None
        since = token.pos if token is not None else 0
        shelf, places = await self._shelves.of(watch, asked.user_id)
        me = Reader(
            asked.user_no,
            asked.user_id,
            asked.device_no,
            watch.ignored,
            conn.sent,
            bytearray(),
        )
        this = _Round(
            asked,
            me,
            watch,
            shelf,
            base,
            NextState(base),
            token,
            Span(since, since, following.pos, self._clock()),
            token is not None and watch.base <= since,
        )
        this.places = {place.room_no: place for place in places}
        filters = [rule.filters for rule in asked.wish.lists]
        this.only_news = (
            this.known
            and pos is not None
            and conn.calm == (pos.generation, asked.key)
            and conn.shelf == shelf.number
            and not any(one is not None and (one.of_state or one.spaces) for one in filters)
        )
        async with LazySnap(self._db) as snap:
            lists = await self._match(snap, this)
            await self._note_changes(snap, this)
            await self._tell_rooms(snap, this)
            more, news = await self._extensions(snap, conn, this)
        news = news or bool(this.told)
        return Look(
            lists, this.told, more, this.next, following, news, shelf.number, bytes(me.telling)
        )

    async def _match(self, snap: Snap, this: _Round) -> bytes:
        """Finds the rooms that the rules match, and what each is wanted with."""
        wish, shelf, matched = this.asked.wish, this.shelf, this.matched
        said = []
        for rule in wish.lists:
            rooms = await self._shelves.admitted(snap, shelf, rule.filters)
            config = rule.config
            for window in windows(len(rooms), rule.ranges):
                seen = rooms[window.start : window.stop]
                if not matched:
                    matched.update({entry.room_no: (entry, config) for entry in seen})
                    continue
                for entry in seen:
                    known = matched.get(entry.room_no)
                    if known is None:
                        matched[entry.room_no] = (entry, config)
                    elif known[1] is not config:
                        matched[entry.room_no] = (entry, combine((known[1], config)))
            said.append(b'%b:{"count":%d}' % (orjson.dumps(rule.name), len(rooms)))
        for room_id, config in wish.subscriptions:
            found = shelf.by_id(room_id) or await self._former(snap, this, room_id)
            if found is None:
                continue
            known = matched.get(found.room_no)
            matched[found.room_no] = (found, combine((known[1], config) if known else (config,)))
        return b",".join(said)

    async def _former(self, snap: Snap, this: _Round, room_id: str) -> Entry | None:
        """A room that the reader left, and subscribes to."""
        return await self._shelves.former(snap, this.me.user_no, this.me.user_id, room_id)

    async def _note_changes(self, snap: Snap, this: _Round) -> None:
        """The rooms with news."""
        if this.token is None:
            return
        watch, since = this.watch, this.since
        if this.known:
            this.changed = watch.rooms_since(since)
            this.moved = watch.memberships > since
        else:
            this.changed = set(await heads.changed_rooms(snap, this.me.user_no, since))

    # --- rooms ------------------------------------------------------------------------------

    async def _tell_rooms(self, snap: Snap, this: _Round) -> None:
        fresh = self._with_news(this) if this.only_news else self._to_tell(this)
        await self._prepare(snap, this, fresh)
        for number, (entry, config) in enumerate(fresh):
            body = await self._tell(snap, this, entry, config)
            if body is not None:
                this.told.append((entry.room_id, body))
            if number % _ROOMS_A_TURN == _ROOMS_A_TURN - 1:
                await asyncio.sleep(0)
        if this.token is not None:
            await self._tell_left(snap, this)
            self._leave_out(this)

    def _with_news(self, this: _Round) -> list[tuple[Entry, Config]]:
        """Rooms that came into a window or have news. That one is wanted with less than before
        need not be known until it has some: up to then, the client has what it had."""
        matched = this.matched
        found = matched.keys() - this.base.rooms.keys()
        found |= matched.keys() & {*this.changed, *this.base.behind}
        return [matched[room_no] for room_no in found]

    def _to_tell(self, this: _Round) -> list[tuple[Entry, Config]]:
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

    async def _prepare(
        self, snap: Snap, this: _Round, fresh: Sequence[tuple[Entry, Config]]
    ) -> None:
        """Reads at once what many rooms need."""
        known = this.base.rooms
        new = [e for e, _ in fresh if e.membership == "join" and e.room_no not in known]
        if len(new) > 1:
            await self._facts.prepare(snap, [e.facts for e in new], this.me.user_id)
            missing = [e.room_no for e in new if e.room_no not in this.places]
            if missing:
                for place in await sliding.places_in(snap, this.me.user_no, missing):
                    this.places[place.room_no] = place

    async def _tell(self, snap: Snap, this: _Round, entry: Entry, config: Config) -> bytes | None:
        """One room that is matched: what is to be told of it, and that it was told."""
        room_no, base = entry.room_no, this.base
        before = base.config(room_no)
        span = self._span(this, room_no, before is None)
        body = None
        if entry.membership == "join":
            if entry.joined_pos > span.since:
                before, span = None, self._span(this, room_no, True)
            place = await self._place(snap, this, room_no, before is None)
            if place is None:
                return None
            direct = before is not None and base.is_direct(room_no)
            body, timeline = await self._rooms.joined(
                snap, this.me, entry, place, config, before, span, direct
            )
            if timeline.expanded:
                this.expanded[room_no] = [event.event_id for event in timeline.shown]
            await self._note_anew(snap, this, room_no, config, before, timeline.shown)
        elif before is None or entry.pos > span.since or base.is_direct(room_no) != entry.direct:
            body = await self._tell_outside(snap, this, entry, config, before is None, span)
            if body is None:
                return None
        this.next.sent(room_no, config, entry.direct)
        return body

    async def _note_anew(
        self,
        snap: Snap,
        this: _Round,
        room_no: int,
        config: Config,
        before: Config | None,
        shown: Sequence[Stored],
    ) -> None:
        """The extensions tell everything of a room that is new, or newly wanted with them."""
        if before is not None:
            if not config.extras & ~before.extras:
                return
            if not shown:
                shown = await events.newest(snap, room_no, 0, this.span.upto, config.limit)
        this.anew[room_no] = [event.event_id for event in shown]

    async def _tell_outside(
        self, snap: Snap, this: _Round, entry: Entry, config: Config, anew: bool, span: Span
    ) -> bytes | None:
        """A room in which the reader is not: asked in, or put out of it."""
        if entry.membership in ("invite", "knock"):
            member = await members.member(snap, entry.room_no, this.me.user_no)
            if member is None or member.stripped is None:
                return None
            return self._rooms.asked_in(entry, member.stripped)
        place = await receipts.standing(snap, entry.room_no, this.me.user_no)
        if place is None or place.membership not in ("leave", "ban"):
            return None
        return await self._rooms.gone(snap, this.me, place, config, anew, span)

    def _span(self, this: _Round, room_no: int, anew: bool) -> Span:
        if not anew and room_no not in this.base.behind:
            return this.span
        since = 0 if anew else this.base.behind[room_no]
        return Span(since, this.since, this.span.upto, this.span.now_ms)

    async def _place(self, snap: Snap, this: _Round, room_no: int, anew: bool) -> Standing | None:
        """The reader's place in a room: read just now; or as it was kept, brought up to date by
        what was said since, if memory holds all of that; else as the database has it."""
        found = this.places.get(room_no)
        if found is not None:
            return found
        watch, upto = this.watch, this.span.upto
        kept: Standing | None = watch.places.get(room_no)
        if kept is not None:
            said = self._recent.after(room_no, kept.head, upto)
            if said is not None and all(e.sender != this.me.user_id for e in said):
                for event in said:
                    kept.head, kept.loud = event.seq, event.loud
                    if event.flags & MARKED:
                        kept.marked = event.seq
                    if event.thread is not None:
                        kept.threaded = event.seq
                return kept
            del watch.places[room_no]
        place = await receipts.standing(snap, room_no, this.me.user_no)
        if place is None or place.membership != "join":
            return None
        if not anew and watch.last <= upto:
            watch.places[room_no] = place
            if len(watch.places) > _PLACES_MAX:
                del watch.places[next(iter(watch.places))]
        return place

    async def _tell_left(self, snap: Snap, this: _Round) -> None:
        """Rooms that the reader left since, whether or not a rule matches them."""
        if not this.moved:
            return
        since, upto = this.since, this.span.upto
        for place in await receipts.changed_standings(snap, this.me.user_no, since, upto):
            if place.membership not in ("leave", "ban"):
                continue
            room_no = place.room_no
            this.gone.append(room_no)
            config = this.base.config(room_no)
            if config is None or room_no in this.matched:
                continue
            span = self._span(this, room_no, False)
            body = await self._rooms.gone(snap, this.me, place, config, False, span)
            this.told.append((place.room_id, body))
            if room_no in this.shelf.rooms:
                this.next.sent(room_no, config, this.base.is_direct(room_no))
            else:
                this.next.gone(room_no)

    def _leave_out(self, this: _Round) -> None:
        """Rooms that the client knows and that have news outside all windows."""
        told = {*this.matched, *this.gone}
        for room_no in this.changed:
            if room_no in this.base.rooms and room_no not in told:
                entry = this.shelf.rooms.get(room_no)
                if entry is not None and entry.facts.activity > this.since:
                    this.next.left_out(room_no, this.since)

    # --- extensions -------------------------------------------------------------------------

    async def _extensions(
        self, snap: Snap, conn: Connection, this: _Round
    ) -> tuple[list[bytes], bool]:
        """The sections that were asked for, and whether they are news."""
        wish = this.asked.wish
        found: list[bytes | None] = []
        if wish.to_device is not None:
            found.append(await self._messages(snap, conn, this, wish.to_device))
        if wish.e2ee and this.token is not None:
            found.append(await self._device_lists(snap, this))
        if wish.account_data:
            found.append(await self._own_data(snap, this))
        if wish.receipts:
            found.append(await self._receipts(snap, this))
        if wish.typing:
            found.append(self._who_types(this))
        told = [part for part in found if part is not None]
        return told, bool(told)

    async def _messages(
        self, snap: Snap, conn: Connection, this: _Round, wish: asked_for.ToDevice
    ) -> bytes | None:
        watch, device_no = this.watch, this.me.device_no
        newest = watch.devices.get(device_no, 0)
        outstanding = watch.pending.get(device_no, 0) is not None
        if this.known and newest <= this.since and not conn.more and not outstanding:
            return None
        upto = this.span.upto
        body, conn.more = await extensions.messages(snap, watch, device_no, wish, upto)
        if body is None and this.token is None and not wish.since:
            return extensions.no_messages(upto)
        return body

    async def _device_lists(self, snap: Snap, this: _Round) -> bytes | None:
        since = this.since
        if this.known and this.watch.device_lists <= since and not this.moved:
            return None
        rooms = (this.shelf.rooms.get(no) for no in this.changed)
        entries = {entry.room_no: entry for entry in rooms if entry is not None}
        for entry in this.shelf.order if this.moved else ():
            if entry.joined_pos > since:
                entries[entry.room_no] = entry
        return await extensions.device_lists(
            snap, this.me.user_no, since, this.span.upto, entries.values(), this.gone
        )

    def _known(self, this: _Round, bit: int, candidates: Iterable[int]) -> Known:
        """The rooms that an extension is for."""
        anew: dict[int, Sequence[str]] = {
            room_no: shown
            for room_no, shown in this.anew.items()
            if this.matched[room_no][1].extras & bit and not self._had(this, room_no) & bit
        }
        others = {
            room_no
            for room_no in candidates
            if room_no in this.base.rooms and self._extras(this, room_no) & bit
        }
        ids = {}
        for room_no in (*anew, *others):
            entry = this.shelf.rooms.get(room_no)
            if entry is not None and entry.membership == "join":
                ids[room_no] = entry.room_id
        others &= ids.keys()
        return Known(anew, others, ids)

    def _extras(self, this: _Round, room_no: int) -> int:
        matched = this.matched.get(room_no)
        if matched is not None:
            return matched[1].extras
        config = this.base.config(room_no)
        return config.extras if config is not None else 0

    def _had(self, this: _Round, room_no: int) -> int:
        """The extras that a room had before; one that is told anew had none."""
        config = this.base.config(room_no)
        entry = this.shelf.rooms.get(room_no)
        since = this.base.behind.get(room_no, this.since)
        if config is None or entry is None or entry.joined_pos > since:
            return 0
        return config.extras

    async def _own_data(self, snap: Snap, this: _Round) -> bytes | None:
        fresh = not this.known or this.watch.account_data > this.since
        candidates = this.base.rooms if fresh else ()
        known = self._known(this, asked_for.ACCOUNT_DATA, candidates)
        return await extensions.own_data(
            snap, this.me.user_no, this.since, this.span.upto, known, fresh
        )

    async def _receipts(self, snap: Snap, this: _Round) -> bytes | None:
        if this.known:
            noted = this.watch.receipts
            candidates = [no for no in this.changed if noted.get(no, 0) > this.since]
        else:
            candidates = list(this.changed)
        known = self._known(this, asked_for.RECEIPTS, candidates)
        for room_no, shown in this.expanded.items():
            if this.matched[room_no][1].extras & asked_for.RECEIPTS:
                known.anew[room_no] = shown
                known.ids[room_no] = this.matched[room_no][0].room_id
        return await extensions.read_receipts(
            snap, this.me.user_no, this.since, this.span.upto, known
        )

    def _who_types(self, this: _Round) -> bytes | None:
        token = this.token
        changed: list[int] = []
        if token is not None:
            changed = self._typing.changed_since(token.soft_origin, token.soft, this.watch.rooms)
        known = self._known(this, asked_for.TYPING, changed)
        return extensions.who_types(self._typing, this.me.ignored, known)


def _note_calm(conn: Connection, generation: int, asked: Asked, look: Look) -> None:
    conn.calm, conn.lists, conn.shelf = (generation, asked.key), look.lists, look.shelf


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
