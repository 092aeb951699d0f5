"""Password change, deactivation, devices, moderation, contact addresses over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.accounts.store import accounts, devices
from tests.accounts.test_login import account_no_of, refresh, slots_of
from tests.accounts.world import DOMAIN, V1, V3, Answer, World, password_auth

OLD, NEW = "correct horse", "battery staple"


async def change_password(
    world: World, token: str | None, old: str = OLD, new: Any = NEW, **more: Any
) -> Answer:
    body = {"new_password": new, "auth": password_auth("ayna", old), **more}
    return await world.ask("POST", V3 + "/account/password", body, token)


# --- password -----------------------------------------------------------------------------


async def test_a_new_password_ends_other_sessions(world: World) -> None:
    up = await world.sign_up("ayna")
    other = (await world.sign_in("ayna", refresh_token=True)).json
    assert (await change_password(world, up["access_token"])).raw == b"{}"
    (await world.sign_in("ayna", OLD)).refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("ayna", NEW)).status == 200
    assert (await world.whoami(up["access_token"])).status == 200
    (await world.whoami(other["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await refresh(world, other["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")


async def test_other_sessions_can_be_kept(world: World) -> None:
    up = await world.sign_up("ayna")
    other = (await world.sign_in("ayna")).json
    kept = await change_password(world, up["access_token"], logout_devices=False)
    assert kept.status == 200
    assert (await world.whoami(other["access_token"])).status == 200


async def test_the_new_password_opens_the_vault(world: World) -> None:
    up = await world.sign_up("ayna")
    await change_password(world, up["access_token"])
    await world.sign_in("ayna", NEW)
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == ["password", "token", "token"]


async def test_without_a_token_the_password_alone_proves_it(world: World) -> None:
    up = await world.sign_up("ayna")
    assert (await change_password(world, None)).status == 200
    (await world.whoami(up["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    assert (await world.sign_in("ayna", NEW)).status == 200


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"new_password": 5}, 400, "M_BAD_JSON"),
        ({"new_password": "short"}, 400, "M_WEAK_PASSWORD"),
        ({"new_password": NEW}, 401, None),
        ({"new_password": NEW, "auth": {"type": "m.login.dummy"}}, 401, "M_UNRECOGNIZED"),
        ({"new_password": NEW, "auth": {"type": "m.login.password"}}, 401, "M_MISSING_PARAM"),
        ({"new_password": NEW, "auth": password_auth("ayna", "wrong")}, 401, "M_FORBIDDEN"),
        ({"new_password": NEW, "auth": password_auth("batyr", OLD)}, 403, "M_FORBIDDEN"),
        (
            {
                "new_password": NEW,
                "auth": {**password_auth("ayna"), "identifier": {"type": "m.id.phone"}},
            },
            400,
            "M_UNKNOWN",
        ),
        ({"new_password": NEW, "logout_devices": 1}, 400, "M_BAD_JSON"),
        ({"new_password": NEW, "auth": {"session": "x" * 100_000}}, 401, "M_UNKNOWN"),
    ],
)
async def test_password_changes_refused(
    world: World, body: dict[str, Any], status: int, errcode: str | None
) -> None:
    up = await world.sign_up("ayna")
    await world.sign_up("batyr")
    answer = await world.ask("POST", V3 + "/account/password", body, up["access_token"])
    answer.refused(status, errcode)  # type: ignore[arg-type]
    if status == 401:
        assert answer.json["flows"] == [{"stages": ["m.login.password"]}]
        assert answer.json["session"]
    assert (await world.sign_in("ayna", OLD)).status == 200


async def test_auth_without_identifier_means_the_caller(world: World) -> None:
    up = await world.sign_up("ayna")
    auth = {"type": "m.login.password", "password": OLD}
    body = {"new_password": NEW, "auth": auth}
    answer = await world.ask("POST", V3 + "/account/password", body, up["access_token"])
    assert answer.status == 200
    nobody = await world.ask("POST", V3 + "/account/password", body)
    nobody.refused(401, "M_FORBIDDEN")


# --- deactivation -------------------------------------------------------------------------


async def deactivate(world: World, token: str | None, password: str = OLD, **more: Any) -> Answer:
    body = {"auth": password_auth("ayna", password), **more}
    return await world.ask("POST", V3 + "/account/deactivate", body, token)


async def test_a_closed_account_leaves_nothing_but_its_name(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    no = await account_no_of(world, "ayna")
    challenge = await world.ask("POST", V3 + "/account/deactivate", {}, up["access_token"])
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    (await deactivate(world, up["access_token"], "wrong")).refused(401, "M_FORBIDDEN")
    answer = await deactivate(world, up["access_token"], erase=True)
    assert answer.json == {"id_server_unbind_result": "success"}
    (await world.whoami(up["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await refresh(world, up["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
    assert await slots_of(world, no) == []
    async with world.db.read() as snap:
        assert await devices.of(snap, no) == []
        assert await accounts.password(snap, no) is None
        account = await accounts.by_no(snap, no)
    assert account is not None
    assert account.erased
    assert not account.active
    assert ("deactivated", True) in world.told
    assert world.told[-1] == ("after", f"@ayna:{DOMAIN}", True)


async def test_a_name_is_never_given_again(world: World) -> None:
    await world.sign_up("ayna")
    assert (await deactivate(world, None)).status == 200
    available = await world.ask("GET", V3 + "/register/available?username=ayna")
    available.refused(400, "M_USER_IN_USE")
    body = {"username": "AYNA", "password": OLD, "auth": {"type": "m.login.dummy"}}
    (await world.ask("POST", V3 + "/register", body)).refused(400, "M_USER_IN_USE")
    (await deactivate(world, None)).refused(401, "M_FORBIDDEN")


async def test_deactivation_takes_no_nonsense(world: World) -> None:
    await world.sign_up("ayna")
    (await deactivate(world, None, erase="yes")).refused(400, "M_BAD_JSON")
    (await deactivate(world, "kat_unknown")).refused(401, "M_UNKNOWN_TOKEN")


# --- devices ------------------------------------------------------------------------------


async def test_devices_are_listed_and_named(world: World) -> None:
    up = await world.sign_up("ayna", device_id="PHONE")
    await world.sign_in("ayna", device_id="a/b ü", initial_device_display_name="Tablet")
    token = up["access_token"]
    listed = (await world.ask("GET", V3 + "/devices", token=token)).json["devices"]
    assert [d["device_id"] for d in listed] == ["PHONE", "a/b ü"]
    assert "display_name" not in listed[0]
    assert listed[1] == {
        "device_id": "a/b ü",
        "display_name": "Tablet",
        "last_seen_ip": "192.0.2.1",
        "last_seen_ts": world.clock.ms,
    }
    path = V3 + "/devices/a%2Fb%20%C3%BC"
    assert (await world.ask("GET", path, token=token)).json == listed[1]
    named = await world.ask("PUT", path, {"display_name": "New"}, token)
    assert named.raw == b"{}"
    assert [entry[0] for entry in world.told].count("renamed") == 1
    assert (await world.ask("GET", path, token=token)).json["display_name"] == "New"
    assert (await world.ask("PUT", path, {}, token)).status == 200
    assert (await world.ask("GET", path, token=token)).json["display_name"] == "New"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode"),
    [
        ("GET", "/devices/NONE", None, 404, "M_NOT_FOUND"),
        ("PUT", "/devices/NONE", {"display_name": "x"}, 404, "M_NOT_FOUND"),
        ("PUT", "/devices/NONE", {}, 404, "M_NOT_FOUND"),
        ("PUT", "/devices/PHONE", {"display_name": 5}, 400, "M_BAD_JSON"),
        ("PUT", "/devices/PHONE", {"display_name": "x" * 101}, 413, "M_TOO_LARGE"),
        ("GET", "/devices/%00", None, 400, "M_INVALID_PARAM"),
        ("POST", "/delete_devices", {}, 400, "M_BAD_JSON"),
        ("POST", "/delete_devices", {"devices": "PHONE"}, 400, "M_BAD_JSON"),
        ("POST", "/delete_devices", {"devices": [1]}, 400, "M_BAD_JSON"),
        ("POST", "/delete_devices", {"devices": ["PHONE"]}, 401, None),
        ("DELETE", "/devices/PHONE", {"auth": []}, 400, "M_BAD_JSON"),
        ("POST", "/devices/PHONE", {}, 405, "M_UNRECOGNIZED"),
    ],
)
async def test_device_requests_refused(
    world: World, method: str, path: str, body: Any, status: int, errcode: str | None
) -> None:
    up = await world.sign_up("ayna", device_id="PHONE")
    answer = await world.ask(method, V3 + path, body, up["access_token"])
    answer.refused(status, errcode)  # type: ignore[arg-type]


async def test_deleting_a_device_asks_for_its_owner(world: World) -> None:
    up = await world.sign_up("ayna", device_id="PHONE")
    await world.sign_up("batyr", "battery staple")
    other = (await world.sign_in("ayna", device_id="TABLET")).json
    path, token = V3 + "/devices/TABLET", up["access_token"]
    first = await world.ask("DELETE", path, token=token)
    assert first.status == 401
    assert set(first.json) == {"session", "flows", "params"}
    wrong = await world.ask("DELETE", path, {"auth": password_auth("ayna", "wrong")}, token)
    wrong.refused(401, "M_FORBIDDEN")
    assert {"session", "flows", "params", "error"} <= set(wrong.json)
    stranger = password_auth("batyr", "battery staple")
    (await world.ask("DELETE", path, {"auth": stranger}, token)).refused(403, "M_FORBIDDEN")
    assert (await world.whoami(other["access_token"])).status == 200
    auth = {**password_auth("ayna"), "session": first.json["session"]}
    assert (await world.ask("DELETE", path, {"auth": auth}, token)).status == 200
    (await world.ask("GET", path, token=token)).refused(404, "M_NOT_FOUND")
    (await world.whoami(other["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    again = await world.ask("DELETE", path, {"auth": password_auth("ayna")}, token)
    assert again.status == 200  # it had been removed before


async def test_a_session_of_authentication_is_its_owners(world: World) -> None:
    up = await world.sign_up("ayna", device_id="PHONE")
    other = await world.sign_up("batyr")
    path = V3 + "/delete_devices"
    body = {"devices": ["PHONE"]}
    session = (await world.ask("POST", path, body, up["access_token"])).json["session"]
    stolen = {**password_auth("batyr"), "session": session}
    answer = await world.ask("POST", path, {**body, "auth": stolen}, other["access_token"])
    answer.refused(401, "M_UNKNOWN")


async def test_many_devices_at_once(world: World) -> None:
    up = await world.sign_up("ayna", device_id="D0")
    for n in range(1, 5):
        await world.sign_in("ayna", device_id=f"D{n}")
    await world.sign_up("batyr", device_id="D4")
    body = {"devices": ["D1", "D4", "D4", "NONE"], "auth": password_auth("ayna")}
    answer = await world.ask("POST", V3 + "/delete_devices", body, up["access_token"])
    assert answer.raw == b"{}"
    async with world.db.read() as snap:
        mine = await account_no_of(world, "ayna")
        his = await account_no_of(world, "batyr")
        found = await devices.of_many(snap, [mine, his])
    assert [d.device_id for d in found[mine]] == ["D0", "D2", "D3"]
    assert [d.device_id for d in found[his]] == ["D4"]
    assert [entry[0] for entry in world.told].count("device") == 2


# --- moderation ---------------------------------------------------------------------------


async def make_admin(world: World, name: str = "admin") -> str:
    up = await world.sign_up(name)
    await world.accounts.moderate.set_admin(up["user_id"], True)
    token: str = up["access_token"]
    return token


@pytest.mark.parametrize(("deed", "word"), [("lock", "locked"), ("suspend", "suspended")])
async def test_admin_endpoints(world: World, deed: str, word: str) -> None:
    admin = await make_admin(world)
    await make_admin(world, "second")
    user = await world.sign_up("ayna")
    path = f"{V1}/admin/{deed}/@ayna:{DOMAIN}"
    assert (await world.ask("GET", path, token=admin)).json == {word: False}
    assert (await world.ask("PUT", path, {word: True}, admin)).json == {word: True}
    assert (await world.ask("GET", path, token=admin)).json == {word: True}
    assert (await world.ask("PUT", path, {word: False}, admin)).json == {word: False}
    assert (await world.whoami(user["access_token"])).status == 200
    base = f"{V1}/admin/{deed}/"
    table = [
        (f"@nobody:{DOMAIN}", 404, "M_NOT_FOUND"),
        ("@ayna:other.test", 400, "M_INVALID_PARAM"),
        ("nonsense", 400, "M_INVALID_PARAM"),
        (f"@second:{DOMAIN}", 403, "M_FORBIDDEN"),
        (f"@admin:{DOMAIN}", 403, "M_FORBIDDEN"),
    ]
    for user_id, status, errcode in table:
        answer = await world.ask("PUT", base + user_id, {word: True}, admin)
        answer.refused(status, errcode)
        (await world.ask("GET", base + user_id, token=admin)).refused(status, errcode)
    for body in ({}, {word: "yes"}, {word: None}):
        (await world.ask("PUT", path, body, admin)).refused(400, "M_BAD_JSON")
    for user_id, _, _ in table:
        denied = await world.ask("PUT", base + user_id, {word: True}, user["access_token"])
        denied.refused(403, "M_FORBIDDEN")
        assert denied.json["error"] == "Only administrators may do this"


async def test_a_closed_account_is_not_found_by_moderators(world: World) -> None:
    admin = await make_admin(world)
    await world.sign_up("ayna")
    await deactivate(world, None)
    path = f"{V1}/admin/lock/@ayna:{DOMAIN}"
    (await world.ask("GET", path, token=admin)).refused(404, "M_NOT_FOUND")


async def test_a_locked_account(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    other = (await world.sign_in("ayna")).json
    third = (await world.sign_in("ayna")).json
    assert (await world.whoami(up["access_token"])).status == 200  # now in the cache
    await world.accounts.moderate.lock(0, up["user_id"], True)
    locked = await world.whoami(up["access_token"])
    locked.refused(401, "M_USER_LOCKED")
    assert locked.json["soft_logout"] is True
    (await world.sign_in("ayna")).refused(401, "M_USER_LOCKED")
    (await world.sign_in("ayna", "wrong")).refused(403, "M_FORBIDDEN")
    (await refresh(world, up["refresh_token"])).refused(401, "M_USER_LOCKED")
    (await change_password(world, up["access_token"])).refused(401, "M_USER_LOCKED")
    assert (await world.ask("POST", V3 + "/logout", token=other["access_token"])).status == 200
    await world.accounts.moderate.lock(0, up["user_id"], False)
    assert (await world.whoami(up["access_token"])).status == 200
    (await world.whoami(other["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    await world.accounts.moderate.lock(0, up["user_id"], True)
    all_ = await world.ask("POST", V3 + "/logout/all", token=third["access_token"])
    assert all_.status == 200


async def test_a_locked_account_cannot_come_in_without_a_token_either(world: World) -> None:
    up = await world.sign_up("ayna")
    await world.accounts.moderate.lock(0, up["user_id"], True)
    (await change_password(world, None)).refused(401, "M_USER_LOCKED")
    (await deactivate(world, None)).refused(401, "M_USER_LOCKED")


async def test_a_suspended_account_may_log_in_and_out(world: World) -> None:
    up = await world.sign_up("ayna")
    await world.accounts.moderate.suspend(0, up["user_id"], True)
    assert (await world.whoami(up["access_token"])).status == 200
    again = await world.sign_in("ayna")
    assert again.status == 200
    token = again.json["access_token"]
    caller = await world.accounts.authenticate.caller(token)
    assert caller.suspended
    assert (await world.ask("POST", V3 + "/logout", token=token)).status == 200
    assert (await deactivate(world, up["access_token"])).status == 200


async def test_whois(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna", device_id="PHONE")
    path = f"{V3}/admin/whois/@ayna:{DOMAIN}"
    expected = {
        "user_id": f"@ayna:{DOMAIN}",
        "devices": {
            "PHONE": {
                "sessions": [{"connections": [{"ip": "192.0.2.1", "last_seen": world.clock.ms}]}]
            }
        },
    }
    assert (await world.ask("GET", path, token=admin)).json == expected
    assert (await world.ask("GET", path, token=up["access_token"])).json == expected
    other = f"{V3}/admin/whois/@admin:{DOMAIN}"
    (await world.ask("GET", other, token=up["access_token"])).refused(403, "M_FORBIDDEN")


# --- contact addresses --------------------------------------------------------------------


async def test_no_contact_addresses(world: World) -> None:
    up = await world.sign_up("ayna")
    token, path = up["access_token"], V3 + "/account/3pid"
    assert (await world.ask("GET", path, token=token)).json == {"threepids": []}
    for end in ("", "/add", "/bind"):
        (await world.ask("POST", path + end, {}, token)).refused(403, "M_THREEPID_DENIED")
        (await world.ask("POST", path + end, {})).refused(401, "M_MISSING_TOKEN")
    for end in ("/delete", "/unbind"):
        body = {"medium": "email", "address": "a@b.test"}
        answer = await world.ask("POST", path + end, body, token)
        assert answer.json == {"id_server_unbind_result": "no-support"}
        (await world.ask("POST", path + end, {"medium": 1}, token)).refused(400, "M_BAD_JSON")
    for of in ("3pid/email", "3pid/msisdn", "password/email", "password/msisdn"):
        answer = await world.ask("POST", f"{V3}/account/{of}/requestToken", {})
        answer.refused(403, "M_THREEPID_DENIED")
    (await world.ask("POST", path + "/add", raw=b"no", token=token)).refused(400, "M_NOT_JSON")
