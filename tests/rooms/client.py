"""A client that keeps what `/sync` tells it, as a real one does: state, timelines, gaps filled."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.rooms.house import Json, Person

Key = tuple[str, str]


@dataclass
class Room:
    """A room as the client knows it. `state`: key → event id."""

    state: dict[Key, str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    counts: Json = field(default_factory=dict)
    summary: Json = field(default_factory=dict)
    joined: bool = True
    lost: bool = False  # its past could not be read: it starts anew with the next join
    last_timeline: set[str] = field(default_factory=set)

    def apply_state(self, events: list[Json]) -> None:
        for event in events:
            self.state[event["type"], event["state_key"]] = event["event_id"]


class Client:
    """One device. `filter` and `state_after` are those of every request."""

    def __init__(
        self, person: Person, filter: Any = None, state_after: bool = False, lazy: bool = False
    ) -> None:
        self.person = person
        self.filter = filter
        self.state_after = state_after
        self.lazy = lazy
        self.since: str | None = None
        self.rooms: dict[str, Room] = {}
        self.invites: dict[str, Json] = {}
        self.knocks: dict[str, Json] = {}
        self.last: Json = {}

    async def sync(self, **more: Any) -> Json:
        """One `/sync`, applied."""
        if self.state_after:
            more["use_state_after"] = True
        answer = await self.person.sync(self.since, filter=self.filter, **more)
        await self.apply(answer)
        return answer

    async def lose(self) -> None:
        """One `/sync` whose answer never arrives."""
        more = {"use_state_after": True} if self.state_after else {}
        await self.person.sync(self.since, filter=self.filter, **more)

    async def apply(self, answer: Json) -> None:
        """Takes in an answer."""
        self.last = answer
        rooms = answer.get("rooms", {})
        for room_id, block in rooms.get("invite", {}).items():
            self.invites[room_id] = block
            self.knocks.pop(room_id, None)
            self._out(room_id)
        for room_id, block in rooms.get("knock", {}).items():
            self.knocks[room_id] = block
            self._out(room_id)
        for room_id, block in rooms.get("leave", {}).items():
            self.invites.pop(room_id, None)
            self.knocks.pop(room_id, None)
            if room_id in self.rooms:
                # told of it from outside (a ban): what lies between may be shown one day
                limited = block["timeline"]["limited"]
                self.rooms[room_id].lost |= limited or not self.rooms[room_id].joined
                await self._room(room_id, block)
            self._out(room_id)
        for room_id, block in rooms.get("join", {}).items():
            self.invites.pop(room_id, None)
            self.knocks.pop(room_id, None)
            if room_id in self.rooms and self.rooms[room_id].lost:
                del self.rooms[room_id]
            await self._room(room_id, block)
            self.rooms[room_id].joined = True
        self.since = answer["next_batch"]

    def _out(self, room_id: str) -> None:
        if room_id in self.rooms:
            room = self.rooms[room_id]
            room.joined = False
            if self.lazy:  # members change unseen; the next join tells who matters
                room.state = {k: v for k, v in room.state.items() if k[0] != "m.room.member"}

    async def _room(self, room_id: str, block: Json) -> None:
        room = self.rooms.setdefault(room_id, Room())
        timeline = block.get("timeline", {"events": [], "limited": False})
        events = timeline["events"]
        if timeline["limited"]:
            await self._fill(room_id, room, timeline["prev_batch"])
        room.last_timeline = {e["event_id"] for e in events}
        known = set(room.timeline)
        room.timeline += [e["event_id"] for e in events if e["event_id"] not in known]
        if "state_after" in block:
            assert self.state_after
            room.apply_state(block["state_after"]["events"])
        else:
            assert not self.state_after, (room_id, block)
            room.apply_state(block.get("state", {}).get("events", []))
            room.apply_state([e for e in events if "state_key" in e])
        room.counts = block.get("unread_notifications", room.counts)
        room.summary = room.summary | block.get("summary", {})

    async def _fill(self, room_id: str, room: Room, token: str | None) -> None:
        """Reads the gap backwards until something known, or the beginning."""
        known, found = set(room.timeline), []
        while token is not None:
            query: Json = {"dir": "b", "limit": 7, "from": token, "filter": self._wanted()}
            answer = await self.person.call("GET", "rooms", room_id, "messages", **query)
            if answer.status == 403:
                room.lost = True  # left meanwhile, and forgotten
                return
            page = answer.json
            token = page.get("end")
            for event in page["chunk"]:
                if event["event_id"] in known:
                    token = None
                    break
                found.append(event["event_id"])
        room.timeline += reversed(found)

    def _wanted(self) -> str | None:
        types = (self.filter or {}).get("room", {}).get("timeline", {}).get("types")
        return None if types is None else json.dumps({"types": types})

    def joined(self) -> set[str]:
        """The rooms this client believes to be in."""
        return {room_id for room_id, room in self.rooms.items() if room.joined}
