"""The ways of asking that came before `/sync`."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.checked import Checked
from tests.rooms.house import House, Json, bodies, ids, soon

PEEK = {
    "type": "m.room.history_visibility",
    "state_key": "",
    "content": {"history_visibility": "world_readable"},
}


async def test_everything_at_once(both: House) -> None:
    c = Checked(both)
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", visibility="public")
    asked, left = await batyr.create_room(invite=[ayna.id]), await batyr.create_room()
    for text in ("bir", "iki", "üç"):
        await ayna.say(room, text)
    await batyr.invite(left, ayna)
    await ayna.join(left)
    await ayna.leave(left)
    answer = await c.do(ayna, "initialSync", query={"limit": 2})
    rooms = {r["room_id"]: r for r in answer["rooms"]}
    assert set(rooms) == {room, asked}
    assert rooms[room]["membership"] == "join"
    assert rooms[room]["visibility"] == "public"
    assert bodies(rooms[room]["messages"]["chunk"]) == ["iki", "üç"]
    assert {e["room_id"] for e in rooms[room]["state"]} == {room}
    assert "m.room.create" in {e["type"] for e in rooms[room]["state"]}
    assert rooms[asked]["membership"] == "invite"
    assert rooms[asked]["invite"]["content"]["membership"] == "invite"
    earlier = await ayna.messages(room, "b", **{"from": rooms[room]["messages"]["start"]})
    assert bodies(earlier["chunk"]) == ["bir"]
    more = await c.do(ayna, "initialSync", query={"archived": "true"})
    memberships = {r["room_id"]: r["membership"] for r in more["rooms"]}
    assert memberships == {room: "join", asked: "invite", left: "leave"}
    assert (await c.do(ayna, "getEvents", query={"from": answer["end"], "timeout": 0}))[
        "chunk"
    ] == []


async def test_events_as_they_come(both: House) -> None:
    c = Checked(both)
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    start = (await c.do(batyr, "getEvents", query={"timeout": 0}))["end"]
    wait = asyncio.create_task(c.do(batyr, "getEvents", query={"from": start, "timeout": 20000}))
    await asyncio.sleep(0)
    event_id = await ayna.say(room, "salam")
    answer = await soon(wait)
    assert ids(answer["chunk"]) == [event_id]
    assert answer["chunk"][0]["room_id"] == room
    assert answer["start"] == start
    again = await c.do(batyr, "getEvents", query={"from": answer["end"], "timeout": 0})
    assert again["chunk"] == []


async def test_asking_the_old_way_takes_nothing_from_a_device(house: House) -> None:
    c = Checked(house)
    ayna, batyr = await house.people("ayna", "batyr")
    start = (await c.do(batyr, "getEvents", query={"timeout": 0}))["end"]
    letters = {"messages": {batyr.id: {batyr.device_id: {"a": 1}}}}
    await c.do(ayna, "sendToDevice", letters, eventType="x.y")
    for _ in range(2):
        start = (await c.do(batyr, "getEvents", query={"from": start, "timeout": 0}))["end"]
    kept = (await batyr.sync())["to_device"]["events"]
    assert [e["content"] for e in kept] == [{"a": 1}]


async def test_one_event_wherever_it_is(both: House) -> None:
    c = Checked(both)
    ayna, batyr = await both.people("ayna", "batyr")
    event_id = await ayna.say(await ayna.create_room(), "salam")
    assert (await c.do(ayna, "getOneEvent", eventId=event_id))["content"]["body"] == "salam"
    await c.do(batyr, "getOneEvent", eventId=event_id, status=404)
    await c.do(ayna, "getOneEvent", eventId="$none", status=404)


async def test_a_look_into_one_room(both: House) -> None:
    c = Checked(both)
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(initial_state=[PEEK])
    shut = await ayna.create_room()
    await ayna.say(room, "bir")
    await ayna.say(room, "iki")
    mine = await c.do(ayna, "roomInitialSync", roomId=room)
    assert mine["membership"] == "join"
    assert mine["visibility"] == "private"
    seen = await c.do(batyr, "roomInitialSync", roomId=room)
    assert "membership" not in seen
    assert bodies(seen["messages"]["chunk"]) == ["bir", "iki"]
    assert "m.room.create" in {e["type"] for e in seen["state"]}
    await c.do(batyr, "roomInitialSync", roomId=shut, status=403)
    await c.do(batyr, "roomInitialSync", roomId="!none:kerwen.test", status=403)


async def test_peeking_goes_on_until_the_door_is_shut(both: House) -> None:
    c = Checked(both)
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(initial_state=[PEEK])
    peek: Json = {"room_id": room, "timeout": 0}
    start = (await c.do(batyr, "peekEvents", query=peek))["end"]
    wait = asyncio.create_task(
        c.do(batyr, "peekEvents", query=peek | {"from": start, "timeout": 20000})
    )
    await asyncio.sleep(0.01)
    await ayna.say(await ayna.create_room(), "elsewhere")
    event_id = await ayna.say(room, "salam")
    answer = await soon(wait)
    assert ids(answer["chunk"]) == [event_id]
    # who is in the room hears of it alone
    await ayna.say(await ayna.create_room(), "elsewhere")
    after = await c.do(ayna, "peekEvents", query=peek | {"from": answer["end"]})
    assert after["chunk"] == []
    await ayna.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    shut = await batyr.call("GET", "events", **peek)
    assert (shut.status, shut.errcode) == (403, "M_FORBIDDEN")


async def test_who_waits_is_answered_when_the_server_stops(house: House) -> None:
    c = Checked(house)
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(initial_state=[PEEK])
    wait = asyncio.create_task(c.do(batyr, "peekEvents", query={"room_id": room, "timeout": 20000}))
    await asyncio.sleep(0.01)
    for deed in house.messenger.at_stop:
        deed()
    assert (await soon(wait))["chunk"] == []


async def test_no_token(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(initial_state=[PEEK])
    answer = await batyr.call("GET", "events", room_id=room, **{"from": "nonsense"})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("path", "query", "status", "errcode"),
    [
        ("events", {"from": "nonsense"}, 400, "M_INVALID_PARAM"),
        ("events", {"timeout": "x"}, 400, "M_INVALID_PARAM"),
        ("events", {"room_id": "!none:kerwen.test", "timeout": 0}, 403, "M_FORBIDDEN"),
        ("initialSync", {"limit": "-1"}, 400, "M_INVALID_PARAM"),
        ("initialSync", {"archived": "ja"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_bad_questions(
    house: House, path: str, query: Json, status: int, errcode: str
) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(status, errcode, "GET", path, **query)
