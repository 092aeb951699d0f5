"""What clients asked before there was `/sync`: told out of `/sync`, in the old shapes.

All of it is deprecated but the look into one room (CS #room-previews). Nothing here takes
anything from a device: it reads as a device that does not exist, so to-device messages stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken, encode
from kerwen.base.limits import TIMELINE_LIMIT_MAX
from kerwen.rooms import filters
from kerwen.rooms.actions.peek import Peek
from kerwen.rooms.actions.read import Read, Who
from kerwen.rooms.actions.render import render
from kerwen.rooms.actions.sync import Asked, Sync
from kerwen.rooms.store import aliases, events, members, state, users
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed

Json = dict[str, Any]

_NO_DEVICE = 0


class OldSync:
    """`/initialSync`, `/events` and their kin."""

    def __init__(
        self, db: Database, feed: Feed, sync: Sync, read: Read, peek: Peek, names: Names
    ) -> None:
        self._db = db
        self._feed = feed
        self._sync = sync
        self._read = read
        self._peek = peek
        self._names = names

    async def initial(self, who: Who, limit: int, archived: bool) -> Json:
        """Everything (CS #get-initialsync); rooms that were left with `archived`."""
        wanted = {"room": {"timeline": {"limit": limit}, "include_leave": archived}}
        answer = await self._ask(who, None, wanted, 0, b"state_after")
        end, rooms = answer["next_batch"], answer.get("rooms", {})
        found = []
        for membership in ("join", "leave"):
            for room_id, block in rooms.get(membership, {}).items():
                found.append(_room(room_id, membership, block, end))
        found += await self._invites(who, rooms.get("invite", {}))
        await self._see_directory(found)
        return {
            "end": end,
            "rooms": found,
            "presence": [],
            "account_data": answer.get("account_data", {}).get("events", []),
        }

    async def _invites(self, who: Who, room_ids: Iterable[str]) -> list[Json]:
        found: list[Json] = []
        async with self._db.read() as snap:
            for room_id in room_ids:
                number = await self._names.room(snap, room_id)
                if number is None:
                    continue
                event = await state.current_event(snap, number, "m.room.member", who.user_id)
                if event is not None:
                    shown = orjson.loads(render(event, event.ts, room_id=room_id))
                    found.append({"room_id": room_id, "membership": "invite", "invite": shown})
        return found

    async def _see_directory(self, rooms: Iterable[Json]) -> None:
        async with self._db.read() as snap:
            for room in rooms:
                number = await self._names.room(snap, room["room_id"])
                shown = number is not None and await aliases.published(snap, number)
                room["visibility"] = "public" if shown else "private"

    async def room(self, who: Who, room_id: str, limit: int) -> bytes:
        """One room's state and newest messages (CS #get-room-initialsync)."""
        async with self._db.read() as snap:
            number = await self._names.room(snap, room_id)
            place = await members.member(snap, number, who.user_no) if number else None
            shown = number is not None and await aliases.published(snap, number)
            rows = []
            if number is not None and place is not None:
                rows = await account_data.room_account_data_in(
                    snap, who.user_no, [number], 0, self._feed.settled
                )
        all_state = await self._read.room_state(who, room_id)
        page = await self._read.messages(who, room_id, None, None, True, limit, filters.EVERYTHING)
        page.chunk.reverse()
        start = b'"start":"%b",' % page.end.encode() if page.end is not None else b""
        mine = [b'{"type":%b,"content":%b}' % (orjson.dumps(r[1]), r[2]) for r in rows]
        parts = [
            b'"room_id":' + orjson.dumps(room_id),
            b'"visibility":"public"' if shown else b'"visibility":"private"',
            b'"messages":{%b"end":"%b","chunk":[%b]}'
            % (start, page.start.encode(), b",".join(page.chunk)),
            b'"state":[%b]' % b",".join(all_state),
            b'"account_data":[%b]' % b",".join(mine),
        ]
        if place is not None and place.membership != "knock":
            parts.append(b'"membership":' + orjson.dumps(place.membership))
        return b"{" + b",".join(parts) + b"}"

    async def events(
        self, who: Who, since: str | None, timeout_ms: int, room_id: str | None = None
    ) -> Json:
        """What is said after a token (CS #get-events); without one, from now on.

        Of one room only, also of one that the asker may look into without being in it.
        """
        start = since or encode(FeedToken(self._feed.settled))
        room: Json = {"timeline": {"limit": TIMELINE_LIMIT_MAX}}
        if room_id is not None:
            if not await self._is_in(who, room_id):
                return await self._peek(who, room_id, start, timeout_ms)
            room["rooms"] = [room_id]
        answer = await self._ask(who, start, {"room": room}, timeout_ms)
        chunk: list[Json] = []
        for section in ("join", "leave"):
            for known, block in answer.get("rooms", {}).get(section, {}).items():
                chunk += _named(known, block.get("timeline", {}).get("events", []))
        return {"start": start, "end": answer["next_batch"], "chunk": chunk}

    async def _is_in(self, who: Who, room_id: str) -> bool:
        async with self._db.read() as snap:
            number = await self._names.room(snap, room_id)
            place = await members.member(snap, number, who.user_no) if number else None
            return place is not None and place.membership == "join"

    async def event(self, who: Who, event_id: str) -> bytes:
        """One event, wherever it was said (CS #get-events-eventid)."""
        async with self._db.read() as snap:
            found = await events.event_by_id(snap, event_id)
            ids = await users.room_ids(snap, [found.room_no]) if found else {}
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no such event, or you may not see it")
        return await self._read.event(who, ids[found.room_no], event_id)

    async def _ask(
        self, who: Who, since: str | None, wanted: Json, timeout_ms: int, after: bytes = b""
    ) -> Json:
        asked = Asked(
            who.user_no,
            who.user_id,
            _NO_DEVICE,
            since,
            filters.parse(wanted),
            timeout_ms,
            state_after=after,
        )
        found: Json = orjson.loads(await self._sync(asked))
        return found


def _room(room_id: str, membership: str, block: Json, end: str) -> Json:
    """A room of `/sync` in the old shape."""
    timeline = block.get("timeline", {})
    messages: Json = {"end": end, "chunk": _named(room_id, timeline.get("events", []))}
    if "prev_batch" in timeline:
        messages["start"] = timeline["prev_batch"]
    return {
        "room_id": room_id,
        "membership": membership,
        "messages": messages,
        "state": _named(room_id, block.get("state_after", {}).get("events", [])),
        "account_data": block.get("account_data", {}).get("events", []),
    }


def _named(room_id: str, found: list[Json]) -> list[Json]:
    for event in found:
        event["room_id"] = room_id
    return found
