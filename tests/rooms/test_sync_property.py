"""Whatever people do, a client that follows ends where a client that starts anew begins."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.rooms.client import Client
from tests.rooms.house import House, Json, Person

MESSAGES = ["m.room.message"]
STEPS = 130
SEEDS = int(os.environ.get("KERWEN_SEEDS", "6"))
VISIBILITIES = ("shared", "joined", "invited", "world_readable")
RULES = ("public", "public", "invite", "knock")


class Play:
    """Four people and three rooms; `act` does something by chance, which may be refused."""

    def __init__(self, people: list[Person], rooms: list[str], chance: random.Random) -> None:
        self.people = people
        self.rooms = rooms
        self.chance = chance
        self.said: dict[str, list[str]] = {room: [] for room in rooms}
        self.inside: set[tuple[str, str]] = set()
        self.log: list[str] = []

    async def act(self) -> None:
        chance = self.chance
        who, whom, room = chance.choice(self.people), chance.choice(self.people), self.pick()
        deeds: list[tuple[int, str, Callable[[], Awaitable[Any]]]] = [
            (12, "say", lambda: self.say(who, room)),
            (5, "state", lambda: self.state(who, room)),
            (3, "leave", lambda: who.call("POST", "rooms", room, "leave")),
            (4, "invite", lambda: self.remove(who, room, "invite", whom)),
            (4, "kick", lambda: self.remove(who, room, "kick", whom)),
            (2, "ban", lambda: self.remove(who, room, "ban", whom)),
            (4, "unban", lambda: self.remove(who, room, "unban", whom)),
            (3, "redact", lambda: self.redact(who, room)),
            (1, "name", lambda: self.name(who)),
            (2, "read", lambda: self.read(who, room)),
        ]
        if (who.id, room) not in self.inside:
            deeds = [
                (6, "join", lambda: who.call("POST", "join", room)),
                (2, "knock", lambda: who.call("POST", "knock", room)),
                (1, "leave", lambda: who.call("POST", "rooms", room, "leave")),
                (1, "forget", lambda: who.call("POST", "rooms", room, "forget")),
                (1, "say", lambda: self.say(who, room)),
            ]
        deed = chance.choices(deeds, [d[0] for d in deeds])[0]
        answer = await deed[2]()
        status = answer.status if answer is not None else "-"
        self.log.append(f"{deed[1]} {who} {whom} {self.rooms.index(room)} {status}")
        assert answer is None or answer.status < 500, self.log
        if status == 200:
            if deed[1] == "join":
                self.inside.add((who.id, room))
            elif deed[1] in ("leave", "kick", "ban"):
                gone = who if deed[1] == "leave" else whom
                self.inside.discard((gone.id, room))

    def pick(self) -> str:
        return self.chance.choice(self.rooms)

    async def say(self, who: Person, room: str) -> Any:
        txn = f"x{self.chance.random()}"
        body = {"msgtype": "m.text", "body": txn}
        answer = await who.call("PUT", "rooms", room, "send", "m.room.message", txn, body=body)
        if answer.status == 200:
            self.said[room].append(answer.json["event_id"])
        return answer

    async def state(self, who: Person, room: str) -> Any:
        event_type, content = self.chance.choice(
            [
                ("m.room.topic", {"topic": str(self.chance.random())}),
                ("m.room.name", {"name": str(self.chance.random())}),
                (
                    "m.room.history_visibility",
                    {"history_visibility": self.chance.choice(VISIBILITIES)},
                ),
                ("m.room.join_rules", {"join_rule": self.chance.choice(RULES)}),
                ("test.thing", {"n": self.chance.randrange(3)}),
            ]
        )
        key = str(self.chance.randrange(3)) if event_type == "test.thing" else ""
        return await who.call("PUT", "rooms", room, "state", event_type, key, body=content)

    async def remove(self, who: Person, room: str, verb: str, whom: Person) -> Any:
        return await who.call("POST", "rooms", room, verb, body={"user_id": whom.id})

    async def redact(self, who: Person, room: str) -> Any:
        if not self.said[room]:
            return None
        event_id = self.chance.choice(self.said[room])
        txn = f"x{self.chance.random()}"
        return await who.call("PUT", "rooms", room, "redact", event_id, txn, body={})

    async def read(self, who: Person, room: str) -> Any:
        if not self.said[room]:
            return None
        event_id = self.chance.choice(self.said[room])
        return await who.call("POST", "rooms", room, "receipt", "m.read", event_id, body={})

    async def name(self, who: Person) -> Any:
        body = {"displayname": f"N{self.chance.randrange(5)}"}
        return await who.call("PUT", "profile", who.id, "displayname", body=body)


def clients_of(person: Person, chance: random.Random) -> list[Client]:
    def limit() -> int:
        return chance.choice((1, 2, 3, 5, 20))

    lazy = {"lazy_load_members": True}
    return [
        Client(person, {"room": {"timeline": {"limit": limit()}}}),
        Client(person, {"room": {"timeline": {"limit": limit()}}}, state_after=True),
        Client(person, {"room": {"timeline": {"limit": limit()}, "state": lazy}}, lazy=True),
        Client(person, {"room": {"timeline": {"limit": limit(), "types": MESSAGES}}}),
    ]


async def same(client: Client, log: list[str]) -> None:
    """The client knows what a fresh one is told."""
    fresh = Client(client.person, {"room": {"timeline": {"limit": 10}}})
    await fresh.sync()
    who = f"{client.person} after={client.state_after} lazy={client.lazy} {client.filter}\n"
    who += "\n".join(log)
    assert client.joined() == fresh.joined(), who
    assert set(client.invites) == set(fresh.invites), who
    assert set(client.knocks) == set(fresh.knocks), who
    for room_id in fresh.joined():
        await same_room(client, fresh, room_id, who)


async def same_room(client: Client, fresh: Client, room_id: str, who: str) -> None:
    mine, theirs = client.rooms[room_id], fresh.rooms[room_id]
    if client.lazy:
        members = {k: v for k, v in mine.state.items() if k[0] == "m.room.member"}
        for key, event_id in members.items():
            assert theirs.state[key] == event_id, (key, who)
        assert without_members(mine.state) == without_members(theirs.state), who
    else:
        assert mine.state == theirs.state, who
    counted = {k: v for k, v in theirs.summary.items() if k != "m.heroes"}
    assert {k: mine.summary[k] for k in counted} == counted, who
    if "m.heroes" in theirs.summary:
        assert sorted(mine.summary["m.heroes"]) == sorted(theirs.summary["m.heroes"]), who
    assert mine.counts == theirs.counts, who
    whole = await fresh.person.history(room_id)
    seen = [e["event_id"] for e in reversed(whole)]
    if client.lazy:
        senders = {e["sender"] for e in whole if e["event_id"] in mine.last_timeline}
        assert senders <= {k[1] for k in mine.state if k[0] == "m.room.member"}, who
    if "types" in client.filter["room"]["timeline"]:
        seen = [e["event_id"] for e in reversed(whole) if e["type"] in MESSAGES]
    assert mine.timeline == seen, who


def without_members(state: dict[Any, str]) -> dict[Any, str]:
    return {k: v for k, v in state.items() if k[0] != "m.room.member"}


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_following_ends_where_starting_anew_begins(house: House, seed: int) -> None:
    chance = random.Random(seed)
    people = await house.people("ayna", "batyr", "cemal", "dursun")
    rooms = []
    for number, preset in enumerate(("public_chat", "private_chat", "public_chat")):
        levels = {p.id: 90 - 10 * i for i, p in enumerate(people) if p is not people[number]}
        if (version := chance.choice(("10", "11", "12"))) != "12":
            levels[people[number].id] = 100
        wish: Json = {"preset": preset, "room_version": version}
        wish["power_level_content_override"] = {"state_default": 0, "users": levels, "events": {}}
        rooms.append(await people[number].create_room(**wish))
    play = Play(people, rooms, chance)
    play.inside |= {(people[number].id, room) for number, room in enumerate(rooms)}
    clients = [c for person in people for c in clients_of(person, chance)]
    for step in range(STEPS):
        if step == STEPS // 2:
            house = await house.reopen()
            for person in people:
                person.house = house
        await play.act()
        for client in clients:
            if chance.random() < 0.02:
                await client.lose()
            if chance.random() < 0.08:
                await client.sync()
                play.log.append(f"sync {client.person} {client.state_after} {client.lazy}")
    for client in clients:
        await client.sync()
        await same(client, play.log)
