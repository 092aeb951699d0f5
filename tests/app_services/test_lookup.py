"""Questions on demand: users and rooms of a bridge, other networks, pings, directories."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.app_services.service import FakeService
from tests.app_services.world import World

GHOST = "@_irc_tea:kerwen.test"
ALIAS = "#_irc_tea:kerwen.test"


async def test_a_user_is_made_when_somebody_asks_them_in(both: World) -> None:
    ayna = await both.house.person("ayna")
    room = await ayna.create_room()

    async def make() -> None:
        await both.ghost("tea")

    both.service.users[GHOST] = make
    await ayna.must("POST", "rooms", room, "invite", body={"user_id": GHOST})
    assert both.service.asked == [GHOST]
    assert (await ayna.state(room, "m.room.member", GHOST))["membership"] == "invite"
    other = await ayna.create_room(invite=[GHOST])
    assert both.service.asked == [GHOST], "known by now"
    nobody = {"user_id": "@_irc_no:kerwen.test"}
    await ayna.refused(404, "M_NOT_FOUND", "POST", "rooms", other, "invite", body=nobody)


async def test_a_user_is_made_for_a_new_room_and_by_state(both: World) -> None:
    ayna = await both.house.person("ayna")

    async def make() -> None:
        await both.ghost("tea")

    both.service.users[GHOST] = make
    room = await ayna.create_room(invite=[GHOST])
    assert (await ayna.state(room, "m.room.member", GHOST))["membership"] == "invite"

    async def make_other() -> None:
        await both.ghost("other")

    both.service.users["@_irc_other:kerwen.test"] = make_other
    content = {"membership": "invite"}
    await ayna.set_state(room, "m.room.member", content, "@_irc_other:kerwen.test")


async def test_a_user_is_made_when_somebody_looks_at_them(both: World) -> None:
    ayna = await both.house.person("ayna")

    async def make() -> None:
        user_id = await both.ghost("tea")
        path = ("profile", user_id, "displayname")
        await both.must("PUT", *path, acting=user_id, body={"displayname": "Tea"})

    both.service.users[GHOST] = make
    assert (await ayna.must("GET", "profile", GHOST))["displayname"] == "Tea"
    await ayna.refused(404, "M_NOT_FOUND", "GET", "profile", "@_irc_no:kerwen.test")
    await ayna.refused(404, "M_NOT_FOUND", "GET", "profile", "@nobody:kerwen.test")
    assert "@nobody:kerwen.test" not in both.service.asked


async def test_a_room_is_made_when_somebody_joins_its_alias(both: World) -> None:
    ayna, batyr = await both.house.people("ayna", "batyr")

    async def make() -> None:
        body = {"preset": "public_chat", "room_alias_name": "_irc_tea"}
        await both.must("POST", "createRoom", body=body)

    both.service.rooms[ALIAS] = make
    joined = await asyncio.gather(*(p.must("POST", "join", ALIAS) for p in (ayna, batyr)))
    assert joined[0] == joined[1]
    assert both.service.asked == [ALIAS], "whoever asks meanwhile waits for the same answer"
    await ayna.refused(404, "M_NOT_FOUND", "POST", "join", "#_irc_no:kerwen.test")
    await ayna.refused(404, "M_NOT_FOUND", "GET", "directory", "room", "#other:kerwen.test")
    assert "#other:kerwen.test" not in both.service.asked


async def test_a_service_that_is_away_makes_nobody(world: World) -> None:
    ayna = await world.house.person("ayna")
    room = await ayna.create_room()
    world.service.over.set()
    for service in world.house.messenger.app_services.services.all:
        service.url = "http://127.0.0.1:1"
    await ayna.refused(404, "M_NOT_FOUND", "POST", "rooms", room, "invite", body={"user_id": GHOST})


# --- pings ------------------------------------------------------------------------------------


async def test_a_ping_goes_there_and_back(both: World) -> None:
    found = await both.must("POST", "appservice", "irc", "ping", v="v1", body={})
    assert found["duration_ms"] >= 0
    body = {"transaction_id": "meow"}
    await both.must("POST", "appservice", "irc", "ping", v="v1", body=body)
    assert both.service.pings == [{}, body]


async def test_pings_that_fail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.service.status = 403
    answer = await world.call("POST", "appservice", "irc", "ping", v="v1")
    assert answer.status == 502
    assert answer.json["errcode"] == "M_BAD_STATUS"
    assert answer.json["status"] == 403
    assert answer.json["body"] == '{"errcode": "M_FORBIDDEN"}'
    world.service.hangs = True
    monkeypatch.setattr("kerwen.app_services.client.PING_TIMEOUT_MS", 50)
    answer = await world.call("POST", "appservice", "irc", "ping", v="v1")
    assert (answer.status, answer.errcode) == (504, "M_CONNECTION_TIMEOUT")
    (service,) = world.house.messenger.app_services.services.all
    service.url = "http://127.0.0.1:1"
    answer = await world.call("POST", "appservice", "irc", "ping", v="v1")
    assert (answer.status, answer.errcode) == (502, "M_CONNECTION_FAILED")
    service.url = None
    answer = await world.call("POST", "appservice", "irc", "ping", v="v1")
    assert (answer.status, answer.errcode) == (400, "M_URL_NOT_SET")
    answer = await world.call("POST", "appservice", "other", "ping", v="v1")
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    ayna = await world.house.person("ayna")
    await ayna.refused(403, "M_FORBIDDEN", "POST", "appservice", "irc", "ping", v="v1")
    world.house.bugs.clear()  # the house says 502 and 504 itself here, as specified


# --- other networks -----------------------------------------------------------------------------

PROTOCOL = {
    "user_fields": ["network", "nickname"],
    "location_fields": ["network", "channel"],
    "icon": "mxc://kerwen.test/irc",
    "field_types": {},
    "instances": [{"desc": "Libera", "network_id": "libera", "fields": {"network": "libera"}}],
}


async def test_networks(both: World) -> None:
    ayna = await both.house.person("ayna")
    assert await ayna.must("GET", "thirdparty", "protocols") == {}
    both.house.clock.ms += 60_000
    both.service.third = {"protocol/irc": PROTOCOL}
    found = await ayna.must("GET", "thirdparty", "protocols")
    assert found["irc"]["user_fields"] == PROTOCOL["user_fields"]
    (instance,) = found["irc"]["instances"]
    assert instance["instance_id"] == "irc|libera"
    asked = len(both.service.asked)
    assert await ayna.must("GET", "thirdparty", "protocol", "irc") == found["irc"]
    assert len(both.service.asked) == asked, "the answer is good for a minute"
    await ayna.refused(404, "M_NOT_FOUND", "GET", "thirdparty", "protocol", "xmpp")


async def test_who_is_where(both: World) -> None:
    ayna = await both.house.person("ayna")
    place = {"alias": ALIAS, "protocol": "irc", "fields": {"channel": "#tea"}}
    person = {"userid": GHOST, "protocol": "irc", "fields": {"nickname": "tea"}}
    both.service.third = {
        "location/irc": [place],
        "user/irc": [person],
        "location": [place],
        "user": [person],
    }
    path = ("GET", "thirdparty")
    assert await ayna.must(*path, "location", "irc", channel="#tea") == [place]
    assert both.service.asked[-1].endswith("/thirdparty/location/irc?channel=%23tea")
    assert await ayna.must(*path, "user", "irc", nickname="tea") == [person]
    assert await ayna.must(*path, "location", alias=ALIAS) == [place]
    assert await ayna.must(*path, "user", userid=GHOST) == [person]
    await ayna.refused(404, "M_NOT_FOUND", *path, "user", "xmpp")
    await ayna.refused(404, "M_NOT_FOUND", *path, "user", userid="@batyr:kerwen.test")
    both.service.third = {"user/irc": {"no": "list"}}
    await ayna.refused(404, "M_NOT_FOUND", *path, "user", "irc")
    answer = await both.house.call(
        None, "GET", "/_matrix/client/v3/thirdparty/user/irc", query=f"access_token={ayna.token}"
    )
    assert answer.status == 404
    assert ayna.token not in both.service.asked[-1], "tokens of people stay here"


async def test_directories_of_networks(both: World) -> None:
    ayna = await both.house.person("ayna")
    own = await ayna.create_room(preset="public_chat", visibility="public", name="Own")
    bridged = await ayna.create_room(preset="public_chat", name="Bridged")
    path = ("PUT", "directory", "list", "appservice", "libera", bridged)
    await both.must(*path, body={"visibility": "public"})

    async def rooms(**body: Any) -> set[str]:
        found = await ayna.must("POST", "publicRooms", body=body)
        assert found["total_room_count_estimate"] == len(found["chunk"])
        return {room["room_id"] for room in found["chunk"]}

    assert await rooms() == {own}
    assert await rooms(third_party_instance_id="irc|libera") == {bridged}
    assert await rooms(third_party_instance_id="irc|other") == set()
    assert await rooms(include_all_networks=True) == {own, bridged}
    await both.must(*path, body={"visibility": "private"})
    assert await rooms(include_all_networks=True) == {own}
    answer = await both.call(*path, body={"visibility": "x"})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    answer = await both.call(*path[:-1], "!no:kerwen.test", body={"visibility": "public"})
    assert answer.status == 404
    await ayna.refused(403, "M_FORBIDDEN", *path, body={"visibility": "public"})


async def test_a_service_without_protocols_has_no_networks(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    world = await World.on_sqlite(sqlite_template, tmp_path, service, protocols=None)
    ayna = await world.house.person("ayna")
    assert await ayna.must("GET", "thirdparty", "protocols") == {}
    assert service.asked == []
    await world.close(database=True)
