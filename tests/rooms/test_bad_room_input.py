"""Any nonsense, at every route of rooms: a specified refusal, never a 500, never a hang."""

from __future__ import annotations

import asyncio
import itertools
from urllib.parse import quote

import pytest

from kerwen.api.http import Route
from tests.rooms.house import House, Person

ROOM_AREAS = (
    "RoomsApi",
    "RoomEventsApi",
    "ReceiptsApi",
    "SyncApi",
    "RoomDirectoryApi",
    "RoomUpkeepApi",
    "RelationsApi",
)
PARTS = [  # percent-encoded already
    "",
    "x",
    "!x:y",
    "$x",
    "%23x:y",
    "@x:y",
    "%00",
    "a%00b",
    "%FF",
    "%C0%80",
    "%ED%A0%80",
    "%F0%9F%98%80",
    "..",
    "%2F",
    "a" * 3000,
    "%25s%7B%7D",
    "'%22;--",
]
BODIES = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"{}",
    b'{"a":"\\ud800"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'{"a":-1e999}',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b"[" * 100_000,
    b'{"a":1,"a":2}',
    b"{" + b",".join(b'"k%d":1' % n for n in range(5000)) + b"}",
    b'{"":{"":[null,true,false,0,-0,"\\u0000"]}}',
]
FIELDS = [
    "user_id",
    "reason",
    "room_id",
    "visibility",
    "room_alias_name",
    "name",
    "topic",
    "invite",
    "invite_3pid",
    "room_version",
    "creation_content",
    "initial_state",
    "preset",
    "is_direct",
    "power_level_content_override",
    "membership",
    "typing",
    "timeout",
    "thread_id",
    "m.read",
    "m.fully_read",
    "m.read.private",
    "new_version",
    "additional_creators",
    "limit",
    "since",
    "filter",
    "third_party_signed",
    "redacts",
    "m.relates_to",
    "body",
    "alias",
    "alt_aliases",
    "events",
    "users",
    "ban",
    "join_rule",
    "allow",
    "history_visibility",
    "displayname",
    "avatar_url",
    "url",
]
VALUES = [
    b"null",
    b"true",
    b"5",
    b"-1",
    b"1.5",
    b'"x"',
    b'""',
    b'"\\u0000"',
    b'"' + b"y" * 3000 + b'"',
    b"[]",
    b"[null]",
    b"[[[]]]",
    b"{}",
    b'{"x":{}}',
    b"9007199254740993",
    b"[1,2.5]",
]
QUERIES = [
    "dir=b&from=%FF",
    "dir=x",
    "dir=b&limit=%00",
    "dir=b&limit=" + "9" * 40,
    "dir=b&limit=-" + "9" * 18,
    "dir=b&limit=\u0663",
    "dir=b&filter=" + quote('{"types":[null]}'),
    "dir=b&filter=" + quote('{"limit":1e3}'),
    "dir=b&filter=" + quote("[" * 3000),
    "dir=b&from=t" + "9" * 18 + "&to=t-" + "9" * 18,
    "dir=f&from=t-9223372036854775808",
    "dir=b&from=t9223372036854775807",
    "since=" + "A" * 5000,
    "filter=%7B&filter=%7B%7D",
    "ts=-9007199254740991&dir=b",
    "ts=9007199254740991&dir=f",
    "ts=1e5",
    "at=t99999&membership=join",
    "at=t-5",
    "user_id=%FF&from=%00",
    "&&&===&a=b;c=d",
    "access_token=",
    "a=1&" * 500,
    "server=%00&since=n1_1",
    "format=%00",
    "include=participated&from=t0&limit=1",
    "recurse=true&from=t1&to=t5",
]


def routes_of(house: House) -> list[Route]:
    found = []
    for area in house.messenger.areas:
        if type(area).__name__ in ROOM_AREAS:
            found += area.routes()
    assert len(found) > 45
    return [r for r in found if not r.path.endswith("/sync") or r.method == "GET"]


async def check(who: Person, method: str, path: str, body: bytes, query: str = "") -> int:
    answer = await asyncio.wait_for(
        who.house.call(who.token, method, path, body, quote(query, safe="%=&;")), 20
    )
    where = (method, path[:300], body[:200], query[:200], answer)
    assert answer.status < 500, where
    if answer.status >= 400:
        assert answer.json["errcode"].startswith("M_"), where
        assert answer.json["error"], where
    return answer.status


def filled(route: Route, parts: dict[str, str], rest: str) -> str:
    path = []
    for part in route.path.split("/"):
        path.append(parts.get(part[1:-1], rest) if part.startswith("{") else part)
    return "/".join(path)


