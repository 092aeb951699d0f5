"""Calls, presence, and what the house has not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.config import BadConfig, load
from kerwen.calls.turn import PASS_S, Turn
from tests.rooms.house import House, sqlite_house


async def test_a_pass_that_the_turn_server_can_check(house: House) -> None:
    ayna = await house.person("ayna")
    found = await ayna.must("GET", "voip", "turnServer")
    until, _, user_id = found["username"].partition(":")
    assert user_id == ayna.id
    assert int(until) == house.clock.ms // 1000 + PASS_S
    code = hmac.new(b"a secret", found["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(found["password"]) == code
    assert found["uris"] == ["turn:turn.kerwen.test:3478?transport=udp"]
    assert found["ttl"] == PASS_S


async def test_without_a_turn_server_the_pass_is_empty(
    tmp_path: Path, sqlite_template: Path
) -> None:
    plain = sqlite_house(tmp_path, sqlite_template)
    ayna = await plain.person("ayna")
    assert await ayna.must("GET", "voip", "turnServer") == {}
    await plain.close()


def test_another_secret_gives_another_pass() -> None:
    one, two = Turn(["turn:a"], "s"), Turn(["turn:a"], "t")
    assert one.pass_for("@a:b", 0)["password"] != two.pass_for("@a:b", 0)["password"]


@pytest.mark.parametrize(
    "flags",
    [
        {"turn_uris": ["turn:a.test"]},
        {"turn_secret": "s"},
        {"turn_uris": ["http://a.test"], "turn_secret": "s"},
    ],
)
def test_a_turn_server_is_told_of_whole(flags: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="turn_"):
        load({"dev": True, "data": str(tmp_path), **flags})


@pytest.mark.parametrize("v", ["v1", "unstable/org.matrix.msc4143"])
async def test_no_transports_of_group_calls_yet(house: House, v: str) -> None:
    ayna = await house.person("ayna")
    assert await ayna.must("GET", "rtc", "transports", v=v) == {"rtc_transports": []}


# --- presence -------------------------------------------------------------------------------


async def test_presence_is_told_to_those_who_share_a_room(both: House) -> None:
    ayna, batyr, merdan = await both.people("ayna", "batyr", "merdan")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    path = ("presence", ayna.id, "status")
    assert await ayna.must("GET", *path) == {"presence": "offline"}
    await ayna.must("PUT", *path, body={"presence": "online", "status_msg": "Bazarda"})
    both.clock.ms += 1000
    for who in (ayna, batyr):
        found = await who.must("GET", *path)
        assert 1000 <= found.pop("last_active_ago") < 2000
        assert found == {
            "presence": "online", "status_msg": "Bazarda", "currently_active": True
        }  # fmt: skip
    await merdan.refused(403, "M_FORBIDDEN", "GET", *path)
    both.clock.ms += 600_000
    assert (await batyr.must("GET", *path))["currently_active"] is False
    await ayna.must("PUT", *path, body={"presence": "unavailable"})
    found = await batyr.must("GET", *path)
    assert (found["presence"], "status_msg" in found) == ("unavailable", False)


async def test_presence_is_ones_own_unless_the_house_shares_it(
    tmp_path: Path, sqlite_template: Path
) -> None:
    plain = sqlite_house(tmp_path, sqlite_template)
    ayna, batyr = await plain.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    path = ("presence", ayna.id, "status")
    await ayna.must("PUT", *path, body={"presence": "online"})
    assert (await ayna.must("GET", *path))["presence"] == "online"
    assert await batyr.must("GET", *path) == {"presence": "offline"}
    assert "presence" not in await batyr.sync()
    await plain.close()


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"presence": 7}, 400, "M_BAD_JSON"),
        ({"presence": "asleep"}, 400, "M_INVALID_PARAM"),
        ({"presence": "online", "status_msg": 7}, 400, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 2000}, 400, "M_INVALID_PARAM"),
        (b"{", 400, "M_NOT_JSON"),
    ],
)
async def test_bad_presence(house: House, body: Any, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(status, errcode, "PUT", "presence", ayna.id, "status", body=body)


async def test_nobody_elses_presence(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    wish = {"presence": "online"}
    await ayna.refused(403, "M_FORBIDDEN", "PUT", "presence", batyr.id, "status", body=wish)
    for nobody in ("@nobody:kerwen.test", "@ayna:other.test", "ayna"):
        await ayna.refused(404, "M_NOT_FOUND", "GET", "presence", nobody, "status")


# --- absent ---------------------------------------------------------------------------------


async def test_no_other_networks(house: House) -> None:
    ayna = await house.person("ayna")
    assert await ayna.must("GET", "thirdparty", "protocols") == {}


async def test_log_in_offers_no_single_sign_on(house: House) -> None:
    """So no client asks for the redirect that is refused."""
    flows = (await house.call(None, "GET", "/_matrix/client/v3/login")).json["flows"]
    assert "m.login.sso" not in {flow["type"] for flow in flows}


async def test_anybody_may_ask(house: House) -> None:
    answer = await house.call(None, "GET", "/.well-known/matrix/policy_server")
    assert answer.status == 404
    assert set(answer.json) == {"errcode", "error"}
