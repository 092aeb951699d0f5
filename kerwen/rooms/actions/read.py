"""Looking at a room: state, members, history, context, single events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import orjson

from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import MESSAGES_LIMIT_MAX
from kerwen.rooms.actions.bundle import Viewer, ignored_users, render_bundled
from kerwen.rooms.actions.history_pages import Asked, HistoryPages
from kerwen.rooms.actions.passing import passes, related_only
from kerwen.rooms.actions.render import render_all
from kerwen.rooms.actions.visible import is_world_readable, visible_events, visible_room
from kerwen.rooms.filters import EventFilter
from kerwen.rooms.store import events, heads, members, receipts, state
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.names import Names
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Database, Snap

_BEGINNING = -(2**62)
_PAGES_MAX = 10  # pages read to fill a filtered answer
_MEMBERSHIPS = frozenset({"join", "invite", "knock", "leave", "ban"})


class Who(msgspec.Struct, frozen=True):
    """Who looks."""

    user_id: str
    user_no: int
    device_no: int


class Page(msgspec.Struct):
    """A stretch of history, rendered. `end` is None at the end of what is visible."""

    start: str
    end: str | None
    chunk: list[bytes]
    state: list[bytes]


class _Walk(msgspec.Struct):
    """A way through a timeline. `place`: backwards what is before it, else what is from it on."""

    room_no: int
    place: int | None
    stop: int | None
    backwards: bool
    limit: int
    wanted: EventFilter
    viewer: Viewer
    drops: int  # of the pages in memory, before the snapshot was opened


class Read:
    """Answers questions about rooms."""

    def __init__(self, db: Database, names: Names, pages: HistoryPages, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._pages = pages
        self._clock = clock

    # --- state ------------------------------------------------------------------------------

    async def room_state(self, who: Who, room_id: str) -> list[bytes]:
        """The state as the asker may see it: now, or when they left (CS #get-state)."""
        async with self._db.read() as snap:
            room_no, until = await self._room(snap, room_id, who)
            found = await self._state(snap, room_no, until)
            return await render_all(snap, found, self._clock(), who.device_no, room_id)

    async def state_event(
        self, who: Who, room_id: str, event_type: str, state_key: str
    ) -> tuple[bytes, bytes]:
        """(content, whole event) of one piece of state."""
        async with self._db.read() as snap:
            room_no, until = await self._room(snap, room_id, who)
            if until is None:
                found = await state.current_event(snap, room_no, event_type, state_key)
            else:
                found = await state.state_event_at(snap, room_no, until, event_type, state_key)
            if found is None:
                raise Refused(Reason.NOT_FOUND, "There is no such state event")
            (whole,) = await render_all(snap, [found], self._clock(), who.device_no, room_id)
            return events.orjson_content(found.client), whole

    async def _state(self, snap: Snap, room_no: int, until: int | None) -> list[Stored]:
        if until is None:
            return await state.current_events(snap, room_no)
        return await state.state_at(snap, room_no, until)

    async def members(
        self,
        who: Who,
        room_id: str,
        at: str | None,
        membership: str | None,
        not_membership: str | None,
    ) -> list[bytes]:
        """Member events (CS #get-members); `at` a token of this room's timeline or of sync."""
        for named in (membership, not_membership):
            if named is not None and named not in _MEMBERSHIPS:
                raise Refused(Reason.INVALID_PARAM, "There is no such membership")
        async with self._db.read() as snap:
            room_no, until = await self._room(snap, room_id, who)
            if at is not None:
                place = await self.place(snap, room_no, at) - 1
                until = place if until is None else min(place, until)
            found = await self._state(snap, room_no, until)
            kept = []
            for event in found:
                if event.type != "m.room.member":
                    continue
                if membership is not None or not_membership is not None:
                    now = _membership(event)
                    if membership is not None and now != membership:
                        continue
                    if now == not_membership:
                        continue
                kept.append(event)
            return await render_all(snap, kept, self._clock(), who.device_no, room_id)

    async def joined_members(self, who: Who, room_id: str) -> dict[str, dict[str, str]]:
        """Names and pictures of who is in (CS #get-joined-members); only for those who are."""
        async with self._db.read() as snap:
            room_no = await self._names.room(snap, room_id)
            member = await members.member(snap, room_no, who.user_no) if room_no else None
            if room_no is None or member is None or member.membership != "join":
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            found: dict[str, dict[str, str]] = {}
            for user_id, name, avatar in await members.joined_profiles(snap, room_no):
                shown = {"display_name": name, "avatar_url": avatar}
                found[user_id] = {k: v for k, v in shown.items() if v is not None}
            return found

    async def joined_rooms(self, user_no: int) -> list[str]:
        """Room ids (CS #get-joined-rooms)."""
        async with self._db.read() as snap:
            places = await receipts.standings(snap, user_no)
        return [p.room_id for p in places if p.membership == "join"]

    # --- history ----------------------------------------------------------------------------

    async def messages(
        self,
        who: Who,
        room_id: str,
        start: str | None,
        end: str | None,
        backwards: bool,
        limit: int,
        wanted: EventFilter,
    ) -> Page:
        """A page of history (CS #get-messages)."""
        limit = min(max(limit, 1), MESSAGES_LIMIT_MAX)
        drops = self._pages.drops
        async with self._db.read() as snap:
            room_no, _ = await self._room(snap, room_id, who)
            sight = await visible_events(snap, room_no, who.user_id)
            head = await heads.get_head(snap, room_no)
            assert head is not None
            if start is None:
                place = head.head + 1 if backwards else _BEGINNING
            else:
                place = min(await self.place(snap, room_no, start), head.head + 1)
            stop = await self.place(snap, room_no, end) if end is not None else None
            viewer = await self._viewer(snap, who, sight, room_id)
            walk = _Walk(room_no, place, stop, backwards, limit, wanted, viewer, drops)
            found = await self._walk(snap, walk)
            chunk = await render_bundled(snap, room_no, found, viewer)
            shown: list[bytes] = []
            if wanted.lazy_load_members and found:
                people = await self._senders(snap, room_no, found)
                shown = await render_all(snap, people, self._clock(), who.device_no, room_id)
            first = start
            if first is None:  # backfilled events stand before the first one of ours
                oldest = found[0].seq if found and not backwards else place
                first = f"t{max(oldest, -(2**53))}"
            return Page(first, None if walk.place is None else f"t{walk.place}", chunk, shown)

    async def _senders(self, snap: Snap, room_no: int, found: Sequence[Stored]) -> list[Stored]:
        """CS #lazy-loading-room-members: the senders as they were before what they said."""
        return await state.members_at(
            snap, room_no, min(e.seq for e in found), {e.sender for e in found}
        )

    async def _walk(self, snap: Snap, walk: _Walk) -> list[Stored]:
        """Events from a place on. Moves the place; to None where nothing more is to be seen."""
        kept: list[Stored] = []
        for _ in range(_PAGES_MAX):
            count = max(walk.limit - len(kept), 1)
            rows, more = await self._step(snap, walk, count)
            any_rows = bool(rows)
            rows = [e for e in rows if _shown(walk, e)]
            kept += await related_only(snap, walk.room_no, rows, walk.wanted)
            if not more:
                walk.place = walk.stop if walk.backwards or not any_rows else walk.place
                break
            if len(kept) >= walk.limit:
                break
        return kept

    async def _step(self, snap: Snap, walk: _Walk, count: int) -> tuple[list[Stored], bool]:
        """The next rows of which any may be visible, and whether there are more after them."""
        assert walk.place is not None
        if walk.backwards:
            newest = walk.viewer.sight.last_before(walk.place)
            floor = walk.stop - 1 if walk.stop is not None else -(2**62)
            if newest is None or newest <= floor:
                return [], False
            rows = await self._page(snap, walk, Asked(newest + 1, count + 1, floor))
        else:
            oldest = walk.viewer.sight.first_from(walk.place)
            ceiling = walk.stop - 1 if walk.stop is not None else 2**62
            if oldest is None or oldest > ceiling:
                return [], False
            rows = await events.forward(snap, walk.room_no, oldest - 1, count + 1, ceiling)
        more, rows = len(rows) > count, rows[:count]
        if rows:
            walk.place = rows[-1].seq if walk.backwards else rows[-1].seq + 1
        return rows, more

    async def _page(self, snap: Snap, walk: _Walk, asked: Asked) -> list[Stored]:
        """Events backwards from a place: from memory, if somebody has read them lately."""
        found = self._pages.get(walk.room_no, asked)
        if found is None:
            found = await events.backward(snap, walk.room_no, *asked)
            self._pages.keep(walk.room_no, asked, found, walk.drops)
        return found

    async def context(
        self, who: Who, room_id: str, event_id: str, limit: int, wanted: EventFilter
    ) -> bytes:
        """Events around one (CS #get-context)."""
        drops = self._pages.drops
        async with self._db.read() as snap:
            room_no, _ = await self._room(snap, room_id, who)
            sight = await visible_events(snap, room_no, who.user_id)
            event = await self._seen(snap, room_no, event_id, sight)
            viewer = await self._viewer(snap, who, sight, room_id)
            half = limit // 2
            back = _Walk(room_no, event.seq, None, True, half, wanted, viewer, drops)
            on = _Walk(room_no, event.seq + 1, None, False, limit - half, wanted, viewer, drops)
            before = await self._walk(snap, back) if back.limit else []
            after = await self._walk(snap, on) if on.limit else []
            shown = await state.state_at(snap, room_no, (after or [event])[-1].seq)
            if wanted.lazy_load_members:
                senders = {e.sender for e in (*before, event, *after)}
                shown = [e for e in shown if e.type != "m.room.member" or e.state_key in senders]
            whole = await render_bundled(snap, room_no, [*before, event, *after], viewer)
            told = await render_all(snap, shown, viewer.now_ms, who.device_no, room_id)
            at = len(before)
            parts = [
                b'"event":' + whole[at],
                b'"start":"t%d"' % (before[-1].seq if before else event.seq),
                b'"end":"t%d"' % (after[-1].seq + 1 if after else event.seq + 1),
                b'"events_before":' + joined(whole[:at]),
                b'"events_after":' + joined(whole[at + 1 :]),
                b'"state":' + joined(told),
            ]
            return b"{" + b",".join(parts) + b"}"

    async def event(self, who: Who, room_id: str, event_id: str) -> bytes:
        """One event (CS #get-event)."""
        async with self._db.read() as snap:
            room_no, _ = await self._room(snap, room_id, who, hide=True)
            sight = await visible_events(snap, room_no, who.user_id)
            found = await self._seen(snap, room_no, event_id, sight)
            viewer = await self._viewer(snap, who, sight, room_id)
            (shown,) = await render_bundled(snap, room_no, [found], viewer)
            return shown

    async def _viewer(self, snap: Snap, who: Who, sight: Sight, room_id: str) -> Viewer:
        ignored = await ignored_users(snap, who.user_no)
        return Viewer(who.user_id, who.device_no, ignored, sight, self._clock(), room_id)

    async def _seen(self, snap: Snap, room_no: int, event_id: str, sight: Sight) -> Stored:
        found = await events.event_by_id(snap, event_id)
        if (
            found is None
            or found.room_no != room_no
            or found.seq is None
            or not sight.sees(found.seq)
        ):
            raise Refused(Reason.NOT_FOUND, "There is no such event, or you may not see it")
        return found

    async def nearest(self, who: Who, room_id: str, ts: int, forwards: bool) -> tuple[str, int]:
        """(event id, time) nearest to a time (CS #get-timestamp-to-event)."""
        async with self._db.read(long=True) as snap:
            room_no, _ = await self._room(snap, room_id, who)
            sight = await visible_events(snap, room_no, who.user_id)
            after = -(2**62) if forwards else 2**62
            for _ in range(_PAGES_MAX):
                found = await events.nearest(snap, room_no, ts, after, forwards)
                for event_id, at, seq in found:
                    if sight.sees(seq):
                        return event_id, at
                if not found:
                    break
                _, ts, after = found[-1]
        raise Refused(Reason.NOT_FOUND, "There is no event on that side of that time")

    async def is_world_readable(self, room_id: str) -> bool:
        """Whether anybody may read the room now."""
        async with self._db.read() as snap:
            room_no = await self._names.room(snap, room_id)
            return room_no is not None and await is_world_readable(snap, room_no)

    # --- finding ----------------------------------------------------------------------------

    async def _room(
        self, snap: Snap, room_id: str, who: Who, *, hide: bool = False
    ) -> tuple[int, int | None]:
        room_no = await self._names.room(snap, room_id)
        try:
            return await visible_room(snap, room_no, who.user_no, who.user_id)
        except Refused:
            if hide:
                raise Refused(
                    Reason.NOT_FOUND, "There is no such event, or you may not see it"
                ) from None
            raise

    async def place(self, snap: Snap, room_no: int, token: str) -> int:
        """The place before which, and from which on, a token points.

        Tokens of timelines hold a seq; one of `/sync`, or the `pos` of a sliding sync, is the
        place after all it covered.
        """
        if token.startswith("t"):
            number = token[1:]
            if number.lstrip("-").isdigit() and len(number) < 20:
                return int(number)
            raise Refused(Reason.INVALID_PARAM, "That is no token of this server")
        try:
            pos = feed_token.decode(token.rpartition(".")[2]).pos
        except Refused:
            raise Refused(Reason.INVALID_PARAM, "That is no token of this server") from None
        found = await events.newest(snap, room_no, 0, pos, 1)
        return found[-1].seq + 1 if found else 1


def _shown(walk: _Walk, event: Stored) -> bool:
    ignored = event.sender in walk.viewer.ignored and event.state_key is None
    return not ignored and walk.viewer.sight.sees(event.seq) and passes(walk.wanted, event)


def _membership(event: Stored) -> str:
    content = orjson.loads(events.orjson_content(event.client))
    return str(content.get("membership", "leave"))


def joined(parts: Sequence[bytes] | Iterable[bytes]) -> bytes:
    """A JSON list of rendered values."""
    return b"[" + b",".join(parts) + b"]"
