"""Many at once: who speaks while others listen, and what becomes of it."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.rooms.client import Client
from tests.rooms.house import House, Person, ids
from tests.rooms.test_sync_property import Play, clients_of, same

MESSAGES = 20


async def listen(client: Client, room: str, count: int) -> None:
    """Follows a room until so many events of it are known."""
    for _ in range(500):
        known = client.rooms.get(room)
        if known is not None and len(known.timeline) >= count:
            return
        await client.sync(timeout=5_000)
    raise AssertionError("it never came")


async def test_everybody_hears_everything_once_and_in_one_order(both: House) -> None:
    people = await both.people("ayna", "batyr", "cemal", "dursun")
    levels = {"state_default": 0, "events": {}}
    room = await people[0].create_room(preset="public_chat", power_level_content_override=levels)
    for person in people[1:]:
        await person.join(room)
    before = len(await people[0].history(room))
    whole = before + len(people) * MESSAGES * 2

    async def speak(who: Person) -> None:
        for number in range(MESSAGES):
            await who.say(room, f"{who} {number}")
            await who.set_state(room, "test.state", {"n": number, "by": who.id}, "k")

    clients = [Client(p, {"room": {"timeline": {"limit": n + 1}}}) for n, p in enumerate(people)]
    clients += [Client(p, state_after=True) for p in people[:2]]
    await asyncio.wait_for(
        asyncio.gather(*(listen(client, room, whole) for client in clients), *map(speak, people)),
        60,
    )
    order = ids(await people[0].history(room, "f"))
    assert len(order) == len(set(order)) == whole
    for client in clients:
        assert client.rooms[room].timeline == order
    (said,) = {c.rooms[room].state["test.state", "k"] for c in clients}
    assert said == next(
        e["event_id"] for e in await people[0].history(room) if e["type"] == "test.state"
    )


@pytest.mark.parametrize("seed", range(2))
async def test_acting_together_ends_in_one_truth(both: House, seed: int) -> None:
    chance = random.Random(seed)
    people = await both.people("ayna", "batyr", "cemal", "dursun")
    rooms = []
    for person in people[:2]:
        levels = {p.id: 60 - 10 * n for n, p in enumerate(people) if p is not person}
        content = {"state_default": 0, "users": levels, "events": {}}
        rooms.append(
            await person.create_room(preset="public_chat", power_level_content_override=content)
        )
    play = Play(people, rooms, chance)
    play.inside |= {(people[n].id, room) for n, room in enumerate(rooms)}
    clients = [c for person in people for c in clients_of(person, chance)]
    for _ in range(12):
        deeds = [play.act() for _ in range(6)]
        chosen = chance.sample(clients, 6)
        await asyncio.gather(*deeds, *(client.sync() for client in chosen))
    for client in clients:
        await client.sync()
        await same(client, play.log)


async def test_a_crowd_joins_at_once(both: House) -> None:
    people = await both.people(*(f"p{n}" for n in range(12)))
    room = await people[0].create_room(preset="public_chat")
    since = await people[0].now()
    await asyncio.gather(*(person.join(room) for person in people[1:]))
    found = await people[0].must("GET", "rooms", room, "joined_members")
    assert set(found["joined"]) == {p.id for p in people}
    block = (await people[0].sync(since))["rooms"]["join"][room]
    assert block["summary"]["m.joined_member_count"] == 12
    await asyncio.gather(*(person.leave(room) for person in people[1:]))
    found = await people[0].must("GET", "rooms", room, "joined_members")
    assert set(found["joined"]) == {people[0].id}


async def test_an_alias_for_which_many_ask(both: House) -> None:
    people = await both.people("ayna", "batyr", "cemal")
    answers = await asyncio.gather(
        *(p.call("POST", "createRoom", body={"room_alias_name": "one"}) for p in people)
    )
    assert sorted(a.status for a in answers) == [200, 400, 400]
