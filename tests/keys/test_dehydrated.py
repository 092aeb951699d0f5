"""Dehydrated devices (MSC3814): put, asked for, sent to, read in batches, removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.keys.house import ALGORITHMS, House, Person

AYNA = Person("ayna", "PHONE")
SLEEPER = Person("ayna", "c2xlZXBlcg")
BATYR = Person("batyr", "B")
PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "m.dehydration.v2", "device_pickle": "cGlja2xl", "nonce": "bm9uY2U"}


@pytest.fixture
async def home(house: House) -> House:
    """Ayna with one device, Batyr with one."""
    return house


def sleeper(who: Person = SLEEPER, **more: Any) -> dict[str, Any]:
    """The body of a PUT."""
    keys = who.sign_with_device(
        {
            "user_id": who.user_id,
            "device_id": who.device_id,
            "algorithms": ALGORITHMS,
            "dehydrated": True,
            "keys": {
                f"curve25519:{who.device_id}": "c" * 43,
                f"ed25519:{who.device_id}": who.device.public_base64,
            },
        }
    )
    return {
        "device_id": who.device_id,
        "device_data": DATA,
        "device_keys": keys,
        "initial_device_display_name": "Dehydrated device",
        "one_time_keys": who.one_time_keys(3),
        **more,
    }


async def put(house: House, body: Any, token: str = AYNA.token) -> Any:
    return await house.call(token, "PUT", PATH, body)


async def send(house: House, count: int, device_id: str = SLEEPER.device_id) -> None:
    for n in range(count):
        messages = {AYNA.user_id: {device_id: {"n": n}}}
        path = f"/sendToDevice/m.room.encrypted/{device_id}{n}"
        answer = await house.call(BATYR.token, "PUT", path, {"messages": messages})
        assert answer.status == 200


async def read_all(house: House, limit: int) -> list[int]:
    """The contents of all batches."""
    found: list[int] = []
    path = f"{PATH}/{SLEEPER.device_id}/events?limit={limit}"
    begin = ""
    while True:
        answer = await house.call(AYNA.token, "GET", path + begin)
        assert answer.status == 200, answer.body
        found += [event["content"]["n"] for event in answer.json["events"]]
        if "next_batch" not in answer.json:
            return found
        begin = f"&from={answer.json['next_batch']}"


async def test_there_is_none_at_first(house: House) -> None:
    for method in ("GET", "DELETE"):
        answer = await house.call(AYNA.token, method, PATH)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


async def test_it_is_kept_and_its_keys_are_seen(house: House) -> None:
    answer = await put(house, sleeper())
    assert answer.json == {"device_id": SLEEPER.device_id}
    kept = await house.call(AYNA.token, "GET", PATH)
    assert kept.json == {"device_id": SLEEPER.device_id, "device_data": DATA}
    asked = {"device_keys": {AYNA.user_id: []}}
    keys = (await house.post(BATYR.token, "/keys/query", asked)).json["device_keys"]
    shown = keys[AYNA.user_id][SLEEPER.device_id]
    assert shown["dehydrated"] is True
    assert shown["unsigned"] == {"device_display_name": "Dehydrated device"}
    wanted = {AYNA.user_id: {SLEEPER.device_id: "signed_curve25519"}}
    claimed = await house.post(BATYR.token, "/keys/claim", {"one_time_keys": wanted})
    assert claimed.json["one_time_keys"][AYNA.user_id].keys() == {SLEEPER.device_id}


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
async def test_messages_come_in_batches_and_stay(house: House, limit: int) -> None:
    await put(house, sleeper())
    await send(house, 5)
    assert await read_all(house, limit) == list(range(5))
    assert await read_all(house, limit) == list(range(5))  # who was interrupted begins anew


async def test_the_first_draft_ends_with_a_batch_without_events(house: House) -> None:
    await put(house, sleeper())
    await send(house, 3)
    path = f"{PATH}/{SLEEPER.device_id}/events"
    first = (await house.post(AYNA.token, path, {})).json
    assert [event["content"]["n"] for event in first["events"]] == [0, 1, 2]
    last = (await house.post(AYNA.token, path, {"next_batch": first["next_batch"]})).json
    assert last == {"events": [], "next_batch": first["next_batch"]}


async def test_a_new_one_takes_the_place_of_the_old(house: House) -> None:
    await put(house, sleeper())
    await send(house, 2)
    other = Person("ayna", "b3RoZXI")
    assert (await put(house, sleeper(other))).status == 200
    kept = await house.call(AYNA.token, "GET", PATH)
    assert kept.json["device_id"] == other.device_id
    asked = {"device_keys": {AYNA.user_id: []}}
    keys = (await house.post(BATYR.token, "/keys/query", asked)).json["device_keys"]
    assert SLEEPER.device_id not in keys[AYNA.user_id]
    old = await house.call(AYNA.token, "GET", f"{PATH}/{SLEEPER.device_id}/events")
    assert (old.status, old.errcode) == (403, "M_FORBIDDEN")


async def test_the_same_id_again_begins_empty(house: House) -> None:
    await put(house, sleeper())
    await send(house, 2)
    assert (await put(house, sleeper())).status == 200
    assert await read_all(house, 10) == []


async def test_it_is_removed(house: House) -> None:
    await put(house, sleeper())
    answer = await house.call(AYNA.token, "DELETE", PATH)
    assert answer.json == {"device_id": SLEEPER.device_id}
    assert (await house.call(AYNA.token, "GET", PATH)).status == 404
    asked = {"device_keys": {AYNA.user_id: []}}
    keys = (await house.post(BATYR.token, "/keys/query", asked)).json["device_keys"]
    assert SLEEPER.device_id not in keys[AYNA.user_id]


async def test_nobody_reads_anothers(house: House) -> None:
    await put(house, sleeper())
    for device_id in (SLEEPER.device_id, BATYR.device_id):
        path = f"{PATH}/{device_id}/events"
        for method in ("GET", "POST"):
            answer = await house.call(BATYR.token, method, path, {})
            assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    own = await house.call(AYNA.token, "GET", f"{PATH}/{AYNA.device_id}/events")
    assert own.status == 403  # a device that is awake is no sleeping one
    assert (await house.call(BATYR.token, "GET", PATH)).status == 404


async def test_a_device_that_is_awake_is_not_overwritten(house: House) -> None:
    answer = await put(house, sleeper(AYNA))
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    assert (await house.call(AYNA.token, "GET", PATH)).status == 404


@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"device_id": 5}, "M_BAD_JSON"),
        ({"device_id": ""}, "M_INVALID_PARAM"),
        ({"device_id": "x" * 256}, "M_INVALID_PARAM"),
        ({"device_id": "other"}, "M_INVALID_PARAM"),
        ({"device_data": None}, "M_BAD_JSON"),
        ({"device_data": {}}, "M_BAD_JSON"),
        ({"device_data": {"algorithm": 5}}, "M_BAD_JSON"),
        ({"device_data": {"algorithm": "a", "x": "x" * 70_000}}, "M_TOO_LARGE"),
        ({"device_keys": None}, "M_MISSING_PARAM"),
        ({"device_keys": {}}, "M_INVALID_PARAM"),
        ({"initial_device_display_name": 5}, "M_BAD_JSON"),
        ({"one_time_keys": 5}, "M_BAD_JSON"),
    ],
)
async def test_bad_input(house: House, changed: dict[str, Any], errcode: str) -> None:
    answer = await put(house, {**sleeper(), **changed})
    assert (answer.status // 100, answer.errcode) == (4, errcode)
    assert (await house.call(AYNA.token, "GET", PATH)).status == 404


@pytest.mark.parametrize("token", ["x", "-1", "", "9" * 19, "٣"])
async def test_bad_tokens(house: House, token: str) -> None:
    await put(house, sleeper())
    path = f"{PATH}/{SLEEPER.device_id}/events"
    answer = await house.post(AYNA.token, path, {"next_batch": token})
    assert (answer.status, answer.errcode) == (400, "M_UNKNOWN_POS")


async def test_two_at_once_leave_one(house: House) -> None:
    others = [Person("ayna", f"sleeper{n}") for n in range(4)]
    answers = await asyncio.gather(*(put(house, sleeper(other)) for other in others))
    assert {answer.status for answer in answers} == {200}
    asked = {"device_keys": {AYNA.user_id: []}}
    keys = (await house.post(BATYR.token, "/keys/query", asked)).json["device_keys"]
    kept = (await house.call(AYNA.token, "GET", PATH)).json["device_id"]
    assert [name for name in keys[AYNA.user_id] if name.startswith("sleeper")] == [kept]
