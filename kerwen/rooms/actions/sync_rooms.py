"""One room in an answer to `/sync`: timeline, state, receipts, counts (CS #syncing)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import orjson

from kerwen.base.clock import Clock
from kerwen.rooms.actions.bundle import Viewer, bundled
from kerwen.rooms.actions.passing import passes as passes
from kerwen.rooms.actions.passing import related_only
from kerwen.rooms.actions.recent import Recent, Ring
from kerwen.rooms.actions.render import render, render_all
from kerwen.rooms.actions.unread import unread
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.filters import Filter
from kerwen.rooms.store import events, members, receipts, state
from kerwen.rooms.store.events import LOUD, MARKED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.rooms.store.relations import any_relations
from kerwen.rooms.store.state import StateKey
from kerwen.rooms.versions import room_version
from kerwen.storage.database import Snap

_SENT_MAX = 20_000  # (device, room) pairs whose lazily sent members are remembered
_SENT_MEMBERS_MAX = 5_000  # of one such pair
_SCAN_MAX = 6  # pages read for a filtered timeline
_PAGE = 100
_SUMMED = frozenset({"m.room.member", "m.room.name", "m.room.canonical_alias"})


class Asker(msgspec.Struct, gc=False):
    """Who syncs, and how."""

    user_no: int
    user_id: str
    device_no: int
    wanted: Filter
    state_after: bytes  # the name of that section; empty: `state` is wanted
    ignored: frozenset[str]
    full_state: bool = False
    encrypted: list[int] = []  # rooms that this answer tells to be encrypted from now on


class Stretch(msgspec.Struct, gc=False):
    """A part of a room's timeline, and the state that goes with it.

    `first`: where it begins; `whole`: all state is wanted; `end`: where the room ends for the
    asker, who left it.
    """

    timeline: list[Stored]
    limited: bool
    first: int
    whole: bool = False
    end: int | None = None
    ring: Ring | None = None  # where a rendering of it may be kept for others
    counted: bool = False  # something that is not shown changes what is unread
    changes: list[Stored] = []


class Window(msgspec.Struct, gc=False):
    """The stretch of the feed that an answer covers: since < pos <= upto."""

    since: int
    upto: int
    now_ms: int


class SentMembers:
    """Which member events a device was sent, and up to which position that answer went: only
    a client that comes with a token at least as new is known to have got it."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[int, int], dict[str, int]] = OrderedDict()

    def of(self, device_no: int, room_no: int, *, anew: bool) -> dict[str, int]:
        """Position by user id; an empty dictionary to be filled where nothing is known."""
        key = (device_no, room_no)
        found = None if anew else self._sent.get(key)
        if found is None:
            found = self._sent[key] = {}
            if len(self._sent) > _SENT_MAX:
                self._sent.popitem(last=False)
        return found


