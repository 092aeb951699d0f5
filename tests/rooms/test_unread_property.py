"""Unread counts, told by subtraction, are what counting one by one gives."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.rooms.house import House, Json, Person
from tests.rooms.test_receipts import by_thread, counts, mention, thread

STEPS = 60


@dataclass
class Said:
    event_id: str
    sender: str
    thread: str | None = None
    plain: bool = False  # notifies who did not mute the room
    mentioned: set[str] = field(default_factory=set)
    muted: set[str] = field(default_factory=set)  # by whom, when it was said
    redacted: bool = False

    def means(self, user_id: str) -> tuple[int, int]:
        """(notifies, highlights)."""
        if self.redacted or self.sender == user_id:
            return 0, 0
        if user_id in self.mentioned:
            return 1, 1
        return int(self.plain and user_id not in self.muted), 0


@dataclass
class Reader:
    everything: int = -1
    main: int = -1
    threads: dict[str, int] = field(default_factory=dict)

    def has_read(self, place: int, said: Said) -> bool:
        if said.thread is None:
            return place <= max(self.main, self.everything)
        return place <= max(self.threads.get(said.thread, -1), self.everything)


class Room:
    """What a plain count would know of one room."""

    def __init__(self, people: list[Person], room: str, chance: random.Random) -> None:
        self.people = people
        self.room = room
        self.chance = chance
        self.said: list[Said] = []
        self.readers = {p.id: Reader() for p in people}
        self.muted: set[str] = set()

    def note(self, said: Said) -> None:
        self.said.append(said)
        reader = self.readers[said.sender]
        if said.thread is None:
            reader.main = len(self.said) - 1
        else:
            reader.threads[said.thread] = len(self.said) - 1

    async def step(self) -> None:
        deeds = [self.say] * 8 + [self.read] * 4 + [self.redact] * 2 + [self.mute, self.notice]
        await self.chance.choice(deeds)(self.chance.choice(self.people))

    async def say(self, who: Person) -> None:
        content: Json = {}
        mentioned: set[str] = set()
        root = None
        if self.said and self.chance.random() < 0.4:
            roots = [s.event_id for s in self.said if s.thread is None and s.plain]
            root = self.chance.choice(roots[:3]) if roots else None
            content |= thread(root) if root else {}
        dice = self.chance.random()
        if dice < 0.2:
            chosen = self.chance.sample(self.people, 2)
            content |= mention(*chosen)
            mentioned = {p.id for p in chosen}
        elif dice < 0.3 and who is self.people[0]:
            content |= mention(room=True)
            mentioned = {p.id for p in self.people}
        event_id = await who.say(self.room, **content)
        self.note(Said(event_id, who.id, root, True, mentioned, set(self.muted)))

    async def notice(self, who: Person) -> None:
        event_id = await who.say(self.room, msgtype="m.notice")
        self.note(Said(event_id, who.id))

    async def read(self, who: Person) -> None:
        if not self.said:
            return
        place = self.chance.randrange(len(self.said))
        said, reader = self.said[place], self.readers[who.id]
        kind = self.chance.choice(("m.read", "m.read.private"))
        if self.chance.random() < 0.4:
            await who.read(self.room, said.event_id, kind)
            reader.everything = max(reader.everything, place)
        elif said.redacted:
            return  # its thread is forgotten
        elif said.thread is None:
            await who.read(self.room, said.event_id, kind, thread_id="main")
            reader.main = max(reader.main, place)
        else:
            await who.read(self.room, said.event_id, kind, thread_id=said.thread)
            reader.threads[said.thread] = max(reader.threads.get(said.thread, -1), place)

    async def redact(self, who: Person) -> None:
        own = [s for s in self.said if s.sender == who.id and s.plain and not s.redacted]
        roots = {s.thread for s in self.said}
        own = [s for s in own if s.event_id not in roots]
        if own:
            said = self.chance.choice(own)
            event_id = await who.redact(self.room, said.event_id)
            said.redacted = True
            self.note(Said(event_id, who.id))

    async def mute(self, who: Person) -> None:
        path = ("pushrules", "global", "room", self.room)
        if who.id in self.muted:
            await who.must("DELETE", *path)
            self.muted.discard(who.id)
        else:
            await who.must("PUT", *path, body={"actions": []})
            self.muted.add(who.id)

    def expected(self, who: Person) -> tuple[tuple[int, int], dict[str, tuple[int, int]]]:
        main, threads = [0, 0], {}
        for place, said in enumerate(self.said):
            notifies, highlights = said.means(who.id)
            if self.readers[who.id].has_read(place, said) or not notifies:
                continue
            at = main if said.thread is None else threads.setdefault(said.thread, [0, 0])
            at[0] += notifies
            at[1] += highlights
        return (main[0], main[1]), {root: (n, h) for root, (n, h) in threads.items()}


@pytest.mark.parametrize("seed", range(6))
async def test_counts_are_what_counting_gives(house: House, seed: int) -> None:
    chance = random.Random(seed)
    people = await house.people("ayna", "batyr", "cemal")
    room_id = await people[0].create_room(preset="public_chat")
    for person in people[1:]:
        await person.join(room_id)
    room = Room(people, room_id, chance)
    log: list[Any] = []
    for _ in range(STEPS):
        await room.step()
        log.append(room.said[-1:] and room.said[-1])
        for person in people:
            main, threads = room.expected(person)
            assert await by_thread(person, room_id) == (main, threads), (person, log[-5:])
            whole = (
                main[0] + sum(n for n, _ in threads.values()),
                main[1] + sum(h for _, h in threads.values()),
            )
            assert await counts(person, room_id) == whole
