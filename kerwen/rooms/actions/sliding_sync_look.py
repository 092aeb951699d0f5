"""One look of sliding sync: what there is to tell after a token, up to where the feed stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kerwen.base.clock import Clock
from kerwen.base.feed_token import FeedToken
from kerwen.rooms import sliding as asked_for
from kerwen.rooms.actions import follow_thread
from kerwen.rooms.actions import sliding_sync_extensions as extensions
from kerwen.rooms.actions.device_lists import Place, device_lists
from kerwen.rooms.actions.places import place_in
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.sliding_sync_connections import Connection
from kerwen.rooms.actions.sliding_sync_extensions import Known
from kerwen.rooms.actions.sliding_sync_facts import RoomFacts
from kerwen.rooms.actions.sliding_sync_match import Matching, Room
from kerwen.rooms.actions.sliding_sync_rooms import SlidingRooms
from kerwen.rooms.actions.sliding_sync_round import Asked, Look, Round
from kerwen.rooms.actions.sliding_sync_shelf import Entry, Shelves
from kerwen.rooms.actions.sliding_sync_timeline import Reader, Span, timeline_members
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.sliding import Config
from kerwen.rooms.sliding_state import NextState, Pos, State
from kerwen.rooms.store import events, heads, members, receipts, sliding, subscriptions
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Database, Snap
from kerwen.storage.lazy import LazySnap
from kerwen.storage.wake import Watch

_ROOMS_A_TURN = 16  # rooms of a long answer that are made before others get their turn


class Looking:
    """Looks; writes nothing."""

    def __init__(
        self,
        db: Database,
        recent: Recent,
        typing: Typing,
        facts: RoomFacts,
        shelves: Shelves,
        clock: Clock,
    ) -> None:
        self._db = db
        self._recent = recent
        self._typing = typing
        self._facts = facts
        self._shelves = shelves
        self._clock = clock
        self._matching = Matching(shelves)
        self._rooms = SlidingRooms(recent, facts)

    async def __call__(
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
            {},
        )
        this = Round(
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
        calm = this.known and pos is not None and conn.calm == (pos.generation, asked.key)
        async with LazySnap(self._db) as snap:
            await self._note_changes(snap, this)
            fresh, lists, sizes = await self._matching(snap, this, conn, calm)
            await self._tell_rooms(snap, this, fresh)
            more, news = await self._extensions(snap, conn, this)
        news = news or bool(this.told)
        told = bytes(me.telling)
        return Look(lists, this.told, more, this.next, following, news, sizes, shelf.number, told)

    async def _note_changes(self, snap: Snap, this: Round) -> None:
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

    async def _tell_rooms(
        self, snap: Snap, this: Round, fresh: Sequence[tuple[Entry, Config]]
    ) -> None:
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

    async def _prepare(
        self, snap: Snap, this: Round, fresh: Sequence[tuple[Entry, Config]]
    ) -> None:
        """Reads at once what many rooms need."""
        known = this.base.rooms
        new = [p for p in fresh if p[0].membership == "join" and p[0].room_no not in known]
        if len(new) < 2:
            return
        missing = [e.room_no for e, _ in new if e.room_no not in this.places]
        if missing:
            for place in await sliding.places_in(snap, this.me.user_no, missing):
                this.places[place.room_no] = place
        own = [e.room_no for e, c in new if c.required.wants_me]
        if own:
            this.me.own.update(await sliding.own_in(snap, own, this.me.user_no))
        await self._prepare_facts(snap, this, [p for p in new if not _is_ready(this, *p)])

    async def _prepare_facts(self, snap: Snap, this: Round, new: Sequence[Room]) -> None:
        """Reads what is the same for all members of rooms."""
        if not new:
            return
        await self._facts.prepare(snap, [entry.facts for entry, _ in new])
        await self._read_pages(snap, this, new)
        me = this.me.user_id
        wanted = []
        for entry, config in new:
            named = config.required.members(me)
            if config.required.lazy:
                page = this.pages.get(entry.room_no, ())
                named |= timeline_members(page[-config.limit :] if config.limit else ())
            if entry.room_no in this.me.own:
                named.discard(me)
            wanted.append((entry.facts, named))
        await self._facts.prepare_members(snap, wanted)

    async def _read_pages(self, snap: Snap, this: Round, new: Sequence[Room]) -> None:
        """The newest events of rooms, and one more: from memory, or else in one statement."""
        missing: dict[int, list[int]] = {}
        for entry, config in new:
            room_no, limit = entry.room_no, config.limit
            place = this.places.get(room_no)
            if place is not None:
                page = self._recent.after(room_no, place.head - limit - 1, this.span.upto)
                if page is None:
                    missing.setdefault(limit, []).append(room_no)
                else:
                    this.pages[room_no] = page
        for limit, rooms in missing.items():
            this.pages |= await sliding.newest_in(snap, rooms, limit + 1, this.span.upto)

    async def _tell(self, snap: Snap, this: Round, entry: Entry, config: Config) -> bytes | None:
        """One room that is matched: what is to be told of it, and that it was told."""
        room_no, base = entry.room_no, this.base
        before = base.config(room_no)
        span = self._span(this, room_no, before is None)
        body = None
        if entry.membership == "join":
            if entry.joined_pos > span.since:
                before, span = None, self._span(this, room_no, True)
            place = this.places.get(room_no)
            if place is None:
                place = await place_in(
                    snap, self._recent.after, this.watch, this.me.user_id, room_no, span.upto
                )
            if place is None or place.membership != "join":
                return None
            if before is None:
                page = this.pages.get(room_no)
                body, this.anew[room_no] = await self._rooms.first(
                    snap, this.me, entry, place, config, span, page
                )
            else:
                body = await self._tell_news(snap, this, entry, place, config, before, span)
        elif before is None or entry.pos > span.since or base.is_direct(room_no) != entry.direct:
            body = await self._tell_outside(snap, this, entry, config, before is None, span)
            if body is None:
                return None
        this.next.sent(room_no, config, entry.direct)
        return body

    async def _tell_news(
        self,
        snap: Snap,
        this: Round,
        entry: Entry,
        place: Standing,
        config: Config,
        before: Config,
        span: Span,
    ) -> bytes | None:
        """A room that the client has. Where it is newly wanted with extensions, those tell
        everything of it."""
        room_no, direct = entry.room_no, this.base.is_direct(entry.room_no)
        body, timeline = await self._rooms.joined(
            snap, this.me, entry, place, config, before, span, direct
        )
        if timeline.encrypted:
            this.encrypted.append(room_no)
        shown = timeline.shown
        if timeline.expanded:
            this.expanded[room_no] = [event.event_id for event in shown]
        if config.extras & ~before.extras:
            shown = shown or await events.newest(snap, room_no, 0, this.span.upto, config.limit)
            this.anew[room_no] = [event.event_id for event in shown]
        return body

    async def _tell_outside(
        self, snap: Snap, this: Round, entry: Entry, config: Config, anew: bool, span: Span
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

    def _span(self, this: Round, room_no: int, anew: bool) -> Span:
        if not anew and room_no not in this.base.behind:
            return this.span
        since = 0 if anew else this.base.behind[room_no]
        return Span(since, this.since, this.span.upto, this.span.now_ms)

    async def _tell_left(self, snap: Snap, this: Round) -> None:
        """Rooms that the reader left since, whether or not a rule matches them."""
        if not this.moved:
            return
        since, upto = this.since, this.span.upto
        for place in await receipts.changed_standings(snap, this.me.user_no, since, upto):
            if place.membership not in ("leave", "ban"):
                continue
            room_no = place.room_no
            this.gone[room_no] = place
            config = this.base.config(room_no)
            if config is None or room_no in this.matched:
                continue
            span = self._span(this, room_no, False)
            body = await self._rooms.gone(snap, this.me, place, config, False, span)
            this.told.append((place.room_id, body))
            if this.shelf.get(room_no) is not None:
                this.next.sent(room_no, config, this.base.is_direct(room_no))
            else:
                this.next.gone(room_no)

    def _leave_out(self, this: Round) -> None:
        """Rooms that the client knows and that have news outside all windows."""
        told = {*this.matched, *this.gone}
        for room_no in this.changed:
            if room_no in this.base.rooms and room_no not in told:
                entry = this.shelf.get(room_no)
                if entry is not None and entry.facts.activity > this.since:
                    this.next.left_out(room_no, this.since)

    # --- extensions -------------------------------------------------------------------------

    async def _extensions(
        self, snap: Snap, conn: Connection, this: Round
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
        if wish.threads:
            found.append(await self._threads(snap, this, wish.threads))
        told = [part for part in found if part is not None]
        return told, bool(told)

    async def _messages(
        self, snap: Snap, conn: Connection, this: Round, wish: asked_for.ToDevice
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

    async def _device_lists(self, snap: Snap, this: Round) -> bytes | None:
        since, shelf = this.since, this.shelf
        if this.known and not (this.watch.device_lists > since or this.moved or this.encrypted):
            return None
        places: dict[int, Place] = dict(this.gone)
        for room_no in this.changed:
            entry = shelf.get(room_no)
            if entry is not None:
                places.setdefault(room_no, entry)
        for entry in shelf.order if this.moved else ():
            if entry.joined_pos > since:
                places.setdefault(entry.room_no, entry)
        return await device_lists(
            snap, this.me.user_no, since, this.span.upto, places.values(), this.encrypted
        )

    def _known(self, this: Round, bit: int, candidates: Iterable[int]) -> Known:
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
            entry = self._entry(this, room_no)
            if entry is not None and entry.membership == "join":
                ids[room_no] = entry.room_id
        others &= ids.keys()
        return Known(anew, others, ids)

    def _entry(self, this: Round, room_no: int) -> Entry | None:
        matched = this.matched.get(room_no)
        return matched[0] if matched is not None else this.shelf.get(room_no)

    def _extras(self, this: Round, room_no: int) -> int:
        matched = this.matched.get(room_no)
        if matched is not None:
            return matched[1].extras
        config = this.base.config(room_no)
        return config.extras if config is not None else 0

    def _had(self, this: Round, room_no: int) -> int:
        """The extras that a room had before; one that is told anew had none."""
        config = this.base.config(room_no)
        entry = self._entry(this, room_no)
        since = this.base.behind.get(room_no, this.since)
        if config is None or entry is None or entry.joined_pos > since:
            return 0
        return config.extras

    async def _own_data(self, snap: Snap, this: Round) -> bytes | None:
        fresh = not this.known or this.watch.account_data > this.since
        candidates = this.base.rooms if fresh else ()
        known = self._known(this, asked_for.ACCOUNT_DATA, candidates)
        return await extensions.own_data(
            snap, this.me.user_no, this.since, this.span.upto, known, fresh
        )

    async def _receipts(self, snap: Snap, this: Round) -> bytes | None:
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

    async def _threads(self, snap: Snap, this: Round, limit: int) -> bytes | None:
        """Which threads are followed, and which no more (MSC4308)."""
        since = this.since
        if this.known and this.watch.threads <= since:
            return None
        found = await subscriptions.changed(
            snap, this.me.user_no, since, this.span.upto, limit + 1, ended=since > 0
        )
        return follow_thread.extension(found, limit) if found else None

    def _who_types(self, this: Round) -> bytes | None:
        token = this.token
        changed: list[int] = []
        if token is not None:
            changed = self._typing.changed_since(token.soft_origin, token.soft, this.watch.rooms)
        known = self._known(this, asked_for.TYPING, changed)
        return extensions.who_types(self._typing, this.me.ignored, known)


def _is_ready(this: Round, entry: Entry, config: Config) -> bool:
    """Whether a room was shown to another member just as this reader is to see it."""
    block, place = entry.facts.block, this.places.get(entry.room_no)
    return (
        block is not None
        and place is not None
        and block.suits(config, place.head, entry.facts.version, this.me.device_no)
    )
