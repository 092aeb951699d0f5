"""App passwords, resets, invitations, discovery: what the house itself offers over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.accounts.actions.reset_password import WAIT_MS
from kerwen.accounts.store import accounts, tokens
from kerwen.accounts.tokens import token_hash
from kerwen.api.client.wellknown import WellKnown
from kerwen.base import limits
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.accounts.test_account import change_password, make_admin
from tests.accounts.test_login import account_no_of, slots_of
from tests.accounts.world import DOMAIN, V3, World, password_auth

APPS = "/_kerwen/account/app_passwords"
RESET = "/_kerwen/account/password_reset"
INVITATIONS = "/_kerwen/admin/registration_tokens"


async def make_app(world: World, token: str, name: str = "Mail on the phone") -> Any:
    body = {"name": name, "auth": password_auth("ayna")}
    answer = await world.ask("POST", APPS, body, token)
    assert answer.status == 200, answer.raw
    return answer.json


async def test_an_app_password_logs_in_and_opens_the_vault(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    challenge = await world.ask("POST", APPS, {"name": "Mail"}, token)
    challenge.refused(401, None)  # type: ignore[arg-type]
    made = await make_app(world, token)
    typed = made["app_password"].upper().replace("-", " ")
    answer = await world.sign_in("ayna", typed)
    assert answer.status == 200
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == ["app_password", "password", "token", "token"]
    listed = (await world.ask("GET", APPS, token=token)).json["app_passwords"]
    assert listed == [
        {
            "app_no": made["app_no"],
            "name": "Mail on the phone",
            "created_ms": world.clock.ms,
            "used_ms": world.clock.ms,
        }
    ]
    async with world.db.read() as snap:
        assert await tokens.app_password(snap, token_hash(made["app_password"])) == (
            made["app_no"],
            no,
        )
    entry = await world.accounts.app_passwords.check("ayna", typed)
    assert entry is not None
    assert entry.account.account_no == no


async def test_an_app_password_is_its_owners(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    other = (await world.sign_up("batyr"))["access_token"]
    made = await make_app(world, token)
    (await world.sign_in("batyr", made["app_password"])).refused(403, "M_FORBIDDEN")
    path = f"{APPS}/{made['app_no']}"
    (await world.ask("DELETE", path, token=other)).refused(404, "M_NOT_FOUND")
    # it is no password: it changes none and deletes no devices
    (await change_password(world, token, made["app_password"])).refused(401, "M_FORBIDDEN")
    assert (await world.ask("DELETE", path, token=token)).raw == b"{}"
    (await world.ask("DELETE", path, token=token)).refused(404, "M_NOT_FOUND")
    (await world.sign_in("ayna", made["app_password"])).refused(403, "M_FORBIDDEN")
    assert await slots_of(world, await account_no_of(world, "ayna")) == ["password", "token"]


async def test_a_locked_account_is_shut_to_app_passwords(world: World) -> None:
    up = await world.sign_up("ayna")
    made = await make_app(world, up["access_token"])
    await world.accounts.moderate.lock(0, up["user_id"], True)
    (await world.sign_in("ayna", made["app_password"])).refused(401, "M_USER_LOCKED")


async def test_app_passwords_end_with_the_password(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    made = await make_app(world, token)
    await change_password(world, token, logout_devices=False)
    assert (await world.sign_in("ayna", made["app_password"])).status == 200
    await change_password(world, token, "battery staple", "third password")
    (await world.sign_in("ayna", made["app_password"])).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_BAD_JSON"),
        ({"name": 5}, "M_BAD_JSON"),
        ({"name": "\u0000 "}, "M_INVALID_PARAM"),
        ({"name": "x" * 101}, "M_INVALID_PARAM"),
    ],
)
async def test_app_passwords_refused(world: World, body: dict[str, Any], errcode: str) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    full = {**body, "auth": password_auth("ayna")}
    (await world.ask("POST", APPS, full, token)).refused(400, errcode)


@pytest.mark.parametrize("number", ["x", "-1", "9" * 19, "\u0663".encode().hex()])
async def test_numbers_that_are_none(world: World, number: str) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    (await world.ask("DELETE", f"{APPS}/{number}", token=token)).refused(404, "M_NOT_FOUND")


async def test_app_passwords_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APP_PASSWORDS_MAX", 1)
    token = (await world.sign_up("ayna"))["access_token"]
    await make_app(world, token)
    body = {"name": "Second", "auth": password_auth("ayna")}
    (await world.ask("POST", APPS, body, token)).refused(403, "M_FORBIDDEN")


# --- resets -------------------------------------------------------------------------------


def reset_path(name: str = "ayna") -> str:
    return f"/_kerwen/admin/accounts/@{name}:{DOMAIN}/password_reset"


async def test_a_reset_waits_and_the_vault_stays_shut(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    body = {"new_password": "battery staple"}
    begun = await world.ask("POST", reset_path(), body, admin)
    effect_ms = world.clock.ms + WAIT_MS
    assert begun.json == {"effect_ms": effect_ms}
    assert ("reset", effect_ms) in world.told
    seen = await world.ask("GET", RESET, token=up["access_token"])
    assert seen.json == {"begun_ms": world.clock.ms, "effect_ms": effect_ms}
    world.clock.ms = effect_ms - 1
    await world.accounts.tidy()
    (await world.sign_in("ayna", "battery staple")).refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("ayna")).status == 200
    world.clock.ms += 1
    await world.accounts.tidy()
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
    no = await account_no_of(world, "ayna")
    before = await slots_of(world, no)
    assert "password" not in before
    assert (await world.sign_in("ayna", "battery staple")).status == 200
    assert await slots_of(world, no) == before  # the session works, the vault stays shut
    assert (await world.whoami(up["access_token"])).status == 200
    (await world.ask("GET", RESET, token=up["access_token"])).refused(404, "M_NOT_FOUND")


async def test_any_session_stops_a_reset(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    await world.ask("POST", reset_path(), {"new_password": "battery staple"}, admin)
    assert (await world.ask("DELETE", RESET, token=up["access_token"])).raw == b"{}"
    assert world.told[-1] == ("reset", 0)
    (await world.ask("DELETE", RESET, token=up["access_token"])).refused(404, "M_NOT_FOUND")
    world.clock.ms += WAIT_MS
    await world.accounts.tidy()
    assert (await world.sign_in("ayna")).status == 200
    assert await slots_of(world, await account_no_of(world, "ayna")) == [
        "password",
        "token",
        "token",
    ]


async def test_a_reset_begun_again_waits_anew(world: World) -> None:
    admin = await make_admin(world)
    await world.sign_up("ayna")
    await world.ask("POST", reset_path(), {"new_password": "battery staple"}, admin)
    world.clock.ms += WAIT_MS - 1
    await world.ask("POST", reset_path(), {"new_password": "third password"}, admin)
    world.clock.ms += 1
    await world.accounts.tidy()
    assert (await world.sign_in("ayna")).status == 200
    stopped = await world.ask("DELETE", reset_path(), token=admin)
    assert stopped.status == 200


async def test_a_password_change_stops_a_reset(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    await world.ask("POST", reset_path(), {"new_password": "reset by admin"}, admin)
    await change_password(world, up["access_token"])
    world.clock.ms += WAIT_MS
    await world.accounts.tidy()
    assert (await world.sign_in("ayna", "battery staple")).status == 200


async def test_resets_refused(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    body = {"new_password": "battery staple"}
    (await world.ask("POST", reset_path(), body, up["access_token"])).refused(403, "M_FORBIDDEN")
    (await world.ask("POST", reset_path("nobody"), body, admin)).refused(404, "M_NOT_FOUND")
    (await world.ask("POST", reset_path(), {"new_password": "x"}, admin)).refused(
        400, "M_WEAK_PASSWORD"
    )
    (await world.ask("POST", reset_path(), {}, admin)).refused(400, "M_BAD_JSON")


# --- administrators' lists ----------------------------------------------------------------


async def test_invitations_by_administrators(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    made = await world.ask("POST", INVITATIONS, {"token": "welcome", "uses_max": 3}, admin)
    assert made.json == {"token": "welcome", "uses": 0, "uses_max": 3, "expires_ms": 0}
    drawn = (await world.ask("POST", INVITATIONS, {"lives_ms": 5}, admin)).json
    assert len(drawn["token"]) == 16
    assert drawn["expires_ms"] == world.clock.ms + 5
    listed = (await world.ask("GET", INVITATIONS, token=admin)).json["registration_tokens"]
    assert {entry["token"] for entry in listed} == {"welcome", drawn["token"]}
    again = await world.ask("POST", INVITATIONS, {"token": "welcome"}, admin)
    again.refused(409, "M_UNKNOWN")
    for body in ({"token": "no spaces"}, {"token": ""}, {"uses_max": -1}, {"lives_ms": 2**60}):
        (await world.ask("POST", INVITATIONS, body, admin)).refused(400, "M_INVALID_PARAM")
    (await world.ask("GET", INVITATIONS, token=up["access_token"])).refused(403, "M_FORBIDDEN")
    path = INVITATIONS + "/welcome"
    assert (await world.ask("DELETE", path, token=admin)).status == 200
    (await world.ask("DELETE", path, token=admin)).refused(404, "M_NOT_FOUND")


async def test_accounts_are_listed_page_by_page(world: World) -> None:
    admin = await make_admin(world)
    for name in ("c3", "a1", "b2"):
        await world.sign_up(name)
    page = await world.ask("GET", "/_kerwen/admin/accounts?limit=2", token=admin)
    assert [a["name"] for a in page.json["accounts"]] == ["a1", "admin"]
    rest = await world.ask("GET", "/_kerwen/admin/accounts?after=admin", token=admin)
    assert [a["name"] for a in rest.json["accounts"]] == ["b2", "c3"]
    async with world.db.read() as snap:
        assert await accounts.count(snap) == 4


# --- what the server says of itself -------------------------------------------------------


async def test_versions(world: World) -> None:
    answer = await world.ask("GET", "/_matrix/client/versions")
    assert answer.json["versions"] == [f"v1.{n}" for n in range(1, 20)]
    assert answer.json["unstable_features"] == {}


async def test_capabilities(world: World) -> None:
    admin = await make_admin(world)
    up = await world.sign_up("ayna")
    path = V3 + "/capabilities"
    (await world.ask("GET", path)).refused(401, "M_MISSING_TOKEN")
    mine = (await world.ask("GET", path, token=up["access_token"])).json["capabilities"]
    assert mine["m.room_versions"] == {
        "default": "12",
        "available": {"11": "stable", "12": "stable"},
    }
    assert mine["m.change_password"] == {"enabled": True}
    assert mine["m.3pid_changes"] == {"enabled": False}
    assert "m.account_moderation" not in mine
    his = (await world.ask("GET", path, token=admin)).json["capabilities"]
    assert his["m.account_moderation"] == {"suspend": True, "lock": True}


async def test_well_known(database: Database, feed: Feed) -> None:
    support = {"contacts": [{"role": "m.role.admin", "matrix_id": "@admin:house.test"}]}
    known = WellKnown("https://house.test", "house.test:8448", support, {"x.y": {"z": 1}})
    world = World(database, feed, well_known=known)
    path = "/.well-known/matrix/"
    client = await world.ask("GET", path + "client")
    assert client.json == {"m.homeserver": {"base_url": "https://house.test"}, "x.y": {"z": 1}}
    assert client.headers["access-control-allow-origin"] == "*"
    assert (await world.ask("GET", path + "server")).json == {"m.server": "house.test:8448"}
    assert (await world.ask("GET", path + "support")).json == support
    world.close()


async def test_nothing_known(world: World) -> None:
    for name in ("client", "server", "support"):
        (await world.ask("GET", "/.well-known/matrix/" + name)).refused(404, "M_NOT_FOUND")
