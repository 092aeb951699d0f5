"""One room in an answer to a sliding sync: what is new in it, or all that was asked for."""

# MSC4186 (room results)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import orjson

from kerwen.rooms.actions.bundle import Viewer, bundled
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.render import NO_BUNDLES, render, render_all
from kerwen.rooms.actions.sliding_sync_block import Block, make_block, pick
from kerwen.rooms.actions.sliding_sync_facts import Facts, RoomFacts
from kerwen.rooms.actions.sliding_sync_shelf import Entry
from kerwen.rooms.actions.sliding_sync_timeline import (
    Reader,
    Span,
    Timeline,
    Timelines,
    timeline_members,
)
from kerwen.rooms.actions.unread import unread
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.sliding import MEMBER, Config, Required
from kerwen.rooms.store import events, sliding, state
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Snap

_FLOOR = -(2**62)
_END = 2**62
_JUST_NOW_MS = 10_000  # `age` may be wrong by so much
_COUNTS = b'"bump_stamp":%d,"notification_count":%d,"highlight_count":%d'
_EVERYTHING = Sight([], [(_FLOOR, None, "join")])
_NAMING = frozenset({"m.room.name", "m.room.avatar", "m.room.redaction"})


class SlidingRooms:
    """Makes the room results of an answer."""

    def __init__(self, recent: Recent, facts: RoomFacts) -> None:
        self._recent = recent
        self._facts = facts
        self._timelines = Timelines(recent, facts)

    # --- rooms in which the reader is -------------------------------------------------------

    async def first(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        place: Standing,
        config: Config,
        span: Span,
        page: list[Stored] | None,
    ) -> tuple[bytes, Sequence[str]]:
        """A room that the client does not have, or shall have anew, and the events shown.

        `page`: its newest events and one more, if they were read.
        """
        facts, required = entry.facts, config.required
        block = facts.block
        if (
            block is None
            or me.ignored
            or not block.suits(config, place.head, facts.version, me.device_no)
        ):
            block = await self._block(snap, me, entry, place, config, span, page)
            if block is None:
                return await self._apart(snap, me, entry, place, config, span, page)
        own = await self._own(snap, me, entry, required, block.members)
        if required.lazy:
            sent, room_no = me.sent, entry.room_no
            sent.forget(room_no)
            told = {*block.members, me.user_id} if own is not None else block.members
            me.telling += sent.keys(room_no, told)
        personal = b""
        if facts.name is None:
            personal = b"".join([b"," + part for part in await self._heroes(snap, me, entry)])
        if entry.direct:
            personal += b',"is_dm":true'
        rendered = b"" if own is None else render(own, span.now_ms, me.device_no)
        counts = await self._counts(snap, me, entry, place)
        return block.rendered(span.now_ms, span.live, personal, rendered, counts), block.ids

    async def _own(
        self, snap: Snap, me: Reader, entry: Entry, required: Required, told: AbstractSet[str]
    ) -> Stored | None:
        """The reader's member event, if it is wanted and not told with the others."""
        if me.user_id in told or me.user_id not in required.members(me.user_id):
            return None
        own = me.own.get(entry.room_no)
        if own is None:
            found = await state.member_events(snap, entry.room_no, [me.user_id])
            own = found[0] if found else None
        return own

    async def _block(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        place: Standing,
        config: Config,
        span: Span,
        page: list[Stored] | None,
    ) -> Block | None:
        """What members of a room are shown alike; None if that is not so, or not known."""
        facts, required = entry.facts, config.required
        alike = (
            not me.ignored
            and not required.personal
            and not required.all_members
            and required.members(me.user_id) <= {me.user_id}
            and await self._facts.is_open(snap, facts)
            and not await self._facts.is_related(snap, facts)
        )
        if not alike:
            return None
        version = facts.version
        timeline = await self._timelines.newest(snap, me, place, config.limit, span, entry, page)
        if config.limit and (not timeline.shown or timeline.shown[-1].seq != place.head):
            return None  # newer ones are not told yet
        entries = (await self._facts.states(snap, [facts]))[facts.room_no]
        wanted = pick(entries, required, me.user_id)
        if required.lazy:
            needed = timeline_members(timeline.shown)
            wanted += await self._members(snap, me, entry, needed) if needed else []
        named = await self._names(snap, entry, True)
        named.append(b'"joined_count":%d,"invited_count":%d' % (place.joined, place.invited))
        block = make_block(config, place.head, version, named, wanted, timeline)
        if block is None or me.device_no in block.devices or facts.version != version:
            return None
        self._facts.keep_block(facts, block)
        return block

    async def _apart(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        place: Standing,
        config: Config,
        span: Span,
        page: list[Stored] | None,
    ) -> tuple[bytes, Sequence[str]]:
        """The same for a reader who is shown another thing than others, or may be."""
        facts, required = entry.facts, config.required
        timeline = await self._timelines.newest(snap, me, place, config.limit, span, entry, page)
        found = await self._wanted(snap, me, entry, required)
        if required.lazy:
            found = await self._lazy(snap, me, entry, True, timeline, found)
        parts = [b'"initial":true', *await self._names(snap, entry, True)]
        parts.append(b'"joined_count":%d,"invited_count":%d' % (place.joined, place.invited))
        if facts.name is None:
            parts += await self._heroes(snap, me, entry)
        if entry.direct:
            parts.append(b'"is_dm":true')
        parts.append(b'"required_state":[%b]' % await self._rendered(snap, me, found, span))
        parts += await self._said(snap, me, span, timeline, True, facts)
        parts.append(await self._counts(snap, me, entry, place))
        return b"{%b}" % b",".join(parts), [event.event_id for event in timeline.shown]

    async def joined(
        self,
        snap: Snap,
        me: Reader,
        entry: Entry,
        place: Standing,
        config: Config,
        before: Config,
        span: Span,
        direct_before: bool,
    ) -> tuple[bytes | None, Timeline]:
        """News of a room that the client has (None if there are none), and its timeline.

        `before`: with what it was wanted when it was sent last.
        """
        timeline = await self._timelines.news(snap, me, place, config, before, span, entry)
        found = await self._state(snap, me, entry, config, before, span, timeline)
        moved = _moved(timeline, found, span.since)
        read = entry.read_pos > span.since
        direct = entry.direct != direct_before
        if not (
            timeline.shown
            or timeline.limited
            or timeline.counted
            or found
            or read
            or direct
            or moved
        ):
            return None, timeline
        parts: list[bytes] = []
        if timeline.fresh is None or any(e.type in _NAMING for e in timeline.fresh):
            parts += await self._names(snap, entry, False)
        if moved:
            parts.append(b'"joined_count":%d,"invited_count":%d' % (place.joined, place.invited))
            if entry.facts.name is None or not entry.facts.known:
                parts += await self._heroes(snap, me, entry)
        if direct:
            parts.append(b'"is_dm":true' if entry.direct else b'"is_dm":false')
        if found:
            rendered = await self._rendered(snap, me, found, span)
            parts.append(b'"required_state":[%b]' % rendered)
        parts += await self._said(snap, me, span, timeline, False, entry.facts)
        parts.append(await self._counts(snap, me, entry, place))
        return b"{%b}" % b",".join(parts), timeline

    async def _counts(self, snap: Snap, me: Reader, entry: Entry, place: Standing) -> bytes:
        if not place.threaded and place.marked <= place.read_seq:  # nothing but a subtraction
            notify = max(place.loud - place.read_loud, 0) if place.read_seq < place.head else 0
            return _COUNTS % (entry.facts.bump, notify, 0)
        counts = await unread(snap, place, me.user_no, me.user_id, threads=False)
        return _COUNTS % (entry.facts.bump, counts.notifications, counts.highlights)

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

    # --- what was said ----------------------------------------------------------------------

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
        before: Config,
        span: Span,
        timeline: Timeline,
    ) -> list[Stored]:
        wanted = config.required
        found = await self._changes(snap, me, entry, wanted, span, timeline)
        if wanted != before.required:
            known = {e.event_no for e in found}
            for event in await self._wanted(snap, me, entry, wanted):
                key = event.state_key or ""
                if event.event_no not in known and not before.required.wants(
                    event.type, key, me.user_id
                ):
                    found.append(event)
        if wanted.lazy:
            found = await self._lazy(snap, me, entry, False, timeline, found)
        return found

    async def _wanted(self, snap: Snap, me: Reader, entry: Entry, wanted: Required) -> list[Stored]:
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
        needed = timeline_members(timeline.shown)
        told = {e.state_key for e in found if e.type == MEMBER and e.state_key}
        needed -= told
        needed = {user_id for user_id in needed if not sent.has(room_no, user_id)}
        if needed:
            found = found + await self._members(snap, me, entry, needed)
        me.telling += sent.keys(room_no, (*needed, *told))
        return found

    async def _members(
        self, snap: Snap, me: Reader, entry: Entry, user_ids: set[str]
    ) -> list[Stored]:
        own = me.own.get(entry.room_no) if me.user_id in user_ids else None
        if own is None:
            return await self._facts.members(snap, entry.facts, user_ids)
        others = user_ids - {me.user_id}
        return [own, *await self._facts.members(snap, entry.facts, others)] if others else [own]

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
            shown = self._timelines.heard(me, shown)
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


def _moved(timeline: Timeline, found: Iterable[Stored], since: int) -> bool:
    """Whether somebody came or went, as far as that is known: else it is taken to be so."""
    if timeline.fresh is None:
        return True
    said = (*timeline.fresh, *(e for e in found if e.pos > since))
    return any(e.type == MEMBER for e in said)
