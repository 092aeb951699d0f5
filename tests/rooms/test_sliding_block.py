"""Sliding sync: a room is made once for all who are in it, and is the same as made for one.

The same question is asked twice: as memory stands, and once memory was emptied.
"""

from __future__ import annotations

import random

import pytest

from kerwen.base.limits import SLIDING_ROOMS_BYTES
from tests.rooms.house import House, Json, Person
from tests.rooms.sliding_client import EVERYTHING, LAZILY, SlidingClient, all_rooms, ask

PHONE = [
    ["m.room.name", ""],
    ["m.room.topic", ""],
    ["m.room.create", ""],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
]
WISHES = [
    all_rooms(1, PHONE),
    all_rooms(4, PHONE),
    all_rooms(3, [["m.room.name", ""], ["m.room.member", "$LAZY"]]),
    all_rooms(0, [["m.room.member", "$ME"]]),
    all_rooms(2, [["x.own", "$ME"], ["m.room.topic", ""]]),
    all_rooms(2, EVERYTHING),
    all_rooms(2, LAZILY),
]


def told(answer: Json) -> dict[str, Json]:
    """The rooms of an answer, state in no particular order."""
    rooms: dict[str, Json] = answer["rooms"]
    for block in rooms.values():
        block["required_state"].sort(key=lambda e: e["event_id"])
        for event in (*block["required_state"], *block.get("timeline", [])):
            _drop_age(event)
    return rooms


def _drop_age(found: object) -> None:
    if isinstance(found, dict):
        found.pop("age", None)
        for value in found.values():
            _drop_age(value)


def forget(house: House) -> None:
    facts = house.messenger.sliding_sync._facts
    for kept in list(facts._kept.values()):
        kept.block = None
        kept.forget()


async def the_same(house: House, who: Person, wish: Json) -> dict[str, Json]:
    warm = told(await ask(who, wish))
    forget(house)
    assert warm == told(await ask(who, wish))
    return warm


async def test_members_are_shown_the_same_room_and_their_own_of_it(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    rooms = [
        await ayna.create_room(preset="public_chat", name="100 % %d", topic="%b"),
        await ayna.create_room(preset="public_chat"),
    ]
    for room in rooms:
        await batyr.join(room)
        await cemal.join(room)
        await batyr.say(room, "50 %s of it")
    for who in (ayna, batyr, cemal):
        shown = await the_same(house, who, all_rooms(2, PHONE))
        block = shown[rooms[0]]
        assert block["name"] == "100 % %d"
        assert block["timeline"][-1]["content"]["body"] == "50 %s of it"
        members = [e["state_key"] for e in block["required_state"] if e["type"] == "m.room.member"]
        assert sorted(members) == sorted({batyr.id, cemal.id, who.id})
        seen = "transaction_id" in block["timeline"][-1]["unsigned"]
        assert seen == (who is batyr)
        heroes = [hero["user_id"] for hero in shown[rooms[1]]["heroes"]]
        assert who.id not in heroes
        assert len(heroes) == 2
        assert (block["notification_count"] > 0) == (who is not batyr)


async def test_whom_one_ignores_is_no_matter_of_others(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    for who in (batyr, cemal):
        await who.join(room)
    await batyr.say(room, "noise")
    wish = all_rooms(1, PHONE)
    await the_same(house, ayna, wish)
    content = {"ignored_users": {batyr.id: {}}}
    path = ("user", cemal.id, "account_data", "m.ignored_user_list")
    await cemal.must("PUT", *path, body=content)
    assert told(await ask(ayna, wish))[room]["timeline"][0]["sender"] == batyr.id
    assert told(await ask(cemal, wish))[room]["timeline"][0]["sender"] == cemal.id
    assert told(await ask(ayna, wish))[room]["timeline"][0]["sender"] == batyr.id


async def test_words_that_were_taken_back_are_shown_to_nobody(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    event = await batyr.say(room, "oops")
    wish = all_rooms(2, PHONE)
    assert "oops" in str(await the_same(house, ayna, wish))
    await ask(ayna, wish)
    await batyr.redact(room, event)
    assert "oops" not in str(await the_same(house, ayna, wish))
    assert "oops" not in str(await the_same(house, batyr, wish))


async def test_reactions_are_told_with_what_they_are_to(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    event = await ayna.say(room, "one")
    wish = all_rooms(3, PHONE)
    await the_same(house, batyr, wish)
    relation = {"rel_type": "m.thread", "event_id": event}
    await batyr.send(room, "m.room.message", {"body": "two", "m.relates_to": relation})
    for who in (ayna, batyr):
        block = (await the_same(house, who, wish))[room]
        first = next(e for e in block["timeline"] if e["event_id"] == event)
        assert first["unsigned"]["m.relations"]["m.thread"]["count"] == 1


async def _act(house: House, chance: random.Random, people: list[Person], room: str) -> None:
    who, other = chance.sample(people, 2)
    deed = chance.randrange(9)
    if deed < 3 and await people[0].membership(room, who) == "join":
        await who.say(room, f"{deed} %")
    elif deed == 3:
        await people[0].set_state(
            room,
            chance.choice(["m.room.name", "m.room.topic"]),
            {"name": f"N{chance.random()}", "topic": "T %"},
        )
    elif deed == 4:
        await who.must("PUT", "profile", who.id, "displayname", body={"displayname": f"%{deed}"})
    elif deed == 5:
        await people[0].set_state(room, "x.own", {"a": deed}, people[0].id)
    elif deed == 6 and other is not people[0]:
        if await people[0].membership(room, other) == "join":
            await other.leave(room)
        else:
            await other.join(room)
    elif deed == 7:
        history = await people[0].history(room)
        said = [e for e in history if e["type"] == "m.room.message" and e["content"]]
        if said:
            await people[0].redact(room, chance.choice(said)["event_id"])
    else:
        change = chance.choice(["shared", "joined", "invited"])
        content = {"history_visibility": change}
        await people[0].set_state(room, "m.room.history_visibility", content)


@pytest.mark.parametrize("seed", range(4))
async def test_memory_changes_no_answer(house: House, seed: int) -> None:
    chance = random.Random(seed)
    people = await house.people("ayna", "batyr", "cemal", "dowran")
    rooms = [await people[0].create_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        for who in people[1:]:
            await who.join(room)
    clients = [SlidingClient(who, lazy=True) for who in people]
    for _ in range(25):
        await _act(house, chance, people, chance.choice(rooms))
        wish = chance.choice(WISHES)
        for who in chance.sample(people, 2):
            await ask(who, wish)  # whoever asks first makes it
        await the_same(house, chance.choice(people), wish)
        await chance.choice(clients).sync(wish)


async def test_what_is_kept_has_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerwen.rooms.actions import sliding_sync_facts

    assert SLIDING_ROOMS_BYTES >= 1024
    monkeypatch.setattr(sliding_sync_facts, "SLIDING_ROOMS_BYTES", 40_000)
    ayna, batyr = await house.people("ayna", "batyr")
    for number in range(12):
        room = await ayna.create_room(preset="public_chat", name=f"R{number}")
        await batyr.join(room)
        await ayna.say(room, "a" * 1_000)
    facts = house.messenger.sliding_sync._facts
    for who in (ayna, batyr, ayna):
        answer = await ask(who, all_rooms(5, PHONE))
        assert len(answer["rooms"]) == 12
        assert facts._bytes <= 40_000
        assert facts._bytes == sum(kept.bytes for kept in facts._kept.values())