class RoomSync:
    """Makes the room blocks of an answer."""

    def __init__(self, recent: Recent, clock: Clock) -> None:
        self._recent = recent
        self._clock = clock
        self._sent = SentMembers()

    def said_since(self, room_no: int, seq: int, upto: int) -> list[Stored] | None:
        """What was said in a room after a place; None if memory does not hold all of it."""
        return self._recent.after(room_no, seq, upto)

    async def joined(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        account_data: Sequence[bytes],
        typing: list[str] | None,
        receipts_too: bool = True,
    ) -> bytes | None:
        """A room in which the asker is; None if nothing in it is news."""
        anew = window.since == 0 or place.joined_pos > window.since
        stretch = await self._timeline(snap, me, place, window, anew)
        ephemeral = await self._ephemeral(
            snap, me, place, window, stretch, typing, receipts_too, anew
        )
        summed = anew or any(e.type in _SUMMED for e in stretch.timeline)
        stretch.changes = await self._state(snap, me, place, window, stretch, summed)
        if not (
            stretch.timeline
            or stretch.limited
            or stretch.changes
            or stretch.counted
            or ephemeral
            or account_data
            or stretch.whole
        ):
            return None
        parts = await self._said(snap, me, place, window, stretch)
        if ephemeral:
            parts.append(b'"ephemeral":{"events":[%b]}' % b",".join(ephemeral))
        if account_data:
            parts.append(b'"account_data":{"events":[%b]}' % b",".join(account_data))
        if not anew and any(
            e.type == "m.room.encryption" for e in (*stretch.timeline, *stretch.changes)
        ):
            me.encrypted.append(place.room_no)
        parts.append(await self._counts(snap, me, place))
        if summed or any(e.type in _SUMMED for e in stretch.changes):
            parts.append(b'"summary":' + await summary(snap, place, me.user_no))
        return b"{" + b",".join(parts) + b"}"

    async def left(self, snap: Snap, me: Asker, place: Standing, window: Window) -> bytes:
        """A room that the asker left, up to that event.

        Who was not in it (declined an invite, was banned from afar) is told that event alone.
        """
        anew = window.since == 0 or place.joined_pos > window.since
        sight = await visible_events(snap, place.room_no, me.user_id)
        if sight.membership_at(place.seq - 1) != "join":
            gone = await events.backward(snap, place.room_no, place.seq + 1, 1)
            alone = Stretch(gone, sight.was_in(), place.seq, end=place.seq)
            parts = await self._said(snap, me, place, window, alone)
            return b"{" + b",".join(parts) + b"}"
        floor = sight.since(place.seq)
        since = 0 if anew else window.since
        stretch = Stretch([], False, place.seq + 1, anew, place.seq)
        await self._scan(snap, me, place.room_no, stretch, place.seq + 1, since, window.upto, floor)
        if stretch.timeline:
            stretch.first = stretch.timeline[0].seq
        if stretch.whole:
            stretch.changes = await self._whole_state(snap, me, place, stretch, False)
        else:
            stretch.changes = await self._changes(snap, me, place, window, stretch)
        stretch.changes = self._filter_state(me, stretch.changes)
        parts = await self._said(snap, me, place, window, stretch)
        return b"{" + b",".join(parts) + b"}"

    async def _said(
        self, snap: Snap, me: Asker, place: Standing, window: Window, stretch: Stretch
    ) -> list[bytes]:
        """The sections `timeline` and `state` of a block."""
        parts = []
        left = stretch.end is not None
        if stretch.timeline or stretch.limited or stretch.whole or left:
            parts.append(b'"timeline":' + await self._render(snap, me, place, window, stretch))
        if stretch.changes or me.state_after:
            rendered = await render_all(snap, stretch.changes, window.now_ms, me.device_no)
            rendered = await self._shaped(snap, me, place, stretch.changes, rendered)
            name = me.state_after or b"state"
            parts.append(b'"%b":{"events":[%b]}' % (name, b",".join(rendered)))
        return parts

    # --- timeline ---------------------------------------------------------------------------

    async def _timeline(
        self, snap: Snap, me: Asker, place: Standing, window: Window, anew: bool
    ) -> Stretch:
        """The newest events of the window, oldest first, and whether older ones were left out."""
        stretch = Stretch([], False, place.head + 1, anew or me.full_state)
        stretch.ring = self._recent.ring(place.room_no)
        if me.wanted.timeline.nothing or not me.wanted.timeline.room(place.room_id):
            return stretch
        limit = me.wanted.timeline_limit
        found = None if anew else self._recent.since(place.room_no, window.since, window.upto)
        if found is not None:
            found = await self._passing(snap, me, found, stretch)
            stretch.limited = len(found) > limit
            stretch.timeline = found[len(found) - limit :] if stretch.limited else found
        else:
            floor = -(2**62)
            if anew:  # nobody need be shown what was said before their time
                floor = (await visible_events(snap, place.room_no, me.user_id)).since(2**62)
            since = 0 if anew else window.since
            await self._scan(snap, me, place.room_no, stretch, 2**62, since, window.upto, floor)
        if stretch.timeline:
            stretch.first = stretch.timeline[0].seq
        return stretch

    async def _scan(
        self,
        snap: Snap,
        me: Asker,
        room_no: int,
        stretch: Stretch,
        before: int,
        since: int,
        upto: int,
        floor: int,
    ) -> None:
        """Fills a stretch with the newest events before a place that have since < pos <= upto
        and seq >= `floor`. A filter may need several pages to fill the limit.
        """
        limit = me.wanted.timeline_limit
        kept: list[Stored] = []
        count = limit + 1
        for _ in range(_SCAN_MAX):
            page = await events.backward(snap, room_no, before, count, floor - 1)
            fresh = [e for e in page if since < e.pos <= upto]
            kept += await self._passing(snap, me, fresh, stretch)
            if len(kept) > limit:
                break
            old = bool(page) and page[-1].pos <= since
            if len(page) < count or old:
                stretch.timeline, stretch.limited = kept[::-1], floor > -(2**62) and not old
                return
            before, count = page[-1].seq, _PAGE
        stretch.timeline, stretch.limited = kept[:limit][::-1], True

    async def _passing(
        self, snap: Snap, me: Asker, found: Sequence[Stored], stretch: Stretch
    ) -> list[Stored]:
        wanted = me.wanted.timeline
        if wanted.passes_all and not me.ignored:
            return list(found)
        kept = []
        for event in found:
            ignored = event.sender in me.ignored and event.state_key is None
            if not ignored and passes(wanted, event):
                kept.append(event)
            elif event.sender == me.user_id or event.flags & (LOUD | MARKED):
                stretch.counted = True
        return await related_only(snap, found[0].room_no, kept, wanted) if kept else kept

    async def _render(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        stretch: Stretch,
    ) -> bytes:
        flag = b"true" if stretch.limited else b"false"
        if stretch.limited or stretch.whole:
            body = await self._bundled(snap, me, place, window, stretch.timeline)
        else:
            body = await self._events(snap, me, place, window, stretch)
        return b'{"events":[%b],"limited":%b,"prev_batch":"t%d"}' % (body, flag, stretch.first)

    async def _events(
        self, snap: Snap, me: Asker, place: Standing, window: Window, stretch: Stretch
    ) -> bytes:
        """The events, rendered once for all members who are woken by the same change."""
        timeline = stretch.timeline
        if not timeline:
            return b""
        room_no, first, last = timeline[0].room_no, timeline[0].seq, timeline[-1].seq
        shared = (
            len(timeline) == last - first + 1
            and not me.wanted.shaped
            and all(e.device_no != me.device_no or e.txn_id is None for e in timeline)
        )
        if shared:
            kept = self._recent.rendering(room_no, first, last)
            if kept is not None:
                return kept
        if any(e.redacted_by is not None for e in timeline):
            rendered = await render_all(snap, timeline, window.now_ms, me.device_no)
        else:
            rendered = [render(e, window.now_ms, me.device_no) for e in timeline]
        body = b",".join(await self._shaped(snap, me, place, timeline, rendered))
        if shared:
            self._recent.keep_in(stretch.ring, first, last, body)
        return body

    async def _bundled(
        self, snap: Snap, me: Asker, place: Standing, window: Window, timeline: list[Stored]
    ) -> bytes:
        """The events of a stretch that is not all there is, with what relates to them."""
        bundles: Mapping[str, bytes] = {}
        if timeline and await any_relations(snap, place.room_no):
            sight = await visible_events(snap, place.room_no, me.user_id)
            viewer = Viewer(me.user_id, me.device_no, me.ignored, sight, window.now_ms)
            bundles = await bundled(snap, place.room_no, timeline, viewer)
        rendered = await render_all(snap, timeline, window.now_ms, me.device_no, bundles=bundles)
        return b",".join(await self._shaped(snap, me, place, timeline, rendered))

    async def _shaped(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        found: Sequence[Stored],
        rendered: list[bytes],
    ) -> list[bytes]:
        """The events as the filter wants them: as other servers get them, certain fields only."""
        if not me.wanted.shaped:
            return rendered
        if me.wanted.federation_format:
            numbers = [event.event_no for event in found]
            whole = await events.pdus(snap, numbers, room_version(place.version))
            by_id = {event.event_id: event.raw for event in whole}
            rendered = [by_id[event.event_id] for event in found]
        if me.wanted.event_fields is None:
            return rendered
        return [_picked(me, event) for event in rendered]

    # --- state ------------------------------------------------------------------------------

    async def _state(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        stretch: Stretch,
        summed: bool,
    ) -> list[Stored]:
        """State that the timeline does not tell: before it, or with it (`state_after`)."""
        wanted = me.wanted.state
        if wanted.nothing or not wanted.room(place.room_id):
            return []
        lazy = wanted.lazy_load_members
        if stretch.whole:
            found = await self._whole_state(snap, me, place, stretch, lazy)
            if lazy and window.since:  # somebody whom the client knows may have changed
                gap = await self._changes(snap, me, place, window, stretch)
                found += [e for e in gap if e.type == "m.room.member"]
        elif stretch.limited or me.state_after or not me.wanted.timeline.passes_all:
            found = await self._changes(snap, me, place, window, stretch)
        else:
            found = []
        if lazy:
            found = await self._lazy(snap, me, place, window, stretch, found, summed)
        return self._filter_state(me, found)

    async def _whole_state(
        self, snap: Snap, me: Asker, place: Standing, stretch: Stretch, lazy: bool
    ) -> list[Stored]:
        """All state: at the timeline's start, or at its end (`state_after`).

        State events that a filter keeps out of the timeline are told here: else nobody would.
        """
        told = {e.event_no for e in stretch.timeline if e.state_key is not None}
        if stretch.end is None and (me.state_after or not told):
            return await state.current_events(snap, place.room_no, members=not lazy)
        end = 2**61 if stretch.end is None else stretch.end
        filtered = not me.wanted.timeline.passes_all
        found: dict[StateKey, Stored] = {}
        if not me.state_after:
            found = _by_key(await state.state_at(snap, place.room_no, stretch.first - 1))
        if me.state_after or filtered:
            newest = _by_key(await state.state_at(snap, place.room_no, end))
            for key, event in newest.items():
                if me.state_after or event.event_no not in told:
                    found[key] = event
        return [e for e in found.values() if not lazy or e.type != "m.room.member"]

    async def _changes(
        self, snap: Snap, me: Asker, place: Standing, window: Window, stretch: Stretch
    ) -> list[Stored]:
        """What changed in the state since the token, and is not told by the timeline."""
        told = {e.event_no for e in stretch.timeline}
        filtered = not me.wanted.timeline.passes_all
        found: dict[StateKey, Stored] = {}
        for event in await state.changed(snap, place.room_no, window.since, window.upto):
            if stretch.end is not None and event.seq > stretch.end:
                continue
            if (
                me.state_after
                or event.seq < stretch.first
                or (filtered and event.event_no not in told)
            ):
                found[event.type, event.state_key or ""] = event
        return list(found.values())

    async def _lazy(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        stretch: Stretch,
        found: list[Stored],
        summed: bool,
    ) -> list[Stored]:
        """CS #lazy-loading-room-members: the members whom the timeline needs, once each."""
        sent = self._sent.of(me.device_no, place.room_no, anew=stretch.whole)
        needed = {e.sender for e in stretch.timeline}
        if stretch.whole:
            needed.add(me.user_id)
        if summed and not await named(snap, place.room_no):
            needed |= set(await heroes(snap, place, me.user_no))
        if not me.wanted.state.include_redundant_members:
            needed -= {user_id for user_id, at in sent.items() if at <= window.since}
        told = {e.state_key for e in found if e.type == "m.room.member" and e.state_key}
        moved: dict[str, int] = {}  # who came or went in the timeline itself, and where first
        for event in stretch.timeline:
            if event.type == "m.room.member" and event.state_key:
                moved.setdefault(event.state_key, event.seq)
        if not me.state_after:
            found = found + await self._before_they_moved(snap, place, stretch, needed, moved)
            needed -= moved.keys()
        needed -= told
        if needed:
            found = found + await state.member_events(snap, place.room_no, needed)
        if len(sent) > _SENT_MEMBERS_MAX:
            sent.clear()
        for user_id in (*needed, *told, *moved):
            sent[user_id] = window.upto
        return found

    async def _before_they_moved(
        self,
        snap: Snap,
        place: Standing,
        stretch: Stretch,
        needed: set[str],
        moved: dict[str, int],
    ) -> list[Stored]:
        """Who spoke in the timeline before their membership changed there, as they were then."""
        spoke = {e.sender for e in stretch.timeline if e.seq < moved.get(e.sender, 0)}
        if not spoke & needed:
            return []
        return await state.members_at(snap, place.room_no, stretch.first - 1, spoke & needed)

    def _filter_state(self, me: Asker, found: list[Stored]) -> list[Stored]:
        wanted = me.wanted.state
        if wanted.passes_all:
            return found
        return [e for e in found if passes(wanted, e)]

    # --- the rest ---------------------------------------------------------------------------

    async def _ephemeral(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        stretch: Stretch,
        typing: list[str] | None,
        receipts_too: bool,
        anew: bool,
    ) -> list[bytes]:
        wanted = me.wanted.ephemeral
        found: list[bytes] = []
        shown = not wanted.nothing and wanted.room(place.room_id)
        if receipts_too and not anew and not (shown and wanted.type("m.receipt")):
            stretch.counted |= await receipts.read_since(
                snap, place.room_no, window.since, window.upto, me.user_no
            )
        if not shown:
            return found
        if receipts_too and wanted.type("m.receipt"):
            since = 0 if anew else window.since
            changed = await receipts.changed_receipts(
                snap, place.room_no, since, window.upto, me.user_no
            )
            if changed:
                found.append(render_receipts(changed))
        if typing is not None and wanted.type("m.typing"):
            heard = [u for u in typing if u not in me.ignored]
            found.append(orjson.dumps({"type": "m.typing", "content": {"user_ids": heard}}))
        return found

    async def _counts(self, snap: Snap, me: Asker, place: Standing) -> bytes:
        apart = me.wanted.timeline.unread_thread_notifications
        counts = await unread(snap, place, me.user_no, me.user_id, threads=apart)
        said = b'"unread_notifications":{"notification_count":%d,"highlight_count":%d}' % (
            counts.notifications,
            counts.highlights,
        )
        if apart and counts.threads:
            threads = {
                root: {"notification_count": n, "highlight_count": h}
                for root, (n, h) in counts.threads.items()
            }
            said += b',"unread_thread_notifications":' + orjson.dumps(threads)
        return said


