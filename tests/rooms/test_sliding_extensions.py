"""Sliding sync's extensions: messages to the device, keys, account data, receipts, typing."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.rooms.house import House, Json, Person, soon
from tests.rooms.sliding_client import (
    SlidingClient,
    all_rooms,
    ask,
    post,
    with_extensions,
)
from tests.rooms.test_sliding_positions import parked


async def send(sender: Person, receiver: Person, *texts: str) -> None:
    """Messages to a device, each in a request of its own."""
    for text in texts:
        body = {"messages": {receiver.id: {receiver.device_id: {"text": text}}}}
        await sender.must("PUT", "sendToDevice", "test.hello", f"txn{text}", body=body)


def texts(answer: Json) -> list[str]:
    found = answer["extensions"].get("to_device", {}).get("events", [])
    return [event["content"]["text"] for event in found]


def to_device(since: str | None = None, **more: Any) -> Json:
    wish: Json = {"enabled": True, **more}
    if since is not None:
        wish["since"] = since
    return {"extensions": {"to_device": wish}}


# --- to-device ------------------------------------------------------------------------------


async def test_messages_stay_until_the_client_has_them(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    first = await ask(ayna, to_device())
    assert texts(first) == []
    since = first["extensions"]["to_device"]["next_batch"]
    await send(batyr, ayna, "a", "b")
    one = await ask(ayna, to_device(since), first["pos"])
    assert texts(one) == ["a", "b"]
    again = await ask(ayna, to_device(since), first["pos"])
    assert texts(again) == ["a", "b"]
    fresh = await ask(ayna, to_device(), conn_id="x")
    assert texts(fresh) == ["a", "b"]
    newer = one["extensions"]["to_device"]["next_batch"]
    await send(batyr, ayna, "c")
    two = await ask(ayna, to_device(newer), one["pos"])
    assert texts(two) == ["c"]
    assert texts(await ask(ayna, to_device(since), one["pos"])) == ["c"]  # gone for good
    last = two["extensions"]["to_device"]["next_batch"]
    three = await ask(ayna, to_device(last), two["pos"])
    assert "to_device" not in three["extensions"]
    assert texts(await ask(ayna, to_device())) == []


async def test_messages_come_in_portions(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    sent = [str(n) for n in range(7)]
    await send(batyr, ayna, *sent)
    client = SlidingClient(ayna)
    got: list[str] = []
    for _ in range(4):
        answer = await soon(client.sync(to_device(limit=3), 1_000))
        got += texts(answer)
        if len(got) == len(sent):
            break
    assert got == sent


async def test_messages_of_one_request_are_not_parted(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    other = await ayna.log_in()
    await send(batyr, ayna, "first")
    body = {
        "messages": {
            ayna.id: {d.device_id: {"text": f"both{n}"} for n, d in enumerate((ayna, other))}
        }
    }
    await batyr.must("PUT", "sendToDevice", "test.hello", "both", body=body)
    await send(batyr, ayna, "last")
    client = SlidingClient(ayna)
    got = []
    for _ in range(5):
        got.append(texts(await soon(client.sync(to_device(limit=1), 100))))
    assert got[:3] == [["first"], ["both0"], ["last"]]


async def test_messages_wake(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    client = SlidingClient(ayna)
    await client.sync(to_device())
    waiting = asyncio.ensure_future(client.sync(to_device(), 30_000))
    await parked(house)
    await send(batyr, ayna, "x")
    assert texts(await soon(waiting)) == ["x"]


async def test_messages_are_for_those_who_ask(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    client = SlidingClient(ayna)
    await client.sync({})
    await send(batyr, ayna, "x")
    assert (await client.sync({}))["extensions"] == {}
    off = {"extensions": {"to_device": {"enabled": False}}}
    assert (await client.sync(off))["extensions"] == {}
    assert texts(await client.sync(to_device())) == ["x"]


async def test_a_since_that_was_never_given(house: House) -> None:
    ayna = await house.person("ayna")
    for since in ("x", "1.EAEE", "\0", "EAEE=", "?" * 200):
        answer = await post(ayna, to_device(since))
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM"), since


# --- keys -----------------------------------------------------------------------------------


async def test_key_counts_go_with_every_answer(house: House) -> None:
    ayna = await house.person("ayna")
    client = SlidingClient(ayna)
    body = with_extensions({}, "e2ee")
    answer = await client.sync(body)
    assert answer["extensions"]["e2ee"] == {
        "device_one_time_keys_count": {"signed_curve25519": 0},
        "device_unused_fallback_key_types": [],
    }
    key = {"key": "aaaa", "signatures": {ayna.id: {f"ed25519:{ayna.device_id}": "x"}}}
    keys = {"one_time_keys": {"signed_curve25519:AAAA": key}}
    await ayna.must("POST", "keys", "upload", body=keys)
    counts = (await client.sync(body))["extensions"]["e2ee"]["device_one_time_keys_count"]
    assert counts == {"signed_curve25519": 1}


async def test_a_room_that_begins_to_be_encrypted(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(ayna)
    body = with_extensions(all_rooms(5), "e2ee")
    await client.sync(body)
    await ayna.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    lists = (await client.sync(body))["extensions"]["e2ee"]["device_lists"]
    assert lists == {"changed": [batyr.id], "left": []}


async def test_whose_keys_to_look_at(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    secret = [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    room = await ayna.create_room(preset="public_chat", initial_state=secret)
    await batyr.join(room)
    client = SlidingClient(ayna)
    body = with_extensions({}, "e2ee")  # no list needed
    await client.sync(body)
    await cemal.join(room)
    lists = (await client.sync(body))["extensions"]["e2ee"]["device_lists"]
    assert lists == {"changed": [cemal.id], "left": []}
    await batyr.leave(room)
    lists = (await client.sync(body))["extensions"]["e2ee"]["device_lists"]
    assert lists == {"changed": [], "left": [batyr.id]}
    await cemal.log_in()
    keys = {
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "device_id": cemal.device_id,
        "user_id": cemal.id,
        "keys": {f"curve25519:{cemal.device_id}": "x", f"ed25519:{cemal.device_id}": "y"},
        "signatures": {cemal.id: {f"ed25519:{cemal.device_id}": "z"}},
    }
    waiting = asyncio.ensure_future(client.sync(body, 30_000))
    await parked(house)
    await cemal.must("POST", "keys", "upload", body={"device_keys": keys})
    lists = (await soon(waiting))["extensions"]["e2ee"]["device_lists"]
    assert lists["changed"] == [cemal.id]
    assert "device_lists" not in (await client.sync(body))["extensions"]["e2ee"]
    await ayna.leave(room)
    lists = (await client.sync(body))["extensions"]["e2ee"]["device_lists"]
    assert lists["left"] == [cemal.id]


# --- account data ---------------------------------------------------------------------------


async def put(person: Person, data_type: str, content: Json, room: str | None = None) -> None:
    rooms = ("rooms", room) if room is not None else ()
    await person.must("PUT", "user", person.id, *rooms, "account_data", data_type, body=content)


async def test_account_data(house: House) -> None:
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room() for _ in range(2)]
    await put(ayna, "test.a", {"n": 1})
    await put(ayna, "test.r", {"n": 1}, rooms[0])
    client = SlidingClient(ayna)
    body = with_extensions(all_rooms(1, last=0), "account_data")
    answer = await client.sync(body)
    assert client.data.keys() == {"test.a", "m.push_rules"}
    assert "rooms" not in answer["extensions"]["account_data"]  # that one is not in the window
    wide = with_extensions(all_rooms(1), "account_data")
    answer = await client.sync(wide)
    assert answer["extensions"]["account_data"] == {
        "rooms": {rooms[0]: [{"type": "test.r", "content": {"n": 1}}]}
    }
    waiting = asyncio.ensure_future(client.sync(body, 30_000))
    await parked(house)
    await put(ayna, "test.a", {"n": 2})
    answer = await soon(waiting)
    assert answer["extensions"]["account_data"] == {
        "global": [{"type": "test.a", "content": {"n": 2}}]
    }
    await put(ayna, "test.r", {"n": 2}, rooms[0])  # known, though outside the window
    answer = await client.sync(body)
    assert answer["extensions"]["account_data"]["rooms"].keys() == {rooms[0]}
    assert (await client.sync(body))["extensions"] == {}


# --- receipts -------------------------------------------------------------------------------


async def test_receipts(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    await cemal.join(room)
    old, new = await cemal.say(room, "old"), await cemal.say(room, "new")
    await ayna.read(room, old)
    await batyr.read(room, new)
    await batyr.read(room, new, "m.read.private")
    await cemal.read(room, old)
    client = SlidingClient(ayna)
    body = with_extensions(all_rooms(1), "receipts")
    await client.sync(body)
    assert client.receipts == {  # of the events shown, and one's own
        (room, ayna.id, "m.read", ""): old,
        (room, batyr.id, "m.read", ""): new,
    }
    waiting = asyncio.ensure_future(client.sync(body, 30_000))
    await parked(house)
    await cemal.read(room, new)
    event = (await soon(waiting))["extensions"]["receipts"]["rooms"][room]
    assert event["type"] == "m.receipt"
    assert event["content"].keys() == {new}
    assert (await client.sync(body))["extensions"] == {}


async def test_receipts_of_a_thread(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    root = await ayna.say(room, "root")
    relates = {"rel_type": "m.thread", "event_id": root}
    reply = await ayna.say(room, "reply", **{"m.relates_to": relates})
    client = SlidingClient(ayna)
    body = with_extensions(all_rooms(5), "receipts")
    await client.sync(body)
    await batyr.read(room, reply, thread_id=root)
    await client.sync(body)
    assert client.receipts[room, batyr.id, "m.read", root] == reply


async def test_older_events_bring_their_receipts(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    old = await ayna.say(room, "old")
    await batyr.read(room, old)
    await ayna.say(room, "new")
    client = SlidingClient(ayna)
    await client.sync(with_extensions(all_rooms(1), "receipts"))
    assert (room, batyr.id, "m.read", "") not in client.receipts
    await client.sync(with_extensions(all_rooms(5), "receipts"))
    assert client.receipts[room, batyr.id, "m.read", ""] == old


async def test_an_extension_may_be_for_one_room(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(2)]
    events = []
    for room in rooms:
        await batyr.join(room)
        events.append(await ayna.say(room))
        await batyr.read(room, events[-1])
    client = SlidingClient(ayna)
    body = all_rooms(1)
    body["extensions"] = {"receipts": {"enabled": True, "lists": [], "rooms": ["*"]}}
    assert (await client.sync(body))["extensions"] == {}
    await batyr.say(rooms[1])
    await batyr.read(rooms[1], await batyr.say(rooms[1]))
    assert (await client.sync(body))["extensions"] == {}
    one = {"timeline_limit": 1, "required_state": []}
    answer = await client.sync(body | {"room_subscriptions": {rooms[0]: one}})
    shown = answer["extensions"]["receipts"]["rooms"]
    assert shown.keys() == {rooms[0]}
    assert shown[rooms[0]]["content"].keys() == {events[0]}


async def test_who_left_is_told_of_no_receipts(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    event = await ayna.say(room)
    client = SlidingClient(batyr)
    body = with_extensions(all_rooms(1), "receipts", "typing")
    await client.sync(body)
    await ayna.kick(room, batyr)
    await ayna.read(room, event)
    await typing(ayna, room, True)
    assert (await client.sync(body))["extensions"] == {}
    assert (await client.sync(body))["extensions"] == {}


# --- typing ---------------------------------------------------------------------------------


async def typing(person: Person, room: str, is_typing: bool) -> None:
    body = {"typing": is_typing, "timeout": 60_000}
    await person.must("PUT", "rooms", room, "typing", person.id, body=body)


async def test_who_types(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client, other = SlidingClient(ayna), SlidingClient(ayna, "other")
    body = with_extensions(all_rooms(1), "typing")
    assert (await client.sync(body))["extensions"] == {}
    waiting = asyncio.ensure_future(client.sync(body, 30_000))
    await parked(house)
    await typing(batyr, room, True)
    expected = {"type": "m.typing", "content": {"user_ids": [batyr.id]}}
    assert (await soon(waiting))["extensions"]["typing"]["rooms"] == {room: expected}
    assert (await client.sync(body))["extensions"] == {}
    shown = (await other.sync(body))["extensions"]["typing"]["rooms"]
    assert shown == {room: expected}
    await typing(batyr, room, False)
    expected["content"] = {"user_ids": []}
    shown = (await client.sync(body))["extensions"]["typing"]["rooms"]
    assert shown == {room: expected}
