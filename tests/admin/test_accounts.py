"""Accounts as an administrator sees and handles them."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.admin.actions.notices import NAME
from kerwen.admin.store import limits as store
from kerwen.api.http import Cost
from kerwen.api.limiter import Rate, TokenBuckets
from kerwen.base.errors import Refused
from tests.admin.desk import Desk, desk_of, download, upload
from tests.rooms.house import House, bodies


def names(page: Any) -> list[str]:
    return [a["name"] for a in page["accounts"]]


async def test_accounts_are_found(both: House) -> None:
    desk = await desk_of(both)
    people = await both.people("ayna", "aynabat", "batyr", "per_cent", "perxcent")
    moderate = both.messenger.accounts.moderate
    await moderate.lock(0, people[0].id, True)
    await moderate.suspend(0, people[1].id, True)
    await both.messenger.accounts.deactivate.run((await moderate.account(people[2].id)).account_no)

    async def found(**query: Any) -> list[str]:
        return names(await desk.must("GET", "accounts", query=query))

    assert await found() == ["admin", "ayna", "aynabat", "batyr", "per_cent", "perxcent"]
    assert await found(search="AYNA") == ["ayna", "aynabat"]
    assert await found(search="_") == ["per_cent"]  # no wildcard
    assert await found(search="%") == []
    for standing, who in (
        ("open", ["admin", "ayna", "aynabat", "per_cent", "perxcent"]),
        ("closed", ["batyr"]),
        ("locked", ["ayna"]),
        ("suspended", ["aynabat"]),
        ("administrator", ["admin"]),
        ("bot", []),
    ):
        assert await found(standing=standing) == who
    page = await desk.must("GET", "accounts", query={"limit": 2})
    assert (names(page), page["next"]) == (["admin", "ayna"], "ayna")
    assert await found(after="ayna", limit=2) == ["aynabat", "batyr"]
    closed = await desk.must("GET", "accounts/{userId}", userId=people[2].id)
    assert closed["deactivated_ms"] > 0
    assert closed["devices"] == 0
    await desk.refused(400, "M_INVALID_PARAM", "GET", "accounts", None, {"standing": "tall"})
    await desk.refused(404, "M_NOT_FOUND", "GET", "accounts/{userId}", userId="@no:kerwen.test")
    for odd in ("ayna", "@ayna:b.test"):
        await desk.refused(400, "M_INVALID_PARAM", "GET", "accounts/{userId}", userId=odd)


async def test_administrators_are_out_of_reach(house: House) -> None:
    desk, other = await desk_of(house), await desk_of(house, "second")
    await desk.confirm()
    for who in (desk, other):
        me = {"userId": who.person.id}
        for method, path, body in (
            ("PUT", "accounts/{userId}/lock", {"locked": True}),
            ("PUT", "accounts/{userId}/suspend", {"suspended": True}),
            ("POST", "accounts/{userId}/deactivate", {"erase": False}),
            ("DELETE", "accounts/{userId}/media", None),
        ):
            await desk.refused(403, "M_FORBIDDEN", method, path, body, **me)
        ids = {**me, "deviceId": who.person.device_id}
        await desk.refused(
            403, "M_FORBIDDEN", "DELETE", "accounts/{userId}/devices/{deviceId}", **ids
        )


async def test_a_log_in_is_ended(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    phone = await ayna.log_in()
    path = "accounts/{userId}/devices/{deviceId}"
    await desk.must("DELETE", path, userId=ayna.id, deviceId=phone.device_id)
    await phone.refused(401, "M_UNKNOWN_TOKEN", "GET", "account", "whoami")
    await ayna.must("GET", "account", "whoami")
    await desk.refused(404, "M_NOT_FOUND", "DELETE", path, userId=ayna.id, deviceId=phone.device_id)


async def test_quarantine_is_for_everybody_until_it_ends(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    uri = await upload(ayna)
    server, _, media_id = uri.removeprefix("mxc://").partition("/")
    one, path = {"serverName": server, "mediaId": media_id}, "media/{serverName}/{mediaId}"
    for quarantined, status in ((True, 404), (False, 200)):
        body = {"quarantined": quarantined}
        await desk.must("PUT", path + "/quarantine", body, **one)
        assert [(await download(who, uri)).status for who in (ayna, desk.person)] == [status] * 2
    await desk.refused(
        404, "M_NOT_FOUND", "PUT", path + "/quarantine", body, serverName=server, mediaId="no"
    )


# --- rate limits ----------------------------------------------------------------------------


def spent(buckets: TokenBuckets, account_no: int, most: int = 60) -> int:
    """How many requests an account may make at once."""
    for count in range(most):
        try:
            buckets.spend(Cost.WRITE, account_no, "192.0.2.1")
        except Refused:
            return count
    return most


async def test_limits_of_ones_own(both: House) -> None:
    desk, ayna = await desk_of(both), await both.person("ayna")
    account_no = (await both.messenger.accounts.moderate.account(ayna.id)).account_no
    limits = both.messenger.admin.limits
    buckets = TokenBuckets({Cost.WRITE: Rate(1, 20)}, lambda: 0.0, percents=limits.percents)
    path, me = "accounts/{userId}/limits", {"userId": ayna.id}
    assert await desk.must("GET", path, **me) == {"percent": None}
    assert spent(buckets, 99) == 20
    await desk.must("PUT", path, {"percent": 50}, **me)
    assert spent(buckets, account_no) == 10
    await desk.must("PUT", path, {"percent": 0}, **me)
    assert spent(buckets, account_no) == 60
    limits.percents.clear()
    await limits.load()  # as after a restart
    assert limits.percents == {account_no: 0}
    await desk.must("PUT", path, {"percent": None}, **me)
    assert limits.percents == {}
    assert spent(buckets, account_no) == 0  # it has spent what everybody has
    for odd in (-1, 100_001):
        await desk.refused(400, "M_INVALID_PARAM", "PUT", path, {"percent": odd}, **me)
    await desk.must("PUT", path, {"percent": 7}, **me)
    await both.messenger.accounts.deactivate.run(account_no)
    async with both.db.read() as snap:
        assert await store.every(snap) == {}


# --- notices --------------------------------------------------------------------------------


async def notice(desk: Desk, who: Any, text: str) -> str:
    said = await desk.must("POST", "notices", {"user_id": who.id, "text": text})
    return str(said["event_id"])


async def test_the_server_speaks_in_a_room_of_its_own(both: House) -> None:
    desk, ayna = await desk_of(both), await both.person("ayna")
    await notice(desk, ayna, "Maintenance at noon")
    invited = (await ayna.sync())["rooms"]["invite"]
    (room,) = invited
    declined = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    await ayna.refused(403, declined, "POST", "rooms", room, "leave", body={})
    await ayna.join(room)
    event = await notice(desk, ayna, "Maintenance is over")
    sync = (await ayna.sync())["rooms"]["join"][room]
    assert bodies(sync["timeline"]["events"])[-2:] == ["Maintenance at noon", "Maintenance is over"]
    assert (await ayna.event(room, event))["sender"] == f"@{NAME}:kerwen.test"
    tags = await ayna.must("GET", "user", ayna.id, "rooms", room, "tags")
    assert tags == {"tags": {"m.server_notice": {}}}
    body = {"msgtype": "m.text", "body": "thanks"}
    await ayna.refused(
        403, "M_FORBIDDEN", "PUT", "rooms", room, "send", "m.room.message", "t", body=body
    )
    assert (await ayna.call("GET", "rooms", room, "state", "m.room.encryption")).status == 404
    await ayna.leave(room)
    await notice(desk, ayna, "Once more")
    assert list((await ayna.sync())["rooms"]["invite"]) == [room]


async def test_nobody_speaks_for_the_server(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    wish = {"username": NAME, "password": "a-password", "auth": {"type": "m.login.dummy"}}
    taken = await house.call(None, "POST", "/_matrix/client/v3/register", wish)
    assert (taken.status, taken.errcode) == (400, "M_EXCLUSIVE")
    await desk.refused(
        400, "M_EXCLUSIVE", "POST", "accounts", {"name": NAME, "password": "a long password"}
    )
    await notice(desk, ayna, "hello")
    log_in = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": NAME},
        "password": "",
    }
    answer = await house.call(None, "POST", "/_matrix/client/v3/login", log_in)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("user_id", "text", "status"),
    [
        ("@no:kerwen.test", "x", 404),
        ("@ayna:kerwen.test", " ", 400),
        ("@ayna:kerwen.test", "x" * 16_385, 400),
        (f"@{NAME}:kerwen.test", "x", 400),
    ],
)
async def test_notices_to_nobody(house: House, user_id: str, text: str, status: int) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    await notice(desk, ayna, "hello")
    answer = await desk.ask("POST", "notices", {"user_id": user_id, "text": text})
    assert answer.status == status