def render_receipts(changed: Iterable[receipts.Receipt]) -> bytes:
    """An `m.receipt` event."""
    content: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for receipt in changed:
        said: dict[str, object] = {"ts": receipt.ts}
        if receipt.thread:
            said["thread_id"] = receipt.thread
        by_type = content.setdefault(receipt.event_id, {}).setdefault(receipt.type, {})
        if receipt.user_id not in by_type or not receipt.thread:
            by_type[receipt.user_id] = said
    return orjson.dumps({"type": "m.receipt", "content": content})


async def summary(snap: Snap, place: Standing, user_no: int) -> bytes:
    """Counts, and heroes where the room has no name (CS #room-summary)."""
    said: dict[str, object] = {
        "m.joined_member_count": place.joined,
        "m.invited_member_count": place.invited,
    }
    if not await named(snap, place.room_no):
        said["m.heroes"] = await heroes(snap, place, user_no)
    return orjson.dumps(said)


async def heroes(snap: Snap, place: Standing, user_no: int) -> list[str]:
    """Up to five people by whom a nameless room is called."""
    found = await members.heroes(snap, place.room_no, user_no, ("join", "invite"))
    if not found:
        found = await members.heroes(snap, place.room_no, user_no, ("leave", "ban"))
    return found


async def named(snap: Snap, room_no: int) -> bool:
    """Whether a room has a name or a canonical alias."""
    for event_type, field in (("m.room.name", "name"), ("m.room.canonical_alias", "alias")):
        event = await state.current_event(snap, room_no, event_type, "")
        if event is not None and orjson.loads(event.client + b"}")["content"].get(field):
            return True
    return False


def _by_key(found: Iterable[Stored]) -> dict[StateKey, Stored]:
    return {(e.type, e.state_key or ""): e for e in found}


def _picked(me: Asker, rendered: bytes) -> bytes:
    return orjson.dumps(me.wanted.pick(orjson.loads(rendered)))
