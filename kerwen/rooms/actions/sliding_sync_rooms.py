"""One room in an answer to a sliding sync: what is new in it, or all that was asked for."""

# MSC4186 (room results)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import orjson

from kerwen.rooms.actions.bundle import Viewer, bundled
from kerwen.rooms.actions.recent import Recent, Ring
from kerwen.rooms.actions.render import NO_BUNDLES, render, render_all
from kerwen.rooms.actions.sliding_sync_facts import Facts, RoomFacts, State
from kerwen.rooms.actions.sliding_sync_shelf import Entry
from kerwen.rooms.actions.unread import unread
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.sliding import MEMBER, Config, Required
from kerwen.rooms.sliding_state import SentMembers
from kerwen.rooms.store import events, sliding, state
from kerwen.rooms.store.events import LOUD, MARKED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Snap

_FLOOR = -(2**62)
_END = 2**62
_JUST_NOW_MS = 10_000  # `age` may be wrong by so much
_EVERYTHING = Sight([], [(_FLOOR, None, "join")])
_NAMING = frozenset({"m.room.name", "m.room.avatar", "m.room.redaction"})


class Reader(msgspec.Struct, gc=False):
    """Who syncs. `sent`: the members that the client has; `telling`: those of this answer;
    `own`: the reader's own member events, by room, as far as they were read.
    """

    user_no: int
    user_id: str
    device_no: int
    ignored: frozenset[str]
    sent: SentMembers
    telling: bytearray
    own: dict[int, Stored]


class Span(msgspec.Struct, gc=False):
    """What an answer covers of a room: since < pos <= upto; 0: all of it.

    `live`: events after this position just happened.
    """

    since: int
    live: int
    upto: int
    now_ms: int


class Timeline(msgspec.Struct, gc=False):
    """The newest events, oldest first. `fresh`: all that came since, if they are known.

    `end`: the place after the newest event.
    """

    shown: list[Stored]
    limited: bool
    end: int
    fresh: list[Stored] | None = None
    expanded: bool = False
    encrypted: bool = False  # the room is, from now on
    counted: bool = False  # something that is not shown changes what is unread
    ring: Ring | None = None  # where a rendering of it may be kept for others

    @property
    def first(self) -> int:
        """Where it begins, for paging back from there."""
        return self.shown[0].seq if self.shown else self.end


