"""No way exists to enter an account, to read a room or a file, or to replace a key.

Each route of the router that is an administrator's stands in the table below, which people have
reviewed, with what it may touch. A new route fails here until somebody has looked at it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from kerwen.api.admin.table import BASE
from kerwen.api.http import Access
from kerwen.storage.sql import sql
from tests.admin.desk import Desk, desk_of, download, upload
from tests.rooms.house import House, Person

NUMBERS = "names, standings and numbers of accounts"
STANDING = "the standing of an account"
ROOMS = "room ids and numbers; aliases, which are public; how a room is run"
REMOVED = "messages, which are removed unread"
WAITS = "a new password that waits; no key"
LOST = "the end of second factors, which waits; no key"
REPORTS = "reports, with the words of those who report"
GONE = "files, which are deleted unread"
NUMBER = "a number of the account"
REVIEWED = {
    "GET openapi.json": "nothing but the table of routes",
    "POST confirm": "the caller's own session",
    "GET accounts": NUMBERS,
    "POST accounts": "a new account and its first password",
    "GET accounts/{userId}": NUMBERS,
    "GET accounts/{userId}/lock": STANDING,
    "PUT accounts/{userId}/lock": STANDING,
    "GET accounts/{userId}/suspend": STANDING,
    "PUT accounts/{userId}/suspend": STANDING,
    "POST accounts/{userId}/deactivate": "an account with all that is kept for it, the words it"
    " said if they are erased",
    "GET accounts/{userId}/devices": "where an account is logged in: ids, times, network addresses",
    "DELETE accounts/{userId}/devices/{deviceId}": "a device, its tokens and keys",
    "GET accounts/{userId}/quota": NUMBERS,
    "PUT accounts/{userId}/quota": NUMBER,
    "GET accounts/{userId}/limits": NUMBERS,
    "PUT accounts/{userId}/limits": NUMBER,
    "GET accounts/{userId}/password_reset": "two times",
    "POST accounts/{userId}/password_reset": WAITS,
    "DELETE accounts/{userId}/password_reset": WAITS,
    "POST accounts/{userId}/second_factor_reset": LOST,
    "DELETE accounts/{userId}/second_factor_reset": LOST,
    "GET accounts/{userId}/media": "ids, types, sizes and times of files; no names, no bytes",
    "DELETE accounts/{userId}/media": GONE,
    "GET registration_tokens": "invitations",
    "POST registration_tokens": "invitations",
    "DELETE registration_tokens/{token}": "invitations",
    "GET rooms": ROOMS,
    "GET rooms/{roomId}": ROOMS,
    "PUT rooms/{roomId}/block": "whether a room is shut",
    "POST rooms/{roomId}/purge_history": REMOVED,
    "POST rooms/{roomId}/shut_down": REMOVED,
    "GET removals": ROOMS,
    "DELETE media/{serverName}/{mediaId}": GONE,
    "PUT media/{serverName}/{mediaId}/quarantine": "whether a file is given out",
    "GET statistics": "numbers of the whole house",
    "GET reports": REPORTS,
    "DELETE reports/{reportNo}": REPORTS,
    "POST notices": "a message of the server's own",
    "GET mail_reports": "reports of other servers: numbers, network addresses, no message",
    "GET audit": "the audit log, which holds no content",
}
# Of the specification: CS #server-administration, #account-moderation
SPECIFIED = {
    ("GET", "/_matrix/client/v1/admin/lock/{userId}"),
    ("PUT", "/_matrix/client/v1/admin/lock/{userId}"),
    ("GET", "/_matrix/client/v1/admin/suspend/{userId}"),
    ("PUT", "/_matrix/client/v1/admin/suspend/{userId}"),
    ("GET", "/_matrix/client/v3/admin/whois/{userId}"),
}
# What cannot be undone asks for a password shown lately
CONFIRMED = {
    "POST accounts/{userId}/deactivate",
    "DELETE accounts/{userId}/media",
    "DELETE media/{serverName}/{mediaId}",
    "POST rooms/{roomId}/purge_history",
    "POST rooms/{roomId}/shut_down",
}


def name(method: str, path: str) -> str:
    return f"{method} {path.removeprefix(BASE + '/')}"


def test_every_admin_route_was_reviewed(house: House) -> None:
    lines = house.messenger.admin.make_table().lines
    assert {name(line.method, line.path): line.touches for line in lines} == REVIEWED
    assert {name(line.method, line.path) for line in lines if line.confirmed} == CONFIRMED
    ours = {(line.method, line.path) for line in lines}
    found = {
        (route.method, route.path)
        for route in house.router.routes
        if route.access is Access.ADMIN or "/admin" in route.path or route.of_others
    }
    assert found == ours | SPECIFIED


def test_the_description_is_of_all_routes(house: House) -> None:
    lines = house.messenger.admin.make_table().lines
    page = house.messenger.admin.make_table()._describe()
    told = orjson.loads(page)
    assert told["openapi"] == "3.1.0"
    described = {(m.upper(), path) for path, ways in told["paths"].items() for m in ways}
    assert described == {(line.method, line.path) for line in lines}
    operations = [way for ways in told["paths"].values() for way in ways.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)
    for path, ways in told["paths"].items():
        for way in ways.values():
            named = {p["name"] for p in way["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))
    refs = set(re.findall(r'"#/components/schemas/(\w+)"', page.decode()))
    assert refs <= told["components"]["schemas"].keys()


async def test_nobody_else_may(house: House) -> None:
    ayna = await house.person("ayna")
    desk = await desk_of(house)
    for line in house.messenger.admin.make_table().lines:
        if line.access is Access.ANYONE:
            continue
        path = re.sub(r"\{\w+\}", "x", line.path)
        nobody = await house.call(None, line.method, path, {})
        assert (nobody.status, nobody.errcode) == (401, "M_MISSING_TOKEN"), line
        other = await house.call(ayna.token, line.method, path, {})
        assert (other.status, other.errcode) == (403, "M_FORBIDDEN"), line
        # proxies write addresses down: a token there opens nothing
        query = f"access_token={desk.person.token}"
        written = await house.call(None, line.method, path, {}, query)
        assert (written.status, written.errcode) == (401, "M_MISSING_TOKEN"), line


async def test_a_suspended_administrator_may_nothing(house: House) -> None:
    desk = await desk_of(house)
    await house.messenger.accounts.moderate.set_admin(desk.person.id, False)
    await house.messenger.accounts.moderate.suspend(0, desk.person.id, True)
    await house.messenger.accounts.moderate.set_admin(desk.person.id, True)
    await desk.refused(403, "M_FORBIDDEN", "GET", "accounts")


MARKS = (
    "marked-message",
    "marked-private-name",
    "marked-topic",
    "marked-password",
    "marked-device",
    "marked-file",
    "marked-account-data",
    "marked-display-name",
    "marked.state.type",
    "markedkey",
    "marked-algorithm",
    "marked-app",
)


async def _marked_house(house: House, ayna: Person) -> str:
    """A life full of words that no administrator may see; the id of a room."""
    room = await ayna.create_room(name="marked-private-name", topic="marked-topic")
    await ayna.say(room, "marked-message")
    await ayna.set_state(room, "marked.state.type", {"a": "marked-message"})
    await ayna.set_state(room, "m.room.encryption", {"algorithm": "marked-algorithm"})
    await ayna.must("PUT", "devices", ayna.device_id, body={"display_name": "marked-device"})
    await ayna.must("PUT", "profile", ayna.id, "displayname", body={"displayname": MARKS[7]})
    data = {"a": "marked-account-data"}
    await ayna.must("PUT", "user", ayna.id, "account_data", "x.y", body=data)
    one_time = {"signed_curve25519:AAAA": {"key": "markedkey", "signatures": {}}}
    await ayna.call("POST", "keys", "upload", body={"one_time_keys": one_time})
    return room


async def _drive(desk: Desk, ayna: Person, room: str) -> None:
    """Every deed once, in an order that makes sense."""
    house, me = desk.house, {"userId": ayna.id}
    file = (await upload(ayna, b"marked-message", "marked-file.txt")).removeprefix("mxc://")
    other = (await upload(ayna, b"marked-message")).removeprefix("mxc://")
    server, _, media_id = file.partition("/")
    one = {"serverName": server, "mediaId": media_id}
    await desk.must("GET", "accounts", query={"search": "ayn", "standing": "open"})
    new = {"name": "batyr", "password": "marked-password"}
    assert (await desk.must("POST", "accounts", new)) == {"user_id": f"@batyr:{server}"}
    seen = await desk.must("GET", "accounts/{userId}", **me)
    assert (seen["devices"], seen["rooms"], seen["media_files"]) == (1, 1, 2)
    for deed, switch in (("lock", "locked"), ("suspend", "suspended")):
        for value in (True, False):
            await desk.must("PUT", f"accounts/{{userId}}/{deed}", {switch: value}, **me)
            got = await desk.must("GET", f"accounts/{{userId}}/{deed}", **me)
            assert got == {switch: value}
    await desk.must("PUT", "accounts/{userId}/quota", {"quota_bytes": 5_000}, **me)
    assert (await desk.must("GET", "accounts/{userId}/quota", **me))["quota_bytes"] == 5_000
    await desk.must("PUT", "accounts/{userId}/limits", {"percent": 50}, **me)
    assert (await desk.must("GET", "accounts/{userId}/limits", **me)) == {"percent": 50}
    reset = "accounts/{userId}/password_reset"
    await desk.must("POST", reset, {"new_password": "marked-password"}, **me)
    await desk.must("GET", reset, **me)
    await desk.must("DELETE", reset, **me)
    made = await desk.must("POST", "registration_tokens", {"uses_max": 2})
    await desk.must("GET", "registration_tokens")
    await desk.must("DELETE", "registration_tokens/{token}", token=made["token"])
    await desk.must("GET", "rooms", query={"limit": 1})
    await desk.must("GET", "rooms/{roomId}", roomId=room)
    await desk.must("PUT", "rooms/{roomId}/block", {"blocked": True}, roomId=room)
    await desk.must("PUT", "rooms/{roomId}/block", {"blocked": False}, roomId=room)
    files = await desk.must("GET", "accounts/{userId}/media", **me)
    assert {f["media_id"] for f in files["files"]} == {media_id, other.partition("/")[2]}
    await desk.must("PUT", "media/{serverName}/{mediaId}/quarantine", {"quarantined": True}, **one)
    assert (await download(ayna, f"mxc://{file}")).status == 404
    await ayna.must("POST", "rooms", room, "report", body={"reason": "bad"})
    reports = await desk.must("GET", "reports")
    await desk.must("DELETE", "reports/{reportNo}", reportNo=str(reports["reports"][0]["report"]))
    await desk.must("POST", "notices", {"user_id": ayna.id, "text": "Maintenance at noon"})
    await desk.must("GET", "statistics")
    await desk.must("GET", "mail_reports")
    await desk.confirm()
    await desk.must("DELETE", "media/{serverName}/{mediaId}", **one)
    assert (await desk.must("DELETE", "accounts/{userId}/media", **me)) == {"deleted": 1}
    before = {"before_ms": house.clock.ms}
    await desk.must("POST", "rooms/{roomId}/purge_history", before, roomId=room)
    await desk.must("POST", "rooms/{roomId}/shut_down", roomId=room)
    await desk.must("GET", "removals")
    device = (await desk.must("GET", "accounts/{userId}/devices", **me))["devices"][0]
    ids = {**me, "deviceId": device["device_id"]}
    await desk.must("DELETE", "accounts/{userId}/devices/{deviceId}", **ids)
    await desk.must("POST", "accounts/{userId}/deactivate", {"erase": True}, **me)
    await desk.must("GET", "audit")


async def test_every_deed_and_no_word_of_anybody(both: House) -> None:
    """Answers have the described shape, and none holds what is somebody's own."""
    desk, ayna = await desk_of(both), await both.person("ayna")
    room = await _marked_house(both, ayna)
    await _drive(desk, ayna, room)
    lines = both.messenger.admin.make_table().lines
    undriven = {(r.method, r.path) for r in lines} - desk.driven
    assert undriven == {
        ("GET", f"{BASE}/openapi.json"),
        # ayna has no second factor; tests/accounts/test_second_factor.py does these
        ("POST", f"{BASE}/accounts/{{userId}}/second_factor_reset"),
        ("DELETE", f"{BASE}/accounts/{{userId}}/second_factor_reset"),
    }
    found = b"\n".join(desk.answers)
    secrets = (*MARKS, ayna.token, desk.person.token)
    assert [mark for mark in secrets if mark.encode() in found] == []
    async with both.db.read() as snap:
        kept = await snap.all(sql("select actor, deed, target, detail from audit_log"))
    assert len(kept) > 30
    assert [mark for mark in secrets if mark in str(kept)] == []


