"""Sliding sync (MSC4186): which rooms are told of, and of how much of each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rooms.house import House, Json, Person, bodies
from tests.rooms.sliding_client import (
    EVERYTHING,
    SlidingClient,
    all_rooms,
    ask,
)

OWN = [["m.room.member", "$ME"]]
CONFIG = "m.invite_permission_config"


def keys(block: Json) -> set[tuple[str, str]]:
    return {(e["type"], e["state_key"]) for e in block.get("required_state", [])}


# --- windows --------------------------------------------------------------------------------------


async def test_a_window_grows(house: House) -> None:
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room(name=str(n)) for n in range(6)]
    rooms.reverse()  # the newest first
    client = SlidingClient(ayna)
    answer = await client.sync(all_rooms(1, last=1))
    assert list(answer["rooms"]) == rooms[:2]
    assert answer["lists"]["all"]["count"] == 6
    answer = await client.sync(all_rooms(1, last=3))
    assert list(answer["rooms"]) == rooms[2:4]
    await ayna.say(rooms[5])
    answer = await client.sync(all_rooms(1, last=3))
    assert list(answer["rooms"]) == [rooms[5]]
    assert answer["rooms"][rooms[5]]["initial"] is True
    assert answer["rooms"][rooms[5]]["num_live"] == 1
    wide = {"lists": {"a": {"timeline_limit": 1, "required_state": []}}}  # without ranges: all
    assert list((await client.sync(wide))["rooms"]) == [rooms[4]]
    assert not (await client.sync(wide))["rooms"]
    none = {"lists": {"a": {"timeline_limit": 1, "required_state": [], "ranges": []}}}
    answer = await client.sync(none)
    assert (answer["lists"], answer["rooms"]) == ({"a": {"count": 6}}, {})


async def test_news_outside_the_window_come_when_the_room_is_in_it_again(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1, EVERYTHING))
    await batyr.say(rooms[0], "missed")
    await ayna.set_state(rooms[0], "m.room.name", {"name": "N"})
    await batyr.say(rooms[1], "seen")
    answer = await client.sync(all_rooms(1, EVERYTHING, last=0))
    assert answer["rooms"].keys() == {rooms[1]}
    await batyr.say(rooms[1], "seen too")
    answer = await client.sync(all_rooms(1, EVERYTHING, last=0))
    assert answer["rooms"].keys() == {rooms[1]}
    answer = await client.sync(all_rooms(1, EVERYTHING))
    block = answer["rooms"][rooms[0]]
    assert answer["rooms"].keys() == {rooms[0]}
    assert "initial" not in block
    assert block["name"] == "N"
    assert (block["limited"], block["num_live"]) == (True, 0)
    assert keys(block) == {("m.room.name", "")}


async def test_a_higher_limit_brings_older_events(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    for n in range(6):
        await ayna.say(room, str(n))
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1))
    block = (await client.sync(all_rooms(4)))["rooms"][room]
    assert bodies(block["timeline"]) == ["2", "3", "4", "5"]
    assert block["num_live"] == 0
    assert block["unstable_expanded_timeline"] is True
    assert "initial" not in block
    older = await ayna.messages(room, **{"from": block["prev_batch"]}, limit=1)
    assert bodies(older["chunk"]) == ["1"]
    assert not (await client.sync(all_rooms(4)))["rooms"]
    assert not (await client.sync(all_rooms(1)))["rooms"]
    await ayna.say(room, "6")
    await client.sync(all_rooms(1))
    sub = {"room_subscriptions": {room: {"timeline_limit": 3, "required_state": []}}}
    block = (await client.sync(all_rooms(1) | sub))["rooms"][room]
    assert bodies(block["timeline"]) == ["4", "5", "6"]
    assert client.rooms[room].timeline == (await ids(ayna, room))[-5:]


async def ids(person: Person, room: str) -> list[str]:
    return [event["event_id"] for event in await person.history(room, "f")]


async def test_a_higher_limit_brings_nothing_where_there_is_no_more(house: House) -> None:
    ayna = await house.person("ayna")
    await ayna.create_room()
    client = SlidingClient(ayna)
    await client.sync(all_rooms(30))
    assert not (await client.sync(all_rooms(60)))["rooms"]


async def test_more_required_state_is_told_at_once(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(name="N", topic="T")
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1, [["m.room.name", ""]]))
    more = [["m.room.name", ""], ["m.room.topic", ""], *OWN]
    block = (await client.sync(all_rooms(1, more)))["rooms"][room]
    assert keys(block) == {("m.room.topic", ""), ("m.room.member", ayna.id)}
    assert "timeline" not in block
    assert not (await client.sync(all_rooms(1, more)))["rooms"]
    assert not (await client.sync(all_rooms(1, [])))["rooms"]
    block = (await client.sync(all_rooms(1, EVERYTHING)))["rooms"][room]
    assert ("m.room.create", "") in keys(block)


async def test_rules_that_match_one_room_are_joined(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(name="N", topic="T")
    for n in range(4):
        await ayna.say(room, str(n))
    body = all_rooms(1, [["m.room.name", ""]])
    body["lists"]["b"] = {"timeline_limit": 2, "required_state": [["m.room.topic", ""]]}
    body["room_subscriptions"] = {room: {"timeline_limit": 3, "required_state": OWN}}
    answer = await ask(ayna, body)
    block = answer["rooms"][room]
    assert bodies(block["timeline"]) == ["1", "2", "3"]
    assert keys(block) == {
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.member", ayna.id),
    }
    assert answer["lists"] == {"all": {"count": 1}, "b": {"count": 1}}


# --- subscriptions --------------------------------------------------------------------------------


async def test_a_subscription_needs_no_list(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room()
    foreign = await batyr.create_room(preset="public_chat")
    one = {"timeline_limit": 2, "required_state": EVERYTHING}
    body = {"room_subscriptions": {room: one, foreign: one, "!none:x.y": one, "nonsense": one}}
    client = SlidingClient(ayna)
    assert (await client.sync(body))["rooms"].keys() == {room}
    await ayna.say(room, "x")
    assert bodies((await client.sync(body))["rooms"][room]["timeline"]) == ["x"]
    await ayna.say(room, "y")
    assert not (await client.sync({}))["rooms"]
    block = (await client.sync(body))["rooms"][room]
    assert bodies(block["timeline"]) == ["y"]
    assert "initial" not in block


# --- rooms that one is not in ---------------------------------------------------------------------


async def test_an_invitation_and_what_becomes_of_it(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    room = await ayna.create_room(name="Maşgala", topic="hidden", invite=[batyr.id])
    answer = await client.sync(all_rooms(5, EVERYTHING))
    block = answer["rooms"][room]
    assert block["initial"] is True
    assert block.keys() == {"initial", "invite_state", "bump_stamp"}
    shown = {e["type"]: e for e in block["invite_state"]}
    assert shown["m.room.name"]["content"] == {"name": "Maşgala"}
    assert "event_id" not in shown["m.room.name"]
    assert not (await client.sync(all_rooms(5, EVERYTHING)))["rooms"]
    await batyr.join(room)
    block = (await client.sync(all_rooms(5, EVERYTHING)))["rooms"][room]
    assert block["initial"] is True
    assert "invite_state" not in block
    assert block["name"] == "Maşgala"
    assert block["num_live"] >= 1


async def test_a_declined_invitation(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(invite=[batyr.id])
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    await ayna.say(room, "secret")
    await batyr.leave(room)
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert keys(block) == {("m.room.member", batyr.id)}
    assert [e["content"]["membership"] for e in block["timeline"]] == ["leave"]
    assert not (await client.sync(all_rooms()))["rooms"]
    assert room not in (await ask(batyr, all_rooms(), conn_id="x"))["rooms"]


async def test_who_wants_no_invitations_sees_none(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    await ayna.create_room(invite=[batyr.id])
    client = SlidingClient(batyr)
    assert len((await client.sync(all_rooms()))["rooms"]) == 1
    body = {"default_action": "block"}
    await batyr.must("PUT", "user", batyr.id, "account_data", CONFIG, body=body)
    assert (await client.sync(all_rooms()))["lists"]["all"]["count"] == 0
    assert not (await ask(batyr, all_rooms(), conn_id="x"))["rooms"]
    await batyr.must("PUT", "user", batyr.id, "account_data", CONFIG, body={})
    assert len((await ask(batyr, all_rooms(), conn_id="x"))["rooms"]) == 1


async def test_a_knock(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(room_version="10")
    await ayna.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    await batyr.must("POST", "knock", room)
    block = (await client.sync(all_rooms()))["rooms"][room]
    own = [e for e in block["invite_state"] if e["type"] == "m.room.member"]
    assert own[-1]["content"]["membership"] == "knock"


async def test_leaving(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    await ayna.say(room, "before")
    await batyr.leave(room)
    await ayna.say(room, "after")
    await ayna.set_state(room, "m.room.topic", {"topic": "after"})
    answer = await client.sync(all_rooms(5, EVERYTHING))
    block = answer["rooms"][room]
    assert bodies(block["timeline"]) == ["before"]
    assert block["timeline"][-1]["content"]["membership"] == "leave"
    assert keys(block) == {("m.room.member", batyr.id)}
    assert answer["lists"]["all"]["count"] == 0
    assert not (await client.sync(all_rooms(5, EVERYTHING)))["rooms"]
    assert not (await ask(batyr, all_rooms(), conn_id="x"))["rooms"]
    await batyr.join(room)
    assert (await client.sync(all_rooms()))["rooms"][room]["initial"] is True


@pytest.mark.parametrize("verb", ["kick", "ban"])
async def test_being_put_out(house: House, verb: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", name="N")
    await batyr.join(room)
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    await ayna.call("POST", "rooms", room, verb, body={"user_id": batyr.id})
    await ayna.say(room, "after")
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert keys(block) == {("m.room.member", batyr.id)}
    assert not (await client.sync(all_rooms()))["rooms"]
    fresh = (await ask(batyr, all_rooms(5, [["m.room.name", ""]]), conn_id="x"))["rooms"][room]
    assert fresh["initial"] is True
    assert keys(fresh) == {("m.room.name", ""), ("m.room.member", batyr.id)}
    assert fresh["timeline"][-1]["content"]["membership"] == {"kick": "leave", "ban": "ban"}[verb]
    assert "joined_count" not in fresh


async def test_a_ban_of_somebody_who_was_never_there(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    await ayna.ban(room, batyr)
    assert not (await client.sync(all_rooms()))["rooms"]
    assert not (await ask(batyr, all_rooms(), conn_id="x"))["rooms"]


async def test_history_from_before_ones_time_is_not_shown(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await ayna.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    await ayna.say(room, "before")
    await batyr.join(room)
    await ayna.say(room, "after")
    block = (await ask(batyr, all_rooms(50)))["rooms"][room]
    assert bodies(block["timeline"]) == ["after"]
    client = SlidingClient(batyr, "x")
    await client.sync(all_rooms(1))
    block = (await client.sync(all_rooms(50)))["rooms"][room]
    assert bodies(block["timeline"]) == ["after"]


# --- filters --------------------------------------------------------------------------------------


async def test_filters(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    plain = await ayna.create_room(name="Tekiz")
    secret = await ayna.create_room(
        name="Gizlin",
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1"}}],
    )
    await ayna.set_state(plain, "m.room.topic", {"topic": "x"})
    space = await ayna.create_room(name="Giňişlik", creation_content={"type": "m.space"})
    await ayna.set_state(space, "m.space.child", {"via": ["x"]}, plain)
    await ayna.set_state(space, "m.space.child", {}, secret)
    invited = await batyr.create_room(name="Çakylyk", invite=[ayna.id])
    await ayna.must("PUT", "user", ayna.id, "rooms", secret, "tags", "m.favourite", body={})

    async def rooms(**filters: Any) -> set[str]:
        found = set((await ask(ayna, all_rooms(filters=filters)))["rooms"])
        names = {plain: "plain", secret: "secret", space: "space", invited: "invited"}
        return {names[room] for room in found}

    encrypted = await encrypted_ones(ayna, {"plain": plain, "secret": secret, "space": space})
    every = {"plain", "secret", "space", "invited"}
    assert await rooms() == every
    assert "secret" in encrypted
    assert await rooms(is_encrypted=True) - {"invited"} == encrypted
    assert await rooms(is_encrypted=False) - {"invited"} == every - encrypted - {"invited"}
    assert await rooms(is_invite=True) == {"invited"}
    assert await rooms(is_invite=False) == every - {"invited"}
    assert await rooms(room_types=["m.space"]) == {"space"}
    assert await rooms(room_types=[None]) == every - {"space"}
    assert await rooms(not_room_types=["m.space"]) == every - {"space"}
    assert await rooms(spaces=[space]) == {"plain"}
    assert await rooms(spaces=[plain, "!none:x"]) == set()
    assert await rooms(tags=["m.favourite"]) == {"secret"}
    assert await rooms(not_tags=["m.favourite"]) == every - {"secret"}
    assert await rooms(room_name_like="gI") == {"secret", "space"}
    assert await rooms(room_name_like="çakyl") == {"invited"}
    assert await rooms(is_invite=True, room_types=["m.space"]) == set()


async def encrypted_ones(person: Person, rooms: dict[str, str]) -> set[str]:
    found = set()
    for name, room in rooms.items():
        answer = await person.call("GET", "rooms", room, "state", "m.room.encryption", "")
        if answer.status == 200:
            found.add(name)
    return found


async def test_filters_follow_what_happens(house: House) -> None:
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room(preset="public_chat", name=f"x{n}") for n in range(3)]
    client = SlidingClient(ayna)
    body = all_rooms(1, last=0, filters={"room_name_like": "x"})
    assert (await client.sync(body))["rooms"].keys() == {rooms[2]}
    await ayna.set_state(rooms[2], "m.room.name", {"name": "y"})
    answer = await client.sync(body)  # it goes from the list, and the next one comes in
    assert answer["rooms"].keys() == {rooms[1]}
    assert answer["lists"]["all"]["count"] == 2
    tagged = all_rooms(1, filters={"tags": ["u.a"]})
    await client.sync(tagged)
    await ayna.must("PUT", "user", ayna.id, "rooms", rooms[0], "tags", "u.a", body={})
    assert (await client.sync(tagged))["rooms"].keys() == {rooms[0]}
    await ayna.must("DELETE", "user", ayna.id, "rooms", rooms[0], "tags", "u.a")
    assert (await client.sync(tagged))["lists"]["all"]["count"] == 0
