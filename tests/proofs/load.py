"""People who send, sixteen at once, and remember what they were told; people who listen."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.proofs.wire import PATIENCE_S, Cut, Json, Person, q, register

TO_DEVICE_TYPE = "test.note"


@dataclass(slots=True)
class Deed:
    """Something that was asked for; `outcome` is what the server answered, if it did."""

    kind: str  # message | note | file
    who: Person
    txn: str
    room: str = ""
    content: bytes = b""
    outcome: str | None = None

    @property
    def text(self) -> str:
        """What names it among all others."""
        return f"{self.who.user_id} {self.txn}"


@dataclass
class Listener:
    """A device that syncs, keeps its token and counts what it was told."""

    person: Person
    since: str = ""
    events: Counter[str] = field(default_factory=Counter)  # event id → how often
    texts: dict[str, str] = field(default_factory=dict)  # event id → text
    notes: Counter[str] = field(default_factory=Counter)

    async def step(self, timeout_ms: int = 0) -> bool:
        """One answer; whether it brought anything."""
        answer = await self.person.sync(self.since or None, timeout_ms)
        rooms = answer.get("rooms", {}).get("join", {})
        for room_id, block in rooms.items():
            timeline = block.get("timeline", {})
            if timeline.get("limited") and self.since:
                await self._fill(room_id, timeline["prev_batch"])
            self._take(timeline.get("events", ()))
        notes = answer.get("to_device", {}).get("events", ())
        self.notes.update(note["content"]["text"] for note in notes)
        self.since = answer["next_batch"]
        return bool(rooms or notes)

    def _take(self, events: Any) -> None:
        for event in events:
            self.events[event["event_id"]] += 1
            self.texts[event["event_id"]] = event["content"].get("body", "")

    async def _fill(self, room_id: str, token: str | None) -> None:
        """Reads a gap backwards until something is known."""
        while token is not None:
            query = f"dir=b&limit=500&from={token}"
            page: Json = await self.person.get("rooms", room_id, "messages", query=query)
            fresh = [e for e in page["chunk"] if e["event_id"] not in self.events]
            self._take(fresh)
            token = page.get("end") if len(fresh) == len(page["chunk"]) else None

    async def catch_up(self, expected: Iterable[Deed] = ()) -> None:
        """Syncs until nothing is new and everything expected was heard.

        On PostgreSQL a number that died with its writer is waited for a quarter of a second; what
        is said above it is heard after that.
        """
        async with asyncio.timeout(PATIENCE_S):
            while await self.step(20) or any(not self.heard(deed) for deed in expected):
                pass

    def heard(self, deed: Deed) -> int:
        """How often it was told; files are not told to anybody."""
        if deed.kind == "message":
            return self.events[deed.outcome or ""]
        return self.notes[deed.text] if deed.kind == "note" else 1

    async def listen(self) -> None:
        """Syncs until the server is gone."""
        try:
            while True:
                await self.step(5_000)
        except Cut:
            pass


class Crowd:
    """Sixteen senders of three kinds, two listeners, four rooms."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.chance = random.Random(seed)
        self.senders: list[Person] = []
        self.rooms: list[str] = []
        self.live: Listener
        self.cold: Listener
        self.acknowledged: list[Deed] = []
        self.unsure: list[Deed] = []
        self.kept: list[Deed] = []  # acknowledged in the end, over all rounds
        self.left: list[Deed] = []  # never answered
        self._txns = itertools.count()

    async def gather(self) -> None:
        """Registers everybody, makes the rooms, and begins to listen."""
        url, chance = self.url, self.chance
        name = f"n{chance.randrange(10**9)}"
        self.senders = [await register(url, f"{name}-{n}") for n in range(16)]
        listeners = [await register(url, f"{name}-ear{n}") for n in range(2)]
        first = self.senders[0]
        for _ in range(4):
            made = await first.post("createRoom", preset="public_chat")
            self.rooms.append(made["room_id"])
        for room in self.rooms:
            for person in (*self.senders[1:], *listeners):
                await person.post("join", room)
        self.live, self.cold = (Listener(person) for person in listeners)
        for ear in (self.live, self.cold):
            await ear.catch_up()

    def start(self) -> list[asyncio.Task[None]]:
        """Everybody sends until the server is gone; the live listener listens."""
        tasks = [asyncio.create_task(self._send(n)) for n in range(len(self.senders))]
        return [*tasks, asyncio.create_task(self.live.listen())]

    async def _send(self, number: int) -> None:
        kind = ("message", "note", "message", "file")[number % 4]
        while True:
            deed = self._think(kind, number)
            try:
                deed.outcome = await self.do(deed)
            except Cut:
                self.unsure.append(deed)
                return
            self.acknowledged.append(deed)

    def _think(self, kind: str, number: int) -> Deed:
        size = self.chance.choice((0, 100, 5_000, 60_000, 200_000)) if kind == "file" else 0
        return Deed(
            kind,
            self.senders[number],
            f"t{next(self._txns)}",
            room=self.chance.choice(self.rooms),
            content=self.chance.randbytes(size),
        )

    async def do(self, deed: Deed) -> str:
        """Asks for a deed; what the server says of it. Raises `Cut`."""
        if deed.kind == "message":
            return await deed.who.say(deed.room, deed.txn, deed.text)
        if deed.kind == "file":
            return await deed.who.upload(deed.content)
        content = {"text": deed.text}
        to = {ear.person.user_id: {ear.person.device_id: content} for ear in (self.live, self.cold)}
        path = q("sendToDevice", TO_DEVICE_TYPE, deed.txn)
        (await deed.who.wire.call("PUT", path, {"messages": to})).must()
        return "sent"


async def whole_history(person: Person, room: str) -> list[Json]:
    """Every event of a room, newest first, by `/messages`."""
    events: list[Json] = []
    token = ""
    while True:
        query = "dir=b&limit=1000" + (f"&from={token}" if token else "")
        page = await person.get("rooms", room, "messages", query=query)
        events += page["chunk"]
        token = page.get("end", "")
        if not token:
            return events
