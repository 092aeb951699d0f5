"""Searching what was said in clear rooms (CS #server-side-search).

Only rooms in which the asker is or was, and of those only what they may see. The index is
brought up to date before it is asked, so what was said just now is found.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import orjson

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.render import render_all
from kerwen.rooms.actions.search_index import SearchIndex
from kerwen.rooms.actions.sync import ignored_users
from kerwen.rooms.actions.sync_rooms import passes
from kerwen.rooms.actions.visible import visible_events, visible_in_rooms, visible_room
from kerwen.rooms.filters import EventFilter
from kerwen.rooms.search_words import KEYS, question
from kerwen.rooms.store import events, members, search, state, users
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.search import Hit
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Database, Snap

Json = dict[str, Any]

_TEXT_MAX: Final = 1_000  # characters of a question
_HITS_MAX: Final = 1_000  # events that are looked at for one answer
_LIMIT: Final = 10
_LIMIT_MAX: Final = 100
_CONTEXT_MAX: Final = 50
_OPEN_MAX: Final = 16  # rooms of which it is worth to see whether they hide nothing


class Context(msgspec.Struct):
    """How much of the talk around a result is wanted."""

    before_limit: int = 5
    after_limit: int = 5
    include_profile: bool = False


class Group(msgspec.Struct):
    """By what results are grouped."""

    key: Literal["room_id", "sender"]


class Groupings(msgspec.Struct):
    """The groups that are wanted."""

    group_by: list[Group] = []


class Criteria(msgspec.Struct):
    """What is searched for in rooms."""

    search_term: str
    keys: list[Literal["content.body", "content.name", "content.topic"]] | None = None
    filter: dict[str, Any] = {}
    order_by: Literal["recent", "rank"] = "rank"
    event_context: Context | None = None
    include_state: bool = False
    groupings: Groupings | None = None


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    """A `next_batch` token: after which result, how many came before, of which group."""

    order: Literal["recent", "rank"]
    at: int
    seen: int
    room: int | None = None
    sender: str | None = None

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode("ascii")


class _Asked(msgspec.Struct):
    """A question, understood."""

    who: Who
    criteria: Criteria
    wanted: EventFilter
    limit: int
    place: _Place
    rooms: dict[int, str] = {}
    sights: dict[int, Sight] = {}
    unseen: int | None = None  # there may be more, before this event

    @property
    def plain(self) -> bool:
        """Whether the newest of all kinds, by anybody, are wanted in one list."""
        criteria, wanted = self.criteria, self.wanted
        return (
            criteria.order_by == "recent"
            and not criteria.keys
            and (criteria.groupings is None or not criteria.groupings.group_by)
            and self.place.sender is None
            and wanted.types is None
            and wanted.not_types is None
            and wanted.senders is None
            and not wanted.not_senders
            and wanted.contains_url is None
        )


class Search:
    """Answers `/search`."""

    def __init__(self, db: Database, index: SearchIndex, clock: Clock) -> None:
        self._db = db
        self._index = index
        self._clock = clock

    async def __call__(self, who: Who, criteria: Criteria, next_batch: str | None) -> bytes:
        """The JSON of `room_events`. Says `INVALID_PARAM`."""
        asked = _understood(who, criteria, next_batch)
        await self._index.catch_up()
        if asked.plain:
            found = await self._newest(asked)
            if found is not None:
                return found
        async with self._db.read(long=True) as snap:
            asked.rooms = await self._rooms(snap, asked)
            wish = question(criteria.search_term, asked.rooms)
            hits: list[Hit] = []
            if wish is not None and asked.rooms:
                types = [KEYS[key] for key in criteria.keys or KEYS]
                if criteria.order_by == "recent":
                    before = asked.place.at or None
                    hits = await search.recent(snap, wish, asked.rooms, types, _HITS_MAX, before)
                    asked.unseen = hits[-1].event_no if len(hits) == _HITS_MAX else None
                else:
                    hits = await search.ranked(snap, wish, asked.rooms, types, _HITS_MAX)
            hits = await self._passing(snap, asked, hits)
            words = wish.words if wish is not None else []
            return await self._answer(snap, asked, hits, words)

    async def _newest(self, asked: _Asked) -> bytes | None:
        """The common question: the newest of all that was said, in rooms that hide nothing from
        the asker. Then the index alone knows which events there are, and only those of the page
        are read. None where it is not that simple.
        """
        user_no, user_id = asked.who.user_no, asked.who.user_id
        async with self._db.read() as snap:
            asked.rooms = await self._rooms(snap, asked)
            if len(asked.rooms) > _OPEN_MAX or await ignored_users(snap, user_no):
                return None
            asked.sights = await visible_in_rooms(snap, asked.rooms, user_id)
            if not all(sight.everything for sight in asked.sights.values()):
                return None
        wish = question(asked.criteria.search_term, asked.rooms)
        nos: list[int] = []
        if wish is not None and asked.rooms:
            async with self._db.read(long=True) as snap:
                nos = await search.newest(snap, wish, _HITS_MAX, asked.place.at or None)
        async with self._db.read() as snap:
            rows = await events.events_by_no(snap, nos[: asked.limit])
            page = [Hit.of(rows[no]) for no in nos[: asked.limit] if no in rows]
            more = len(nos) > asked.limit
            after = _newer(asked, nos[asked.limit - 1], asked.limit) if more else None
            count = asked.place.seen + len(nos)
            words = wish.words if wish is not None else []
            page = [hit for hit in page if rows[hit.event_no].redacted_by is None]
            return await self._shown(snap, asked, page, rows, count, words, after, None)

    async def _rooms(self, snap: Snap, asked: _Asked) -> dict[int, str]:
        """Rooms by number in which the asker is, or was and has not forgotten."""
        places = [
            m.room_no
            for m in await members.members_of(snap, asked.who.user_no)
            if m.membership == "join" or (m.membership in ("leave", "ban") and not m.forgotten)
        ]
        if asked.place.room is not None:
            places = [number for number in places if number == asked.place.room]
        ids = await users.room_ids(snap, places)
        return {number: i for number, i in ids.items() if asked.wanted.room(i)}

    async def _passing(self, snap: Snap, asked: _Asked, hits: Sequence[Hit]) -> list[Hit]:
        """Those that the asker may see and wants."""
        wanted, kept = asked.wanted, []
        ignored = await ignored_users(snap, asked.who.user_no)
        for hit in hits:
            if hit.sender in ignored or not wanted.type(hit.type) or not wanted.sender(hit.sender):
                continue
            if asked.place.sender is not None and hit.sender != asked.place.sender:
                continue
            sight = asked.sights.get(hit.room_no)
            if sight is None:
                sight = await visible_events(snap, hit.room_no, asked.who.user_id)
                asked.sights[hit.room_no] = sight
            if sight.sees(hit.seq):
                kept.append(hit)
        if wanted.contains_url is not None:
            rows = await events.events_by_no(snap, [h.event_no for h in kept])
            kept = [h for h in kept if passes(wanted, rows[h.event_no])]
        return kept

    async def _answer(self, snap: Snap, asked: _Asked, hits: list[Hit], words: list[str]) -> bytes:
        criteria, place = asked.criteria, asked.place
        start = place.at if criteria.order_by == "rank" else 0
        page = hits[start : start + asked.limit]
        rows = await events.events_by_no(snap, [h.event_no for h in page])
        count = len(hits) if criteria.order_by == "rank" else place.seen + len(hits)
        groups = None
        if criteria.groupings is not None and criteria.groupings.group_by:
            groups = self._groups(asked, hits, page, rows, start + asked.limit)
        after = _after(asked, hits, start + asked.limit)
        return await self._shown(snap, asked, page, rows, count, words, after, groups)

    async def _shown(
        self,
        snap: Snap,
        asked: _Asked,
        page: Sequence[Hit],
        rows: dict[int, Stored],
        count: int,
        words: list[str],
        after: _Place | None,
        groups: Json | None,
    ) -> bytes:
        results = [await self._result(snap, asked, h, rows[h.event_no]) for h in page]
        parts = [
            b'"count":%d' % count,
            b'"highlights":' + orjson.dumps(words),
            b'"results":[%b]' % b",".join(results),
        ]
        if after is not None:
            parts.append(b'"next_batch":"%b"' % after.text().encode())
        if groups is not None:
            parts.append(b'"groups":' + orjson.dumps(groups))
        if asked.criteria.include_state:
            parts.append(b'"state":' + await self._states(snap, asked, page))
        return b"{" + b",".join(parts) + b"}"

    async def _result(self, snap: Snap, asked: _Asked, hit: Hit, event: Stored) -> bytes:
        room_id, now, device = asked.rooms[hit.room_no], self._clock(), asked.who.device_no
        (shown,) = await render_all(snap, [event], now, device, room_id)
        parts = [b'"rank":' + orjson.dumps(float(hit.rank)), b'"result":' + shown]
        if asked.criteria.event_context is not None:
            context = await self._context(snap, asked, event, asked.criteria.event_context)
            parts.append(b'"context":' + context)
        return b"{" + b",".join(parts) + b"}"

    async def _context(self, snap: Snap, asked: _Asked, event: Stored, wish: Context) -> bytes:
        room_no, sight = event.room_no, asked.sights[event.room_no]
        room_id, now, device = asked.rooms[room_no], self._clock(), asked.who.device_no
        before = await events.backward(snap, room_no, event.seq, wish.before_limit)
        after = await events.forward(snap, room_no, event.seq, wish.after_limit)
        before, after = ([e for e in found if sight.sees(e.seq)] for found in (before, after))
        parts = [
            b'"start":"t%d"' % (before[-1].seq if before else event.seq),
            b'"end":"t%d"' % (after[-1].seq + 1 if after else event.seq + 1),
        ]
        for name, chunk in ((b"events_before", before), (b"events_after", after)):
            shown = await render_all(snap, chunk, now, device, room_id)
            parts.append(b'"%b":[%b]' % (name, b",".join(shown)))
        if wish.include_profile:
            people = {e.sender for e in (*before, event, *after)}
            found = await state.members_at(snap, room_no, event.seq, people)
            parts.append(b'"profile_info":' + orjson.dumps(_profiles(found)))
        return b"{" + b",".join(parts) + b"}"

    def _groups(
        self,
        asked: _Asked,
        hits: list[Hit],
        page: Sequence[Hit],
        rows: dict[int, Stored],
        end: int,
    ) -> Json:
        """Results by room or sender, each with a token for more of its own."""
        groups: Json = {}
        assert asked.criteria.groupings is not None
        for group in asked.criteria.groupings.group_by:
            by_value: dict[str, Json] = {}
            for hit in page:
                value = asked.rooms[hit.room_no] if group.key == "room_id" else hit.sender
                if value not in by_value:
                    found: Json = {"order": len(by_value) + 1, "results": []}
                    following = _group_place(asked, hits, hit, group.key, end)
                    if following is not None:
                        found["next_batch"] = following.text()
                    by_value[value] = found
                by_value[value]["results"].append(rows[hit.event_no].event_id)
            groups[group.key] = by_value
        return groups

    async def _states(self, snap: Snap, asked: _Asked, page: Sequence[Hit]) -> bytes:
        """The state of each room in the answer, as the asker may know it."""
        who, parts = asked.who, []
        for room_no in dict.fromkeys(hit.room_no for hit in page):
            _, until = await visible_room(snap, room_no, who.user_no, who.user_id)
            found = (
                await state.current_events(snap, room_no)
                if until is None
                else await state.state_at(snap, room_no, until)
            )
            room_id = asked.rooms[room_no]
            shown = await render_all(snap, found, self._clock(), who.device_no, room_id)
            parts.append(orjson.dumps(room_id) + b":[%b]" % b",".join(shown))
        return b"{" + b",".join(parts) + b"}"


def _understood(who: Who, criteria: Criteria, next_batch: str | None) -> _Asked:
    if len(criteria.search_term) > _TEXT_MAX:
        raise Refused(Reason.INVALID_PARAM, f"search_term may have {_TEXT_MAX} characters")
    wish = criteria.event_context
    if wish is not None:
        if wish.before_limit < 0 or wish.after_limit < 0:
            raise Refused(Reason.INVALID_PARAM, "A limit is not negative")
        wish.before_limit = min(wish.before_limit, _CONTEXT_MAX)
        wish.after_limit = min(wish.after_limit, _CONTEXT_MAX)
    wanted = filters.event_filter(criteria.filter)
    limit = min(wanted.limit if wanted.limit is not None else _LIMIT, _LIMIT_MAX)
    place = _Place(criteria.order_by, 0, 0)
    if next_batch is not None:
        try:
            raw = base64.b64decode(next_batch + "=" * (-len(next_batch) % 4), b"-_", validate=True)
            place = msgspec.json.decode(raw, type=_Place)
        except (ValueError, msgspec.MsgspecError):
            raise Refused(Reason.INVALID_PARAM, "That is no token of this search") from None
        if place.order != criteria.order_by or not 0 <= place.at < 2**62 or place.seen < 0:
            raise Refused(Reason.INVALID_PARAM, "That is no token of this search")
    return _Asked(who, criteria, wanted, limit, place)


def _after(asked: _Asked, hits: Sequence[Hit], end: int) -> _Place | None:
    """The token of what comes after the first `end` results; None if nothing does."""
    place, more = asked.place, end < len(hits)
    if place.order == "rank":
        return msgspec.structs.replace(place, at=end) if more else None
    at = hits[end - 1].event_no if more else asked.unseen
    return None if at is None else _newer(asked, at, min(end, len(hits)))


def _newer(asked: _Asked, at: int, shown: int) -> _Place:
    """After a page whose last result is `at`."""
    return msgspec.structs.replace(asked.place, at=at, seen=asked.place.seen + shown)


def _group_place(asked: _Asked, hits: Sequence[Hit], of: Hit, key: str, end: int) -> _Place | None:
    """The token of more results of one group; None if there are none after this page."""
    by_room = key == "room_id"
    mine = [h for h in hits if (h.room_no == of.room_no if by_room else h.sender == of.sender)]
    shown = {h.event_no for h in hits[:end]}
    seen = [h for h in mine if h.event_no in shown]
    if len(seen) == len(mine):
        return None
    room = of.room_no if by_room else asked.place.room
    sender = asked.place.sender if by_room else of.sender
    if asked.place.order == "rank":
        return _Place("rank", len(seen), 0, room, sender)
    return _Place("recent", seen[-1].event_no, len(seen), room, sender)


def _profiles(found: Sequence[Stored]) -> Json:
    people: Json = {}
    for event in found:
        content = orjson.loads(events.orjson_content(event.client))
        shown = {name: content.get(name) for name in ("displayname", "avatar_url")}
        people[event.state_key or ""] = {k: v for k, v in shown.items() if isinstance(v, str)}
    return people
