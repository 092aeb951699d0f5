"""A client that keeps what sliding sync tells it, as a real one does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.rooms.house import Answer, Json, Person

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
EVERYTHING = [["*", "*"]]
LAZILY = [["*", "*"], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]
EXTENSIONS = ("to_device", "e2ee", "account_data", "receipts", "typing")
Key = tuple[str, str]


async def post(
    person: Person,
    body: Any = None,
    pos: str | None = None,
    timeout: int = 0,
    conn_id: str | None = None,
    **query: Any,
) -> Answer:
    """One request."""
    if conn_id is not None:
        body = {**(body or {}), "conn_id": conn_id}
    if pos is not None:
        query["pos"] = pos
    if timeout:
        query["timeout"] = timeout
    return await person.house.call(person.token, "POST", PATH, body or {}, urlencode(query))


async def ask(person: Person, body: Any = None, pos: str | None = None, **query: Any) -> Json:
    """One request that is granted; its answer."""
    answer = await post(person, body, pos, **query)
    assert answer.status == 200, answer
    found: Json = answer.json
    return found


def all_rooms(limit: int = 10, state: Any = (), last: int = 99, **more: Any) -> Json:
    """A request for one list of all rooms."""
    one = {"ranges": [[0, last]], "timeline_limit": limit, "required_state": list(state), **more}
    return {"lists": {"all": one}}


def with_extensions(body: Json, *names: str) -> Json:
    """The same with extensions, all of them if none is named."""
    return body | {"extensions": {name: {"enabled": True} for name in names or EXTENSIONS}}


@dataclass
class Room:
    """A room as the client knows it. `state`: key → event id."""

    state: dict[Key, str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)  # name, counts and their like
    invite: list[Json] | None = None
    gone: bool = False
    last_senders: set[str] = field(default_factory=set)

    def members(self) -> dict[Key, str]:
        return {key: event for key, event in self.state.items() if key[0] == "m.room.member"}


_SHOWN = (
    "name",
    "avatar",
    "is_dm",
    "heroes",
    "joined_count",
    "invited_count",
    "bump_stamp",
    "notification_count",
    "highlight_count",
)


class SlidingClient:
    """One connection of a device."""

    def __init__(self, person: Person, conn_id: str = "main", lazy: bool = False) -> None:
        self.person = person
        self.lazy = lazy
        self.conn_id = conn_id
        self.pos: str | None = None
        self.rooms: dict[str, Room] = {}
        self.counts: dict[str, int] = {}
        self.data: dict[str, Json] = {}
        self.room_data: dict[tuple[str, str], Json] = {}
        self.receipts: dict[tuple[str, str, str, str], str] = {}
        self.since: str | None = None
        self.last: Json = {}

    async def ask(self, body: Json, timeout: int = 0) -> Json:
        """One request whose answer gets lost."""
        body = {"conn_id": self.conn_id, **body}
        wish = body.get("extensions", {}).get("to_device")
        if wish and self.since:
            body["extensions"] = body["extensions"] | {"to_device": wish | {"since": self.since}}
        return await ask(self.person, body, self.pos, timeout=timeout)

    async def sync(self, body: Json, timeout: int = 0) -> Json:
        """One request, its answer applied."""
        answer = await self.ask(body, timeout)
        await self.apply(answer)
        return answer

    async def apply(self, answer: Json) -> None:
        """Takes in an answer."""
        self.last = answer
        self.counts = {name: one["count"] for name, one in answer["lists"].items()}
        for room_id, block in answer["rooms"].items():
            await self._room(room_id, block)
        extensions = answer["extensions"]
        if "to_device" in extensions:
            self.since = extensions["to_device"]["next_batch"]
        data = extensions.get("account_data", {})
        for event in data.get("global", []):
            self.data[event["type"]] = event["content"]
        for room_id, events in data.get("rooms", {}).items():
            for event in events:
                self.room_data[room_id, event["type"]] = event["content"]
        for room_id, event in extensions.get("receipts", {}).get("rooms", {}).items():
            self._receipts(room_id, event["content"])
        self.pos = answer["pos"]

    def _receipts(self, room_id: str, content: Json) -> None:
        for event_id, types in content.items():
            for kind, users in types.items():
                for user_id, said in users.items():
                    thread = said.get("thread_id", "")
                    self.receipts[room_id, user_id, kind, thread] = event_id

    async def _room(self, room_id: str, block: Json) -> None:
        if block.get("initial") or room_id not in self.rooms:
            assert block.get("initial"), (room_id, block)
            self.rooms[room_id] = Room()
        room = self.rooms[room_id]
        room.invite = block.get("invite_state")
        for name in _SHOWN:
            if name in block:
                room.shown[name] = block[name]
        events = block.get("timeline", [])
        if events or block.get("limited"):
            await self._timeline(room_id, room, block)
        if block.get("limited") and self.lazy:
            for key in room.members():  # who meets a gap forgets the members
                del room.state[key]
        for event in block.get("required_state", []):
            room.state[event["type"], event["state_key"]] = event["event_id"]
            if event["type"] == "m.room.member" and event["state_key"] == self.person.id:
                room.gone = event["content"]["membership"] in ("leave", "ban")
        assert block.get("num_live", 0) <= len(events), block

    async def _timeline(self, room_id: str, room: Room, block: Json) -> None:
        events = block.get("timeline", [])
        ids = [event["event_id"] for event in events]
        assert len(set(ids)) == len(ids), ids
        room.last_senders = {event["sender"] for event in events}
        if not room.timeline:
            room.timeline = ids
            return
        known = set(room.timeline)
        overlap = [event_id for event_id in ids if event_id in known]
        if overlap:  # older ones come before what is known, newer ones after
            assert block.get("expanded_timeline"), (overlap, block)
            first = ids.index(overlap[0])
            last = ids.index(overlap[-1])
            older = [i for i in ids[:first] if i not in known]
            room.timeline = older + room.timeline + ids[last + 1 :]
            return
        if block.get("limited"):
            await self._fill(room_id, room, block["prev_batch"])
        room.timeline += ids

    async def _fill(self, room_id: str, room: Room, token: str | None) -> None:
        """Reads the gap backwards until something known, or the beginning."""
        known, found = set(room.timeline), list[str]()
        while token is not None:
            page = await self.person.messages(room_id, "b", limit=7, **{"from": token})
            token = page.get("end")
            for event in page["chunk"]:
                if event["event_id"] in known:
                    token = None
                    break
                found.append(event["event_id"])
        room.timeline += reversed(found)

    def joined(self) -> set[str]:
        """The rooms this client believes to be in."""
        return {i for i, room in self.rooms.items() if room.invite is None and not room.gone}

    def asked_in(self) -> set[str]:
        """Invitations and knocks."""
        return {i for i, room in self.rooms.items() if room.invite is not None}
