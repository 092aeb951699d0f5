"""Registration over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerwen.accounts.store import accounts, devices
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.accounts.world import DOMAIN, V1, V3, World

DUMMY = {"type": "m.login.dummy"}


async def test_registers_in_two_steps(world: World) -> None:
    body = {"username": "ayna", "password": "correct horse", "device_id": "PHONE"}
    first = await world.ask("POST", V3 + "/register", body)
    assert first.status == 401
    assert first.json["flows"] == [{"stages": ["m.login.dummy"]}]
    assert first.json["params"] == {}
    assert "errcode" not in first.json
    auth = {**DUMMY, "session": first.json["session"]}
    second = await world.ask("POST", V3 + "/register", {**body, "auth": auth})
    assert second.status == 200
    assert second.json["user_id"] == f"@ayna:{DOMAIN}"
    assert second.json["device_id"] == "PHONE"
    assert "refresh_token" not in second.json
    assert "expires_in_ms" not in second.json
    who = await world.whoami(second.json["access_token"])
    assert who.json == {"user_id": f"@ayna:{DOMAIN}", "device_id": "PHONE", "is_guest": False}


async def test_one_step_capitals_and_device_name(world: World) -> None:
    found = await world.sign_up("User-UPPER", initial_device_display_name="Jungle\u0000 Phone")
    assert found["user_id"] == f"@user-upper:{DOMAIN}"
    assert len(found["device_id"]) == 10
    async with world.db.read() as snap:
        account = await accounts.by_localpart(snap, "user-upper")
        assert account is not None
        (device,) = await devices.of(snap, account.account_no)
    assert device.display_name == "Jungle Phone"
    assert device.seen_address == "192.0.2.1"


async def test_inhibit_login_makes_no_session(world: World) -> None:
    found = await world.sign_up("bot", inhibit_login=True)
    assert found == {"user_id": f"@bot:{DOMAIN}", "home_server": DOMAIN}
    async with world.db.read() as snap:
        account = await accounts.by_localpart(snap, "bot")
        assert account is not None
        assert await devices.of(snap, account.account_no) == []


async def test_a_name_is_drawn_where_none_is_asked_for(world: World) -> None:
    answer = await world.ask("POST", V3 + "/register", {"password": "correct horse", "auth": DUMMY})
    assert answer.status == 200
    assert answer.json["user_id"].endswith(f":{DOMAIN}")


async def test_refresh_tokens_where_the_client_knows_them(world: World) -> None:
    found = await world.sign_up("ayna", refresh_token=True)
    assert found["refresh_token"].startswith("krt_")
    assert found["expires_in_ms"] == world.accounts.sessions.lives.access_ms


@pytest.mark.parametrize(
    ("name", "errcode"),
    [
        *[(f"user-{c}-x", "M_INVALID_USERNAME") for c in "!\":?\\@[]{|}£é\n'/=+ "],
        ("", "M_INVALID_USERNAME"),
        (".a", "M_INVALID_USERNAME"),
        ("_a", "M_INVALID_USERNAME"),
        ("a" * 65, "M_INVALID_USERNAME"),
        ("a\u0000", "M_INVALID_USERNAME"),
        ("@a:house.test", "M_INVALID_USERNAME"),
        ("\u212aelvin", "M_INVALID_USERNAME"),  # the Kelvin sign, whose small form is k
        ("taken", "M_USER_IN_USE"),
        ("bridge", "M_EXCLUSIVE"),
    ],
)
async def test_names_refused_before_authentication(world: World, name: str, errcode: str) -> None:
    await world.sign_up("taken")
    body = {"username": name, "password": "correct horse"}
    (await world.ask("POST", V3 + "/register", body)).refused(400, errcode)
    (await world.ask("POST", V3 + "/register", {**body, "auth": DUMMY})).refused(400, errcode)


@pytest.mark.parametrize("name", ["q", "3", "a.", "a_", "a-", "a" * 64, "a.b-c_d9"])
async def test_names_that_can_be_had(world: World, name: str) -> None:
    available = await world.ask("GET", f"{V3}/register/available?username={name}")
    assert available.json == {"available": True}
    assert (await world.sign_up(name))["user_id"] == f"@{name}:{DOMAIN}"
    taken = await world.ask("GET", f"{V3}/register/available?username={name.upper()}")
    taken.refused(400, "M_USER_IN_USE")


@pytest.mark.parametrize(
    ("change", "status", "errcode"),
    [
        ({"password": "short"}, 400, "M_WEAK_PASSWORD"),
        ({"password": "x" * 1025}, 400, "M_WEAK_PASSWORD"),
        ({"password": "Password1"}, 400, "M_WEAK_PASSWORD"),
        ({"password": "longenoughname"}, 400, "M_WEAK_PASSWORD"),
        ({"password": "abababababab"}, 400, "M_WEAK_PASSWORD"),
        ({"password": None}, 400, "M_MISSING_PARAM"),
        ({"password": 12345678}, 400, "M_BAD_JSON"),
        ({"username": ["a"]}, 400, "M_BAD_JSON"),
        ({"username": True}, 400, "M_BAD_JSON"),
        ({"auth": "m.login.dummy"}, 400, "M_BAD_JSON"),
        ({"auth": {"type": 1}}, 400, "M_BAD_JSON"),
        ({"auth": {"type": "m.login.dummy", "session": {}}}, 400, "M_BAD_JSON"),
        ({"auth": {"type": "m.login.dummy", "session": "unknown"}}, 401, "M_UNKNOWN"),
        ({"auth": {"type": "m.login.password", "password": "x"}}, 401, "M_UNRECOGNIZED"),
        ({"auth": {"type": "m.login.sso"}}, 401, "M_UNRECOGNIZED"),
        ({"auth": {}}, 401, None),
        ({"device_id": "x" * 256}, 400, "M_INVALID_PARAM"),
        ({"device_id": "a\u0000b"}, 400, "M_INVALID_PARAM"),
        ({"device_id": 5}, 400, "M_BAD_JSON"),
        ({"inhibit_login": "yes"}, 400, "M_BAD_JSON"),
        ({"initial_device_display_name": {}}, 400, "M_BAD_JSON"),
    ],
)
async def test_bad_bodies(
    world: World, change: dict[str, Any], status: int, errcode: str | None
) -> None:
    body = {"username": "longenoughname", "password": "correct horse", "auth": DUMMY, **change}
    (await world.ask("POST", V3 + "/register", body)).refused(status, errcode)  # type: ignore[arg-type]
    assert (
        await world.ask("GET", V3 + "/register/available?username=longenoughname")
    ).status == 200


@pytest.mark.parametrize(
    ("raw", "errcode"),
    [
        (b"{", "M_NOT_JSON"),
        (b'{"username": "a\x81"}', "M_NOT_JSON"),
        (b'{"unknown": "a\x81"}', "M_NOT_JSON"),
        (b'{"username": "\\ud800"}', "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'"x"', "M_BAD_JSON"),
        (b"[" * 100_000, "M_BAD_JSON"),
    ],
)
async def test_bodies_that_are_not_json(world: World, raw: bytes, errcode: str) -> None:
    (await world.ask("POST", V3 + "/register", raw=raw)).refused(400, errcode)


async def test_kinds(world: World) -> None:
    guest = await world.ask("POST", V3 + "/register?kind=guest", {})
    guest.refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await world.ask("POST", V3 + "/register?kind=lord", {})).refused(400, "M_INVALID_PARAM")


async def test_of_two_that_race_for_a_name_one_wins(world: World) -> None:
    body = {"username": "wanted", "password": "correct horse", "auth": DUMMY}
    answers = await asyncio.gather(*(world.ask("POST", V3 + "/register", body) for _ in range(5)))
    assert sorted(a.status for a in answers) == [200, 400, 400, 400, 400]
    assert {a.json.get("errcode") for a in answers if a.status == 400} == {"M_USER_IN_USE"}
    async with world.db.read() as snap:
        assert await accounts.count(snap) == 1


async def test_a_session_is_good_for_one_account(world: World) -> None:
    first = await world.ask("POST", V3 + "/register", {})
    auth = {**DUMMY, "session": first.json["session"]}
    await world.sign_up("one", auth=auth)
    body = {"username": "two", "password": "correct horse", "auth": auth}
    (await world.ask("POST", V3 + "/register", body)).refused(401, "M_UNKNOWN")


async def test_a_session_ends(world: World) -> None:
    first = await world.ask("POST", V3 + "/register", {})
    auth = {**DUMMY, "session": first.json["session"]}
    world.clock.ms += 15 * 60_000
    body = {"username": "one", "password": "correct horse", "auth": auth}
    again = await world.ask("POST", V3 + "/register", body)
    again.refused(401, "M_UNKNOWN")
    assert again.json["session"] != auth["session"]


async def test_a_failed_registration_keeps_what_was_proved(database: Database, feed: Feed) -> None:
    world = World(database, feed, mode="token")
    await world.accounts.invite.make(0, "entrance", 5)
    first = await world.ask("POST", V3 + "/register", {})
    auth = {"type": "m.login.registration_token", "token": "entrance"}
    session = first.json["session"]
    no_password = await world.ask("POST", V3 + "/register", {"auth": {**auth, "session": session}})
    no_password.refused(400, "M_MISSING_PARAM")
    body = {"username": "ayna", "password": "correct horse", "auth": {"session": session}}
    assert (await world.ask("POST", V3 + "/register", body)).status == 200
    (token,) = await world.accounts.invite.list()
    assert token.uses == 1
    world.close()


async def test_closed(database: Database, feed: Feed) -> None:
    world = World(database, feed, mode="closed")
    body = {"username": "ayna", "password": "correct horse", "auth": DUMMY}
    (await world.ask("POST", V3 + "/register", body)).refused(403, "M_FORBIDDEN")
    path = V1 + "/register/m.login.registration_token/validity?token=x"
    (await world.ask("GET", path)).refused(403, "M_FORBIDDEN")
    world.close()


async def test_invitations(database: Database, feed: Feed) -> None:
    world = World(database, feed, mode="token")
    path = V1 + "/register/m.login.registration_token/validity?token="
    await world.accounts.invite.make(0, "once", 1)
    await world.accounts.invite.make(0, "soon", 0, lives_ms=1000)
    assert (await world.ask("GET", path + "once")).json == {"valid": True}
    assert (await world.ask("GET", path + "other")).json == {"valid": False}
    assert (await world.ask("GET", path + "%00" + "x" * 500)).json == {"valid": False}
    (await world.ask("GET", path.partition("?")[0])).refused(400, "M_MISSING_PARAM")

    async def join(name: str, token: Any) -> Any:
        auth = {"type": "m.login.registration_token", "token": token}
        body = {"username": name, "password": "correct horse", "auth": auth}
        return await world.ask("POST", V3 + "/register", body)

    dummy = {"username": "zed", "password": "correct horse", "auth": DUMMY}
    (await world.ask("POST", V3 + "/register", dummy)).refused(401, "M_UNRECOGNIZED")
    (await join("zed", "wrong")).refused(401, "M_FORBIDDEN")
    (await join("zed", None)).refused(401, "M_MISSING_PARAM")
    (await join("zed", 7)).refused(400, "M_BAD_JSON")
    assert (await join("one", "once")).status == 200
    (await join("two", "once")).refused(401, "M_FORBIDDEN")
    assert (await join("two", "soon")).status == 200
    world.clock.ms += 1000
    assert (await world.ask("GET", path + "soon")).json == {"valid": False}
    (await join("three", "soon")).refused(401, "M_FORBIDDEN")
    world.close()


async def test_an_invitation_for_one_lets_one_in(database: Database, feed: Feed) -> None:
    world = World(database, feed, mode="token")
    await world.accounts.invite.make(0, "once", 1)
    auth = {"type": "m.login.registration_token", "token": "once"}
    answers = await asyncio.gather(
        *(
            world.ask(
                "POST",
                V3 + "/register",
                {"username": f"u{n}", "password": "correct horse", "auth": auth},
            )
            for n in range(4)
        )
    )
    assert [a.status for a in answers].count(200) == 1
    async with world.db.read() as snap:
        assert await accounts.count(snap) == 1
    world.close()


async def test_no_contact_addresses(world: World) -> None:
    for medium in ("email", "msisdn"):
        answer = await world.ask("POST", f"{V3}/register/{medium}/requestToken", {})
        answer.refused(403, "M_THREEPID_DENIED")