class SlidingRooms:
    """Makes the room results of an answer."""

    def __init__(self, recent: Recent, facts: RoomFacts) -> None:
        self._recent = recent
        self._facts = facts

    # --- rooms in which the reader is -------------------------------------------------------

    async def joined(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        place: Standing,
        config: Config,
        before: Config | None,
        span: Span,
        direct_before: bool,
    ) -> tuple[bytes | None, Timeline]:
        """A room in which the reader is (None if nothing in it is news), and its timeline.

        `before`: with what it was wanted when it was sent last; None: send it anew.
        """
        anew = before is None
        timeline = await self._timeline(snap, me, place, config, before, span, entry)
        found = await self._state(snap, me, entry, config, before, span, timeline)
        moved = anew or _moved(timeline, found, span.since)
        read = entry.read_pos > span.since
        direct = entry.direct != direct_before
        if not (
            anew
            or timeline.shown
            or timeline.limited
            or timeline.counted
            or found
            or read
            or direct
            or moved
        ):
            return None, timeline
        parts = [b'"initial":true'] if anew else []
        if anew or timeline.fresh is None or any(e.type in _NAMING for e in timeline.fresh):
            parts += await self._names(snap, entry, anew)
        if moved:
            parts.append(b'"joined_count":%d,"invited_count":%d' % (place.joined, place.invited))
            if entry.facts.name is None or not entry.facts.known:
                parts += await self._heroes(snap, me, entry)
        if direct or (anew and entry.direct):
            parts.append(b'"is_dm":true' if entry.direct else b'"is_dm":false')
        if found or anew:
            rendered = await self._rendered(snap, me, found, span)
            parts.append(b'"required_state":[%b]' % rendered)
        parts += await self._said(snap, me, span, timeline, anew, entry.facts)
        parts.append(b'"bump_stamp":%d' % entry.facts.bump)
        counts = await unread(snap, place, me.user_no, me.user_id, threads=False)
        parts.append(
            b'"notification_count":%d,"highlight_count":%d'
            % (counts.notifications, counts.highlights)
        )
        return b"{%b}" % b",".join(parts), timeline

    async def _names(self, snap: Snap, entry: Entry, anew: bool) -> list[bytes]:
        facts = entry.facts
        if not facts.known:
            await self._facts.learned(snap, [facts])
        parts = []
        if facts.name is not None or not anew:
            parts.append(b'"name":' + orjson.dumps(facts.name))
        if facts.avatar is not None or not anew:
            parts.append(b'"avatar":' + orjson.dumps(facts.avatar))
        return parts

    async def _heroes(self, snap: Snap, me: Reader, entry: Entry) -> list[bytes]:
        """MSC4186: only where the room has no name."""
        if not entry.facts.known:
            await self._facts.learned(snap, [entry.facts])
        if entry.facts.name is not None:
            return []
        shown = []
        for _, user_id, name, avatar in await self._facts.heroes(snap, entry.facts, me.user_no):
            hero = {"user_id": user_id}
            if name is not None:
                hero["displayname"] = name
            if avatar is not None:
                hero["avatar_url"] = avatar
            shown.append(hero)
        return [b'"heroes":' + orjson.dumps(shown)]

    # --- timeline ---------------------------------------------------------------------------

    async def _timeline(
        self,
        snap: Snap,
        me: Reader,
        place: Standing,
        config: Config,
        before: Config | None,
        span: Span,
        entry: Entry,
    ) -> Timeline:
        if before is None:
            return await self._newest(snap, me, place, config.limit, span, entry)
        ring = self._recent.ring(place.room_no)
        fresh = self._recent.since(place.room_no, span.since, span.upto)
        if config.limit > before.limit:
            # MSC4186: a higher limit brings older events, unless all of them were sent before
            timeline = await self._newest(snap, me, place, config.limit, span, entry)
            timeline.fresh = fresh
            told = sum(1 for e in timeline.shown if e.pos <= span.since)
            if told > before.limit:
                # marked as limited, so that clients put older events before those they have
                timeline.expanded = timeline.limited = True
                return timeline
        if fresh is None:
            return await self._since(snap, me, place, config.limit, span, entry)
        shown = self._heard(me, fresh)
        timeline = Timeline(shown, len(shown) > config.limit, place.head + 1, fresh)
        timeline.ring = ring
        if timeline.limited:
            timeline.shown = shown[len(shown) - config.limit :]
        if len(shown) < len(fresh):
            timeline.counted = any(e.flags & (LOUD | MARKED) for e in fresh)
        timeline.encrypted = any(e.type == "m.room.encryption" for e in fresh)
        return timeline

    async def _newest(
        self, snap: Snap, me: Reader, place: Standing, limit: int, span: Span, entry: Entry
    ) -> Timeline:
        """The newest events that the reader may see, and whether there are more."""
        floor = _FLOOR
        if not await self._facts.is_open(snap, entry.facts):
            sight = await visible_events(snap, place.room_no, me.user_id)
            floor = sight.since(_END) - 1
        kept = self._recent.after(place.room_no, place.head - limit - 1, span.upto)
        if kept is not None and len(kept) > limit and kept[0].seq > floor:
            found = self._heard(me, kept[1:])
            if len(found) == limit:
                return Timeline(found, True, place.head + 1)
        found, more = await self._scan(snap, me, place.room_no, limit, span.upto, floor)
        return Timeline(found, more or floor > _FLOOR, place.head + 1)

    async def _since(
        self, snap: Snap, me: Reader, place: Standing, limit: int, span: Span, entry: Entry
    ) -> Timeline:
        rows = await events.newest(snap, place.room_no, span.since, span.upto, limit + 1)
        shown = self._heard(me, rows)
        limited = len(rows) > limit
        shown = shown[len(shown) - limit :] if len(shown) > limit else shown
        timeline = Timeline(shown, limited, place.head + 1, None if limited else rows)
        timeline.counted = len(shown) < len(rows)
        timeline.encrypted = entry.facts.encrypted  # perhaps before, too: that does no harm
        return timeline

    async def _scan(
        self, snap: Snap, me: Reader, room_no: int, limit: int, upto: int, floor: int
    ) -> tuple[list[Stored], bool]:
        """The newest `limit` events after a place that the reader hears, and if there are more."""
        found: list[Stored] = []
        before, count = _END, limit + 1
        for _ in range(6):
            page = await events.backward(snap, room_no, before, count, floor)
            found += self._heard(me, [e for e in page if e.pos <= upto])
            if len(found) > limit or len(page) < count:
                break
            before, count = page[-1].seq, 100
        more = len(found) > limit or len(page) == count
        found = found[:limit]
        found.reverse()
        return found, more

    def _heard(self, me: Reader, found: list[Stored]) -> list[Stored]:
        """CS #ignoring-users: all but the words of those whom the reader ignores."""
        if not me.ignored:
            return found
        return [e for e in found if e.state_key is not None or e.sender not in me.ignored]

    async def _said(
        self,
        snap: Snap,
        me: Reader,
        span: Span,
        timeline: Timeline,
        anew: bool,
        facts: Facts | None,
    ) -> list[bytes]:
        parts = []
        if timeline.shown:
            if anew or timeline.limited:
                bundles = await self._bundles(snap, me, span, timeline.shown, facts)
                body = await self._rendered(snap, me, timeline.shown, span, bundles)
            else:
                body = await self._events(snap, me, timeline, span)
            live = 0
            if span.live:
                live = sum(1 for event in timeline.shown if event.pos > span.live)
            parts.append(b'"timeline":[%b],"num_live":%d' % (body, live))
        if timeline.limited:
            parts.append(b'"limited":true')
        if timeline.limited or anew:
            parts.append(b'"prev_batch":"t%d"' % timeline.first)
        if timeline.expanded:
            parts.append(b'"unstable_expanded_timeline":true,"expanded_timeline":true')
        return parts

    async def _bundles(
        self,
        snap: Snap,
        me: Reader,
        span: Span,
        shown: Sequence[Stored],
        facts: Facts | None,
    ) -> Mapping[str, bytes]:
        """What relates to events of a stretch that is not all there is."""
        if facts is not None and not await self._facts.is_related(snap, facts):
            return NO_BUNDLES
        room_no = shown[0].room_no
        if facts is not None and await self._facts.is_open(snap, facts):
            sight = _EVERYTHING
        else:
            sight = await visible_events(snap, room_no, me.user_id)
        viewer = Viewer(me.user_id, me.device_no, me.ignored, sight, span.now_ms)
        return await bundled(snap, room_no, shown, viewer)

    async def _events(self, snap: Snap, me: Reader, timeline: Timeline, span: Span) -> bytes:
        """The events; rendered once for all who are woken by the same change."""
        shown = timeline.shown
        room_no, first, last = shown[0].room_no, shown[0].seq, shown[-1].seq
        shared = len(shown) == last - first + 1 and all(
            e.device_no != me.device_no or e.txn_id is None for e in shown
        )
        if shared and span.now_ms - shown[-1].ts < _JUST_NOW_MS:
            kept = self._recent.rendering(room_no, first, last)
            if kept is None:
                kept = await self._rendered(snap, me, shown, span)
                self._recent.keep_in(timeline.ring, first, last, kept)
            return kept
        return await self._rendered(snap, me, shown, span)

    async def _rendered(
        self,
        snap: Snap,
        me: Reader,
        found: Sequence[Stored],
        span: Span,
        bundles: Mapping[str, bytes] = NO_BUNDLES,
    ) -> bytes:
        now_ms, device_no = span.now_ms, me.device_no
        if bundles or any(e.redacted_by is not None for e in found):
            return b",".join(await render_all(snap, found, now_ms, device_no, bundles=bundles))
        return b",".join([render(e, now_ms, device_no) for e in found])

    # --- required state ---------------------------------------------------------------------

    async def _state(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        config: Config,
        before: Config | None,
        span: Span,
        timeline: Timeline,
    ) -> list[Stored]:
        wanted = config.required
        if before is None:
            found = await self._whole(snap, me, entry, wanted)
        else:
            found = await self._changes(snap, me, entry, wanted, span, timeline)
            if wanted != before.required:
                known = {e.event_no for e in found}
                for event in await self._whole(snap, me, entry, wanted):
                    key = event.state_key or ""
                    if event.event_no not in known and not before.required.wants(
                        event.type, key, me.user_id
                    ):
                        found.append(event)
        if wanted.lazy:
            found = await self._lazy(snap, me, entry, before is None, timeline, found)
        return found

    async def _whole(self, snap: Snap, me: Reader, entry: Entry, wanted: Required) -> list[Stored]:
        """All current state that is wanted; lazy members aside."""
        entries = (await self._facts.states(snap, [entry.facts]))[entry.room_no]
        found = pick(entries, wanted, me.user_id)
        if wanted.all_members:
            return found + await sliding.member_state(snap, entry.room_no)
        named = wanted.members(me.user_id)
        if me.user_id in named and entry.room_no in me.own:
            named.discard(me.user_id)
            found.append(me.own[entry.room_no])
        if named:  # of one's own member event the others' memory need not be full
            found += await state.member_events(snap, entry.room_no, named)
        return found

    async def _changes(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        wanted: Required,
        span: Span,
        timeline: Timeline,
    ) -> list[Stored]:
        """State that changed since, and is wanted. Memory often knows that none did."""
        fresh, facts = timeline.fresh, entry.facts
        if (
            fresh is not None
            and facts.odd <= span.since
            and facts.born <= span.since
            and all(e.state_key is None for e in fresh)
        ):
            return []
        newest: dict[tuple[str, str], Stored] = {}
        for event in await state.changed(snap, entry.room_no, span.since, span.upto):
            key = (event.type, event.state_key or "")
            lazily = wanted.lazy and event.type == MEMBER and not timeline.limited
            if lazily or wanted.wants(key[0], key[1], me.user_id):
                newest[key] = event
        return list(newest.values())

    async def _lazy(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        anew: bool,
        timeline: Timeline,
        found: list[Stored],
    ) -> list[Stored]:
        """MSC4186: the members whom the timeline needs, unless the client has them already.

        A client that meets a gap forgets the members it had, and so do we.
        """
        sent, room_no = me.sent, entry.room_no
        if anew or timeline.limited:
            sent.forget(room_no)
        needed = {e.sender for e in timeline.shown}
        for event in timeline.shown:
            if event.type == MEMBER and event.state_key:
                needed.add(event.state_key)
        told = {e.state_key for e in found if e.type == MEMBER and e.state_key}
        needed -= told
        needed = {user_id for user_id in needed if not sent.has(room_no, user_id)}
        if needed:
            found = found + await self._facts.members(snap, entry.facts, needed)
        for user_id in (*needed, *told):
            me.telling += sent.key(room_no, user_id)
        return found

    # --- rooms in which the reader is not ---------------------------------------------------

    def asked_in(self, entry: Entry, stripped: bytes) -> bytes:
        """An invitation, or a knock that nobody answered yet."""
        parts = [b'"initial":true']
        if entry.direct:
            parts.append(b'"is_dm":true')
        parts.append(b'"invite_state":%b,"bump_stamp":%d' % (stripped, entry.pos))
        return b"{%b}" % b",".join(parts)

    async def gone(
        self,
        snap: Snap,
        me: Reader,
        place: Standing,
        config: Config,
        anew: bool,
        span: Span,
    ) -> bytes:
        """A room that the reader left, up to that event; which is always in required_state.

        Of a room that was forgotten meanwhile, or never was theirs, that event is all.
        """
        sight = await visible_events(snap, place.room_no, me.user_id)
        rows = await events.backward(snap, place.room_no, place.seq + 1, 1)
        own = [e for e in rows if e.seq == place.seq]
        shown, limited, extra = own, False, list[Stored]()
        if sight.membership_at(place.seq - 1) == "join" and not place.forgotten:
            floor = sight.since(place.seq)
            page = await events.backward(
                snap, place.room_no, place.seq + 1, config.limit + 1, floor - 1
            )
            page = [e for e in page if anew or e.pos > span.since]
            shown, limited = page[: config.limit], len(page) > config.limit
            shown.reverse()
            shown = self._heard(me, shown)
            extra = await self._last_state(snap, me, place, config.required, anew, span)
        found = own + [e for e in extra if e.event_no != own[0].event_no] if own else extra
        parts = [b'"initial":true'] if anew else []
        parts.append(b'"required_state":[%b]' % await self._rendered(snap, me, found, span))
        parts += await self._said(
            snap, me, span, Timeline(shown, limited, place.seq + 1), anew, None
        )
        parts.append(b'"bump_stamp":%d' % place.pos)
        return b"{%b}" % b",".join(parts)

    async def _last_state(
        self,
        snap: Snap,
        me: Reader,
        place: Standing,
        wanted: Required,
        anew: bool,
        span: Span,
    ) -> list[Stored]:
        if anew:
            found = await state.state_at(snap, place.room_no, place.seq)
        else:
            changes = await state.changed(snap, place.room_no, span.since, span.upto)
            newest = {(e.type, e.state_key): e for e in changes if e.seq <= place.seq}
            found = list(newest.values())
        return [e for e in found if wanted.wants(e.type, e.state_key or "", me.user_id)]


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


def _moved(timeline: Timeline, found: Iterable[Stored], since: int) -> bool:
    """Whether somebody came or went, as far as that is known: else it is taken to be so."""
    if timeline.fresh is None:
        return True
    said = (*timeline.fresh, *(e for e in found if e.pos > since))
    return any(e.type == MEMBER for e in said)
