"""Whatever a client sends, it is answered or refused; never is it our fault."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.rooms.house import House
from tests.rooms.sliding_client import PATH, all_rooms, ask, post
from tests.rooms.test_sliding import BAD


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ("timeout=x", "M_INVALID_PARAM"),
        ("timeout=-1", "M_INVALID_PARAM"),
        ("timeout=1.5", "M_INVALID_PARAM"),
        ("timeout=" + "9" * 30, "M_INVALID_PARAM"),
        ("set_presence=sleepy", "M_INVALID_PARAM"),
        ("pos=x", "M_UNKNOWN_POS"),
        ("pos=%00", "M_UNKNOWN_POS"),
        ("pos=%ff", "M_UNKNOWN_POS"),
        ("pos=" + "1" * 5000, "M_UNKNOWN_POS"),
    ],
)
async def test_bad_queries(house: House, query: str, errcode: str) -> None:
    ayna = await house.person("ayna")
    answer = await house.call(ayna.token, "POST", PATH, {}, query)
    assert (answer.status, answer.errcode) == (400, errcode)


@pytest.mark.parametrize("query", ["timeout=5", "set_presence=offline", "pos=", "timeout=", "x=y"])
async def test_good_queries(house: House, query: str) -> None:
    ayna = await house.person("ayna")
    answer = await house.call(ayna.token, "POST", PATH, {}, query)
    assert answer.status == (400 if query == "timeout=" else 200)


async def test_bad_bodies(house: House) -> None:
    ayna = await house.person("ayna")
    for body in BAD:
        answer = await house.call(ayna.token, "POST", PATH, body)
        assert answer.status == 400, (body, answer)
        assert answer.errcode in ("M_INVALID_PARAM", "M_NOT_JSON"), (body, answer)


async def test_a_body_that_is_too_large(house: House) -> None:
    ayna = await house.person("ayna")
    answer = await house.call(ayna.token, "POST", PATH, b" " * 300_000)
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")


async def test_nobody_syncs_without_a_token(house: House) -> None:
    answer = await house.call(None, "POST", PATH, {})
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")


WORDS = ["*", "", "$ME", "$LAZY", "m.room.member", "m.room.name", "a", "\0", "é", "!r:x", "x" * 300]
FIELDS = [
    "conn_id",
    "txn_id",
    "lists",
    "room_subscriptions",
    "extensions",
    "ranges",
    "timeline_limit",
    "required_state",
    "filters",
    "is_dm",
    "is_encrypted",
    "is_invite",
    "spaces",
    "tags",
    "not_tags",
    "room_types",
    "not_room_types",
    "room_name_like",
    "to_device",
    "e2ee",
    "account_data",
    "receipts",
    "typing",
    "enabled",
    "since",
    "limit",
    "rooms",
    "lists",
]


def anything(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value made of the words of the protocol."""
    kind = chance.randrange(8 if depth < 6 else 5)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, 1, 20, -1, 2**40, 1.5])
    if kind <= 4:
        return chance.choice(WORDS)
    size = chance.randrange(4)
    if kind == 5:
        return [anything(chance, depth + 1) for _ in range(size)]
    return {chance.choice(FIELDS + WORDS): anything(chance, depth + 1) for _ in range(size)}


def likely(chance: random.Random, rooms: list[str]) -> Any:
    """A request that is nearly right, with one place spoilt."""
    body = all_rooms(
        chance.randrange(30), [[chance.choice(WORDS[:7]), chance.choice(WORDS[:7])]], 5
    )
    body["lists"]["all"]["filters"] = {
        chance.choice(["tags", "spaces", "room_types", "not_tags"]): [chance.choice(WORDS[:10])],
        chance.choice(["is_dm", "is_encrypted", "is_invite"]): chance.random() < 0.5,
    }
    body["room_subscriptions"] = {
        chance.choice([*rooms, *WORDS[:10]]): {"timeline_limit": 1, "required_state": []}
    }
    body["extensions"] = {
        name: {"enabled": True, "lists": [chance.choice(WORDS[:8])], "rooms": ["*"]}
        for name in ("account_data", "receipts", "typing")
    }
    body["extensions"]["to_device"] = {"enabled": True, "limit": chance.randrange(3)}
    if chance.random() < 0.5:
        place = body
        while isinstance(place, dict) and place:
            name = chance.choice(list(place))
            if chance.random() < 0.4 or not isinstance(place[name], dict):
                place[name] = anything(chance, 3)
                break
            place = place[name]
    return body


@pytest.mark.parametrize("seed", range(3))
async def test_anything_is_answered_or_refused(house: House, seed: int) -> None:
    chance = random.Random(seed)
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat", name="a") for _ in range(2)]
    await batyr.join(rooms[0])
    pos = (await ask(ayna, all_rooms()))["pos"]
    granted = 0
    for number in range(300):
        if number % 20 == 0:
            await batyr.say(rooms[0], str(number))
        body = likely(chance, rooms) if chance.random() < 0.8 else anything(chance)
        raw = json.dumps(body).encode()
        answer = await post(ayna, raw, pos if chance.random() < 0.7 else None)
        assert answer.status in (200, 400), (body, answer)
        if answer.status == 200:
            granted += 1
            assert answer.json.keys() >= {"pos", "lists", "rooms", "extensions"}
            if not (isinstance(body, dict) and body.get("conn_id")):
                pos = answer.json["pos"]
    assert granted > 50
