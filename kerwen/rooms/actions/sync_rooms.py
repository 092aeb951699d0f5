"""One room in an answer to `/sync`: timeline, state, receipts, counts (CS #syncing)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import orjson

from kerwen.base.clock import Clock
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.render import render, render_all
from kerwen.rooms.actions.unread import unread
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.filters import EventFilter, Filter
from kerwen.rooms.store import events, members, receipts, state
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Snap

_SENT_MAX = 20_000  # (device, room) pairs whose lazily sent members are remembered
_SCAN_MAX = 5  # pages read for a filtered timeline


class Asker(msgspec.Struct, gc=False):
    """Who syncs, and how."""

    user_no: int
    user_id: str
    device_no: int
    wanted: Filter
    state_after: bytes  # the name of that section; empty: `state` is wanted
    ignored: frozenset[str]


class Window(msgspec.Struct, gc=False):
    """The stretch of the feed that an answer covers: since < pos <= upto."""

    since: int
    upto: int
    now_ms: int


class SentMembers:
    """Which member events a device was sent already, so that they are not sent again."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[int, int], set[str]] = OrderedDict()

    def of(self, device_no: int, room_no: int, *, anew: bool) -> set[str]:
        """The user ids; an empty set to be filled where nothing is known."""
        key = (device_no, room_no)
        found = None if anew else self._sent.get(key)
        if found is None:
            found = self._sent[key] = set()
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
        ephemeral = await self._ephemeral(
            snap, me, place, window, typing, receipts_too, anew
        )
        timeline, limited = await self._timeline(snap, me, place, window, anew)
        members_moved = any(e.type == "m.room.member" for e in timeline)
        before = timeline[0].seq if timeline else place.head + 1
        changes = await self._state(snap, me, place, window, timeline, limited, before, anew)
        parts = []
        if timeline or limited or anew:
            body = await self._render(snap, me, place, window, timeline, limited)
            parts.append(b'"timeline":' + body)
        if changes:
            rendered = await render_all(snap, changes, window.now_ms, me.device_no)
            name = me.state_after or b"state"
            parts.append(b'"%b":{"events":[%b]}' % (name, b",".join(rendered)))
        if ephemeral:
            parts.append(b'"ephemeral":{"events":[%b]}' % b",".join(ephemeral))
        if account_data:
            parts.append(b'"account_data":{"events":[%b]}' % b",".join(account_data))
        if not parts and not limited:
            return None
        parts.append(await self._counts(snap, me, place))
        if anew or members_moved or any(e.type == "m.room.member" for e in changes):
            parts.append(b'"summary":' + await summary(snap, place, me.user_no))
        return b"{" + b",".join(parts) + b"}"

    async def left(
        self, snap: Snap, me: Asker, place: Standing, window: Window
    ) -> bytes:
        """A room that the asker left, up to that event."""
        limit = max(me.wanted.timeline_limit, 1)
        floor = -(2**62)
        found = await events.backward(snap, place.room_no, place.seq + 1, limit + 1, floor)
        found = [e for e in found if e.pos > window.since or e.seq == place.seq]
        found.reverse()
        sight = await visible_events(snap, place.room_no, me.user_id)
        found = self._passing(me, sight.filter(found))
        limited = len(found) > limit
        found = found[-limit:]
        before = found[0].seq if found else place.seq + 1
        if window.since == 0:
            changed = await state.state_at(snap, place.room_no, before - 1)
        else:
            by_key = await state.changes(snap, place.room_no, window.since, window.upto, before)
            changed = list(by_key.values())
        changed = [e for e in changed if e.seq <= place.seq and sight.sees(e.seq)]
        changed = self._filter_state(me, changed)
        body = await self._render(snap, me, place, window, found, limited)
        rendered = await render_all(snap, changed, window.now_ms, me.device_no)
        return b'{"timeline":%b,"state":{"events":[%b]}}' % (body, b",".join(rendered))

    # --- timeline ---------------------------------------------------------------------------

    async def _timeline(
        self, snap: Snap, me: Asker, place: Standing, window: Window, anew: bool
    ) -> tuple[list[Stored], bool]:
        """The newest events of the window, oldest first, and whether older ones were left out."""
        limit = me.wanted.timeline_limit
        since = 0 if anew else window.since
        if me.wanted.timeline.nothing or not me.wanted.timeline.room(place.room_id):
            return [], False
        found = self._recent.since(place.room_no, since, window.upto) if not anew else None
        if found is None:
            found = await self._read_timeline(snap, me, place, since, window.upto, limit)
        else:
            found = self._passing(me, found)
        limited = len(found) > limit
        if limited:
            found = found[len(found) - limit :]
        if anew or limited:
            sight = await visible_events(snap, place.room_no, me.user_id)
            if not sight.everything:
                seen = sight.filter(found)
                # what came before the asker's time is a gap for them, not a beginning
                limited = limited or len(seen) < len(found)
                found = seen
        return found, limited

    async def _read_timeline(
        self, snap: Snap, me: Asker, place: Standing, since: int, upto: int, limit: int
    ) -> list[Stored]:
        """From the database; a filter may need several pages to fill the limit."""
        found = await events.newest(snap, place.room_no, since, upto, limit + 1)
        if me.wanted.timeline.passes_all and not me.ignored:
            return found
        kept = self._passing(me, found)
        pages = 0
        while len(kept) <= limit and len(found) > limit and pages < _SCAN_MAX:
            pages += 1
            more = await events.backward(snap, place.room_no, found[0].seq, 100)
            more = [e for e in more if e.pos > since]
            if not more:
                break
            more.reverse()
            found = more
            kept = self._passing(me, more) + kept
            if len(more) < 100:
                break
        return kept

    def _passing(self, me: Asker, found: Iterable[Stored]) -> list[Stored]:
        wanted = me.wanted.timeline
        if wanted.passes_all and not me.ignored:
            return list(found)
        return [
            e
            for e in found
            if (e.sender not in me.ignored or e.state_key is not None)
            and passes(wanted, e)
        ]

    async def _render(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        timeline: Sequence[Stored],
        limited: bool,
    ) -> bytes:
        prev = b"t%d" % (timeline[0].seq if timeline else place.head + 1)
        flag = b"true" if limited else b"false"
        body = await self._events(snap, me, window, timeline)
        return b'{"events":[%b],"limited":%b,"prev_batch":"%b"}' % (body, flag, prev)

    async def _events(
        self, snap: Snap, me: Asker, window: Window, timeline: Sequence[Stored]
    ) -> bytes:
        """The events, rendered once for all members who are woken by the same change."""
        if not timeline:
            return b""
        room_no, first, last = timeline[0].room_no, timeline[0].seq, timeline[-1].seq
        shared = (
            len(timeline) == last - first + 1
            and me.wanted.event_fields is None
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
        if me.wanted.event_fields is not None:
            rendered = [orjson.dumps(me.wanted.pick(orjson.loads(e))) for e in rendered]
        body = b",".join(rendered)
        if shared:
            self._recent.keep_rendering(room_no, first, last, body)
        return body

    # --- state ------------------------------------------------------------------------------

    async def _state(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        timeline: Sequence[Stored],
        limited: bool,
        before: int,
        anew: bool,
    ) -> list[Stored]:
        """State that the timeline does not tell: before it, or with it (`state_after`)."""
        wanted = me.wanted.state
        if wanted.nothing or not wanted.room(place.room_id):
            return []
        lazy = wanted.lazy_load_members
        if anew:
            found = await self._whole_state(snap, me, place, timeline, before, lazy)
        elif limited or me.state_after:
            ceiling = 2**62 if me.state_after else before
            by_key = await state.changes(
                snap, place.room_no, window.since, window.upto, ceiling
            )
            found = list(by_key.values())
        else:
            found = []
        if lazy:
            found = await self._lazy(snap, me, place, timeline, found, anew)
        return self._filter_state(me, found)

    async def _whole_state(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        timeline: Sequence[Stored],
        before: int,
        lazy: bool,
    ) -> list[Stored]:
        if me.state_after or not any(e.state_key is not None for e in timeline):
            return await state.current_events(snap, place.room_no, members=not lazy)
        found = await state.state_at(snap, place.room_no, before - 1)
        if lazy:
            found = [e for e in found if e.type != "m.room.member"]
        return found

    async def _lazy(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        timeline: Sequence[Stored],
        found: list[Stored],
        anew: bool,
    ) -> list[Stored]:
        """CS #lazy-loading-room-members: the members whom the timeline needs, once each."""
        sent = self._sent.of(me.device_no, place.room_no, anew=anew)
        needed = {e.sender for e in timeline}
        if anew:
            needed.add(me.user_id)
            if not await state.current_entry(snap, place.room_no, "m.room.name", ""):
                needed |= set(
                    await members.heroes(snap, place.room_no, me.user_no, ("join", "invite"))
                )
        if not me.wanted.state.include_redundant_members:
            needed -= sent
        needed -= {e.state_key for e in found if e.type == "m.room.member" and e.state_key}
        needed -= {
            e.state_key for e in timeline if e.type == "m.room.member" and e.state_key
        } if not me.state_after else set()
        if needed:
            found = found + await state.member_events(snap, place.room_no, needed)
            sent |= needed
        if len(sent) > 5_000:
            sent.clear()
        return found

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
        typing: list[str] | None,
        receipts_too: bool,
        anew: bool,
    ) -> list[bytes]:
        wanted = me.wanted.ephemeral
        found: list[bytes] = []
        if wanted.nothing or not wanted.room(place.room_id):
            return found
        if receipts_too and wanted.type("m.receipt"):
            since = 0 if anew else window.since
            changed = await receipts.changed_receipts(
                snap, place.room_no, since, window.upto, me.user_no
            )
            if changed:
                found.append(render_receipts(changed))
        if typing is not None and wanted.type("m.typing"):
            shown = [u for u in typing if u not in me.ignored]
            content = orjson.dumps({"type": "m.typing", "content": {"user_ids": shown}})
            found.append(content)
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


def passes(wanted: EventFilter, stored: Stored) -> bool:
    """Whether a section's filter lets an event through; its content is parsed only if asked."""
    if wanted.passes_all:
        return True
    if not wanted.type(stored.type) or not wanted.sender(stored.sender):
        return False
    if wanted.contains_url is None:
        return True
    content = orjson.loads(stored.client + b"}").get("content")
    return (isinstance(content, dict) and "url" in content) is wanted.contains_url


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
    """Counts and heroes (CS #room-summary)."""
    found = await members.heroes(snap, place.room_no, user_no, ("join", "invite"))
    if not found:
        found = await members.heroes(snap, place.room_no, user_no, ("leave", "ban"))
    return orjson.dumps(
        {
            "m.heroes": found,
            "m.joined_member_count": place.joined,
            "m.invited_member_count": place.invited,
        }
    )