async def own_room(who: Person) -> dict[str, str]:
    """Parts that fit a room of one's own."""
    room = await who.create_room(preset="public_chat", room_alias_name="own")
    said = await who.say(room)
    alias = quote("#own:kerwen.test", safe="")
    fitting = {"room_id": room, "room": room, "event_id": said, "alias": alias}
    fitting |= {"user_id": who.id, "receipt_type": "m.read", "type": "test.type"}
    fitting |= {"rel_type": "m.thread", "event_type": "m.room.message"}
    return {k: quote(v, safe="%") for k, v in fitting.items()}


async def test_parts_of_paths(house: House) -> None:
    ayna = await house.person("ayna")
    fitting = await own_room(ayna)
    for route in routes_of(house):
        if route.path.endswith("/createRoom"):
            continue
        names = [p[1:-1] for p in route.path.split("/") if p.startswith("{")]
        for name, part in itertools.product(names, PARTS):
            path = filled(route, fitting | {name: part}, "t1")
            await check(ayna, route.method, path, b"{}", "dir=b&ts=1&user_id=@x:y")


async def test_bodies(house: House) -> None:
    ayna = await house.person("ayna")
    for route in routes_of(house):
        if route.method not in ("PUT", "POST"):
            continue
        fitting = await own_room_again(ayna)
        for number, body in enumerate(BODIES):
            status = await check(ayna, route.method, filled(route, fitting, f"t{number}"), body)
            if body in (b"{", b"\xff\xfe", b"[" * 100_000):
                assert status in (400, 403), (route.path, body[:20], status)


async def own_room_again(who: Person) -> dict[str, str]:
    alias = "directory/room/" + quote("#own:kerwen.test", safe="")
    await who.house.call(who.token, "DELETE", f"/_matrix/client/v3/{alias}")
    return await own_room(who)


@pytest.mark.parametrize("part", range(4))
async def test_fields(house: House, part: int) -> None:
    ayna = await house.person("ayna")
    for number, route in enumerate(routes_of(house)):
        if route.method not in ("PUT", "POST") or number % 4 != part:
            continue
        fitting = await own_room_again(ayna)
        for count, (field, value) in enumerate(itertools.product(FIELDS, VALUES)):
            body = b'{"%b":%b}' % (field.encode(), value)
            await check(ayna, route.method, filled(route, fitting, f"t{count}"), body)


@pytest.mark.parametrize(
    "kind",
    [
        "member",
        "power_levels",
        "join_rules",
        "history_visibility",
        "canonical_alias",
        "name",
        "topic",
        "encryption",
        "tombstone",
        "server_acl",
        "pinned_events",
        "guest_access",
        "third_party_invite",
        "aliases",
        "redaction",
    ],
)
async def test_fields_of_state(house: House, kind: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    for event_type, key in ((f"m.room.{kind}", ""), (f"m.room.{kind}", batyr.id)):
        path = f"/_matrix/client/v3/rooms/{room}/state/{event_type}/{quote(key)}"
        for field, value in itertools.product(FIELDS, VALUES):
            await check(ayna, "PUT", path, b'{"%b":%b}' % (field.encode(), value))
    # whatever was set, everybody can still look
    for who in (ayna, batyr):
        await who.sync()
        await who.call("GET", "rooms", room, "messages", dir="b")
        await who.call("GET", "publicRooms")
        await who.call("GET", "room_summary", room, v="v1")
        await who.call("PUT", "rooms", room, "send", "m.room.message", "z", body={"body": "x"})
    assert not house.bugs


async def test_queries(house: House) -> None:
    ayna = await house.person("ayna")
    fitting = await own_room(ayna)
    for route in routes_of(house):
        if route.method == "GET":
            for query in QUERIES:
                await check(ayna, "GET", filled(route, fitting, "x"), b"", query)


async def test_rooms_of_others(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room()
    said = await ayna.say(room)
    before = await ayna.history(room)
    fitting = {"room_id": room, "room": room, "event_id": said, "type": "test.type"}
    fitting |= {"receipt_type": "m.read", "user_id": batyr.id}
    bodies = (b"{}", b'{"user_id":"%b","reason":"x"}' % ayna.id.encode(), b'{"typing":true}')
    for route in routes_of(house):
        if "{room_id}" not in route.path and "{room}" not in route.path:
            continue
        for body in bodies:
            path = filled(route, {k: quote(v) for k, v in fitting.items()}, "x")
            status = await check(batyr, route.method, path, body, "dir=b&ts=1")
            open_to_all = "/directory/list/" in path or path.endswith("/report")
            assert status >= 400 or (open_to_all and route.method != "PUT"), path
    assert await ayna.history(room) == before or len(await ayna.history(room)) == len(before)