async def test_whois_is_a_deed_too(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    await desk.person.must("GET", "admin", "whois", ayna.id)
    await ayna.must("GET", "admin", "whois", ayna.id)  # one's own is nobody's business
    entries = (await desk.must("GET", "audit"))["entries"]
    whois = [e for e in entries if "whois" in e["deed"]]
    assert [(e["actor"], e["target"], e["outcome"]) for e in whois] == [
        (desk.person.id, ayna.id, "done")
    ]


@pytest.mark.parametrize("deed", sorted(CONFIRMED))
async def test_what_cannot_be_undone_asks_for_the_password(house: House, deed: str) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    method, path = deed.split(" ")
    params = {"userId": ayna.id, "roomId": "!a:b", "serverName": "a", "mediaId": "b"}
    asked = await desk.ask(method, path, {}, **params)
    assert (asked.status, asked.json["confirm"]) == (403, True)
    body: Any = {"auth": {"type": "m.login.password", "password": "wrong"}}
    assert (await desk.ask("POST", "confirm", body)).status == 401
    assert (await desk.ask(method, path, {}, **params)).json.get("confirm") is True
    await desk.confirm()
    assert (await desk.ask(method, path, {}, **params)).json.get("confirm") is None
    await house.person("third")
    house.clock.ms += 15 * 60_000
    assert (await desk.ask(method, path, {}, **params)).json["confirm"] is True
