"""Log-in, refresh and log-out over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from kerwen.accounts.actions.authenticate import RETIRED_LIFE_MS
from kerwen.accounts.store import accounts, devices
from kerwen.accounts.tokens import slot_key
from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.vault.slots import SlotKind
from tests.accounts.world import DOMAIN, V1, V3, Answer, World, password_auth


async def account_no_of(world: World, localpart: str) -> int:
    async with world.db.read() as snap:
        account = await accounts.by_localpart(snap, localpart)
    assert account is not None
    return account.account_no


async def slots_of(world: World, account_no: int) -> list[str]:
    async with world.db.read() as snap:
        return sorted(kind for kind, _ in await world.vaults.slots(snap, account_no))


async def refresh(world: World, token: str) -> Answer:
    return await world.ask("POST", V3 + "/refresh", {"refresh_token": token})


async def test_flows(world: World) -> None:
    answer = await world.ask("GET", V3 + "/login")
    assert answer.json == {
        "flows": [
            {"type": "m.login.password"},
            {"type": "m.login.token", "get_login_token": True},
        ]
    }


@pytest.mark.parametrize(
    "named",
    [
        {"identifier": {"type": "m.id.user", "user": "ayna"}},
        {"identifier": {"type": "m.id.user", "user": f"@ayna:{DOMAIN}"}},
        {"identifier": {"type": "m.id.user", "user": f"@AYNA:{DOMAIN}"}},
        {"user": "ayna"},
        {"user": f"@ayna:{DOMAIN}", "identifier": None},
    ],
)
async def test_logs_in_by_password(world: World, named: dict[str, Any]) -> None:
    await world.sign_up("ayna")
    body = {"type": "m.login.password", "password": "correct horse", **named}
    answer = await world.ask("POST", V3 + "/login", {**body, "device_id": "TABLET"})
    assert answer.status == 200
    assert answer.json["user_id"] == f"@ayna:{DOMAIN}"
    assert answer.json["device_id"] == "TABLET"
    who = await world.whoami(answer.json["access_token"])
    assert who.json["device_id"] == "TABLET"


async def test_non_ascii_passwords(world: World) -> None:
    await world.sign_up("ayna", "\u00fcbers3kr1t")
    assert (await world.sign_in("ayna", "u\u0308bers3kr1t")).status == 200


async def test_a_right_password_makes_the_vault_that_is_missing(world: World) -> None:
    """So it is with an imported account whose password was reset before its first log-in."""
    await world.sign_up("ayna")
    account_no = await account_no_of(world, "ayna")
    async with world.db.write() as tx:
        await world.vaults.drop_account(tx, account_no)
    assert (await world.sign_in("ayna", "wrong horse")).status == 403
    async with world.db.read() as snap:
        assert await world.vaults.public_key(snap, account_no) is None
    world.told.clear()
    for _ in range(2):
        assert (await world.sign_in("ayna")).status == 200
    slots = await slots_of(world, account_no)
    assert slots == [SlotKind.PASSWORD, SlotKind.TOKEN, SlotKind.TOKEN]
    assert world.told == [("registered", f"@ayna:{DOMAIN}")]
    async with world.db.read() as snap:
        made = await world.vaults.public_key(snap, account_no)
    assert made is not None


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        (password_auth("ayna", "wrong horse"), 403, "M_FORBIDDEN"),
        (password_auth("ayna", ""), 403, "M_FORBIDDEN"),
        (password_auth("ayna", "x" * 5000), 403, "M_FORBIDDEN"),
        (password_auth("nobody"), 403, "M_FORBIDDEN"),
        (password_auth("@ayna:other.test"), 403, "M_FORBIDDEN"),
        (password_auth("\u0000"), 400, "M_INVALID_PARAM"),
        (password_auth(""), 403, "M_FORBIDDEN"),
        ({}, 400, "M_BAD_JSON"),
        ({"type": 5}, 400, "M_BAD_JSON"),
        ({"type": "m.login.dance"}, 400, "M_UNKNOWN"),
        ({"type": "m.login.password"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "user": "ayna"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "password": "correct horse"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "identifier": "ayna", "password": "x"}, 400, "M_BAD_JSON"),
        ({"type": "m.login.password", "identifier": {}, "password": "x"}, 400, "M_UNKNOWN"),
        (
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"},
                "password": "x",
            },
            400,
            "M_UNKNOWN",
        ),
        (
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user"},
                "password": "correct horse",
            },
            400,
            "M_MISSING_PARAM",
        ),
        (
            {**password_auth("ayna"), "identifier": {"type": "m.id.user", "user": 7}},
            400,
            "M_BAD_JSON",
        ),
        ({**password_auth("ayna"), "device_id": "x" * 256}, 400, "M_INVALID_PARAM"),
        ({**password_auth("ayna"), "device_id": "a\nb"}, 400, "M_INVALID_PARAM"),
        ({**password_auth("ayna"), "device_id": "CROSSSIGNINGKEY"}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.token"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.token", "token": "klt_no"}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.token", "token": "\u00e9" * 1000}, 403, "M_FORBIDDEN"),
    ],
)
async def test_log_ins_refused(
    world: World, body: dict[str, Any], status: int, errcode: str
) -> None:
    await world.sign_up("ayna")
    (await world.ask("POST", V3 + "/login", body)).refused(status, errcode)


async def test_an_unknown_name_costs_as_much_as_a_wrong_password(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.sign_up("ayna")
    runs: list[Any] = []
    run = world.accounts.stretcher._run

    async def counted(password: str, salt: bytes, cost: Any) -> Any:
        runs.append(cost)
        return await run(password, salt, cost)

    monkeypatch.setattr(world.accounts.stretcher, "_run", counted)
    known = await world.sign_in("ayna", "wrong horse")
    unknown = await world.sign_in("nobody", "wrong horse")
    abroad = await world.sign_in("@a:other.test", "wrong horse")
    assert known.raw == unknown.raw == abroad.raw
    assert runs == [world.accounts.stretcher.cost] * 3


async def test_a_device_that_logs_in_again_loses_its_old_tokens(world: World) -> None:
    await world.sign_up("ayna", device_id="PHONE", initial_device_display_name="Phone")
    first = (await world.sign_in("ayna", device_id="PHONE", refresh_token=True)).json
    assert (await world.whoami(first["access_token"])).status == 200
    second = await world.sign_in("ayna", device_id="PHONE", initial_device_display_name="ignored")
    (await world.whoami(first["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await refresh(world, first["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    listed = await world.ask("GET", V3 + "/devices", token=second.json["access_token"])
    (device,) = listed.json["devices"]
    assert device["display_name"] == "Phone"
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == ["password", "token"]
    assert not [entry for entry in world.told if entry[0] == "device"]


async def test_log_ins_that_race_for_a_device(world: World) -> None:
    await world.sign_up("ayna")
    answers = await asyncio.gather(
        *(world.sign_in("ayna", device_id="PHONE", refresh_token=True) for _ in range(6))
    )
    assert {answer.status for answer in answers} == {200}
    found = [(await world.whoami(a.json["access_token"])).status for a in answers]
    assert sorted(found) == [200, 401, 401, 401, 401, 401]
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == ["password", "refresh", "token", "token"]


async def test_log_out_races_with_refresh(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    answers = await asyncio.gather(
        *(refresh(world, up["refresh_token"]) for _ in range(3)),
        world.ask("POST", V3 + "/logout", token=up["access_token"]),
        *(refresh(world, up["refresh_token"]) for _ in range(3)),
    )
    assert {answer.status for answer in answers} <= {200, 401}
    for answer in answers:
        if "access_token" in answer.json:
            gone = await world.whoami(answer.json["access_token"])
            gone.refused(401, "M_UNKNOWN_TOKEN")
    assert await slots_of(world, await account_no_of(world, "ayna")) == ["password"]


async def test_the_device_unseen_for_longest_makes_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEVICES_MAX", 3)
    await world.sign_up("ayna", device_id="D0")
    for n in range(1, 5):
        world.clock.ms += 1000
        answer = await world.sign_in("ayna", device_id=f"D{n}")
    async with world.db.read() as snap:
        found = await devices.of(snap, await account_no_of(world, "ayna"))
    assert [device.device_id for device in found] == ["D2", "D3", "D4"]
    assert (await world.whoami(answer.json["access_token"])).status == 200


# --- the vault ----------------------------------------------------------------------------


async def opened_by(world: World, account_no: int, kind: str, token: str) -> list[bytes]:
    """The private keys that a token opens."""
    found = []
    async with world.db.read() as snap:
        for slot_kind, ref in await world.vaults.slots(snap, account_no):
            with contextlib.suppress(Refused):
                if slot_kind == kind:
                    key = slot_key(token)
                    vault = await world.vaults.unlock(snap, account_no, kind, ref, key)
                    found.append(vault.private_key)
    return found


async def test_every_secret_opens_the_same_vault(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    no = await account_no_of(world, "ayna")
    in_ = (await world.sign_in("ayna", refresh_token=True)).json
    again = (await refresh(world, in_["refresh_token"])).json
    keys = []
    for session in (up, in_, again):
        for kind, name in (("token", "access_token"), ("refresh", "refresh_token")):
            found = await opened_by(world, no, kind, session[name])
            assert len(found) == 1
            keys += found
    assert len(set(keys)) == 1
    assert await opened_by(world, no, "token", up["access_token"] + "x") == []


async def test_log_out_shuts_what_the_session_opened(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == ["password", "refresh", "token"]
    await world.ask("POST", V3 + "/logout", token=up["access_token"])
    assert await slots_of(world, no) == ["password"]


# --- refresh ------------------------------------------------------------------------------


async def test_rotation(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True, device_id="PHONE")
    answer = await refresh(world, first["refresh_token"])
    assert answer.status == 200
    second = answer.json
    assert set(second) == {"access_token", "refresh_token", "expires_in_ms"}
    assert second["access_token"] != first["access_token"]
    # until the new pair is used both refresh tokens stand
    assert (await world.whoami(first["access_token"])).status == 200
    who = await world.whoami(second["access_token"])
    assert who.json["device_id"] == "PHONE"
    (await refresh(world, first["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    assert (await refresh(world, second["refresh_token"])).status == 200


async def test_a_lost_answer_can_be_asked_for_again(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    await refresh(world, first["refresh_token"])
    again = (await refresh(world, first["refresh_token"])).json
    assert (await world.whoami(again["access_token"])).status == 200
    (await refresh(world, first["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")


async def test_two_processes_that_refresh_at_once_both_go_on(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    one, two = await asyncio.gather(
        refresh(world, first["refresh_token"]), refresh(world, first["refresh_token"])
    )
    for pair in (one.json, two.json):
        assert (await world.whoami(pair["access_token"])).status == 200
        assert (await refresh(world, pair["refresh_token"])).status == 200


async def test_unused_answers_are_bounded(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    pairs = [
        (await refresh(world, first["refresh_token"])).json for _ in range(limits.REFRESHES_MAX + 3)
    ]
    (await refresh(world, pairs[0]["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    assert (await refresh(world, pairs[-1]["refresh_token"])).status == 200
    no = await account_no_of(world, "ayna")
    assert (await slots_of(world, no)).count("refresh") <= limits.REFRESHES_MAX + 2


async def test_use_of_the_new_refresh_token_ends_the_old_one_too(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    second = (await refresh(world, first["refresh_token"])).json
    assert (await refresh(world, second["refresh_token"])).status == 200
    (await refresh(world, first["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")


async def test_the_old_access_token_ends_soon_after(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    second = (await refresh(world, first["refresh_token"])).json
    await world.whoami(second["access_token"])
    assert (await world.whoami(first["access_token"])).status == 200  # requests under way
    world.clock.ms += RETIRED_LIFE_MS
    old = await world.whoami(first["access_token"])
    old.refused(401, "M_UNKNOWN_TOKEN")
    assert old.json["soft_logout"] is True
    assert (await world.whoami(second["access_token"])).status == 200


async def test_soft_logout(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    assert (await world.whoami(first["access_token"])).status == 200
    world.clock.ms += first["expires_in_ms"]
    expired = await world.whoami(first["access_token"])
    expired.refused(401, "M_UNKNOWN_TOKEN")
    assert expired.json["soft_logout"] is True
    world.clock.ms += 5 * 86_400_000
    await world.accounts.tidy()
    assert (await world.whoami(first["access_token"])).json["soft_logout"] is True
    second = (await refresh(world, first["refresh_token"])).json
    assert (await world.whoami(second["access_token"])).status == 200


async def test_a_refresh_token_that_ended_is_a_soft_logout(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    world.clock.ms += world.accounts.sessions.lives.refresh_ms
    answer = await refresh(world, first["refresh_token"])
    answer.refused(401, "M_UNKNOWN_TOKEN")
    assert answer.json["soft_logout"] is True
    hard = await world.whoami(first["access_token"])
    hard.refused(401, "M_UNKNOWN_TOKEN")
    assert "soft_logout" not in hard.json


async def test_tokens_without_refresh_never_end(world: World) -> None:
    first = await world.sign_up("ayna")
    world.clock.ms += 20 * 365 * 86_400_000
    assert (await world.whoami(first["access_token"])).status == 200


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"refresh_token": 5}, 400, "M_BAD_JSON"),
        ({"refresh_token": "krt_no"}, 401, "M_UNKNOWN_TOKEN"),
        ({"refresh_token": "\u0000"}, 401, "M_UNKNOWN_TOKEN"),
    ],
)
async def test_refreshes_refused(
    world: World, body: dict[str, Any], status: int, errcode: str
) -> None:
    (await world.ask("POST", V3 + "/refresh", body)).refused(status, errcode)


async def test_kinds_of_token_are_not_confused(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    (await world.whoami(first["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await refresh(world, first["access_token"])).refused(401, "M_UNKNOWN_TOKEN")


async def test_sweeping_takes_what_has_ended_and_its_slots(world: World) -> None:
    first = await world.sign_up("ayna", refresh_token=True)
    no = await account_no_of(world, "ayna")
    second = (await refresh(world, first["refresh_token"])).json
    await world.whoami(second["access_token"])
    assert await slots_of(world, no) == ["password", "refresh", "token", "token"]
    world.clock.ms += 2 * 3_600_000
    await world.accounts.tidy()
    assert await slots_of(world, no) == ["password", "refresh", "token"]
    world.clock.ms += 400 * 86_400_000
    await world.accounts.tidy()
    await world.accounts.tidy()
    assert await slots_of(world, no) == ["password"]
    (await refresh(world, second["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")


# --- log-in tokens ------------------------------------------------------------------------


async def login_token(world: World, token: str) -> str:
    path = V1 + "/login/get_token"
    challenge = await world.ask("POST", path, {}, token)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    auth = {**password_auth("ayna"), "session": challenge.json["session"]}
    answer = await world.ask("POST", path, {"auth": auth}, token)
    assert answer.status == 200
    assert answer.json["expires_in_ms"] == 120_000
    found: str = answer.json["login_token"]
    return found


async def test_a_login_token_is_for_one_log_in(world: World) -> None:
    up = await world.sign_up("ayna")
    token = await login_token(world, up["access_token"])
    no = await account_no_of(world, "ayna")
    assert await slots_of(world, no) == [SlotKind.CODE, "password", "token"]
    body = {"type": "m.login.token", "token": token, "device_id": "NEW"}
    answers = await asyncio.gather(*(world.ask("POST", V3 + "/login", body) for _ in range(3)))
    assert sorted(a.status for a in answers) == [200, 403, 403]
    assert await slots_of(world, no) == ["password", "token", "token"]
    (good,) = [a for a in answers if a.status == 200]
    assert good.json["user_id"] == f"@ayna:{DOMAIN}"
    assert good.json["device_id"] == "NEW"


async def test_a_login_token_ends(world: World) -> None:
    up = await world.sign_up("ayna")
    token = await login_token(world, up["access_token"])
    world.clock.ms += 120_000
    body = {"type": "m.login.token", "token": token}
    (await world.ask("POST", V3 + "/login", body)).refused(403, "M_FORBIDDEN")
    other = await login_token(world, up["access_token"])
    assert other != token
    world.clock.ms += 120_000
    await world.accounts.tidy()
    assert await slots_of(world, await account_no_of(world, "ayna")) == ["password", "token"]


async def test_each_login_token_asks_for_the_password_again(world: World) -> None:
    up = await world.sign_up("ayna")
    path = V1 + "/login/get_token"
    session = (await world.ask("POST", path, {}, up["access_token"])).json["session"]
    auth = {**password_auth("ayna"), "session": session}
    assert (await world.ask("POST", path, {"auth": auth}, up["access_token"])).status == 200
    again = await world.ask("POST", path, {"auth": {"session": session}}, up["access_token"])
    again.refused(401, "M_UNKNOWN")


# --- log-out ------------------------------------------------------------------------------


async def test_log_out_takes_the_device(world: World) -> None:
    up = await world.sign_up("ayna")
    other = (await world.sign_in("ayna")).json
    answer = await world.ask("POST", V3 + "/logout", token=up["access_token"])
    assert (answer.status, answer.raw) == (200, b"{}")
    (await world.whoami(up["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    listed = await world.ask("GET", V3 + "/devices", token=other["access_token"])
    assert [d["device_id"] for d in listed.json["devices"]] == [other["device_id"]]
    assert [entry[0] for entry in world.told].count("device") == 1


async def test_log_out_everywhere(world: World) -> None:
    up = await world.sign_up("ayna")
    other = (await world.sign_in("ayna", refresh_token=True)).json
    bystander = await world.sign_up("batyr")
    answer = await world.ask("POST", V3 + "/logout/all", {}, token=up["access_token"])
    assert answer.status == 200
    for session in (up, other):
        (await world.whoami(session["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await refresh(world, other["refresh_token"])).refused(401, "M_UNKNOWN_TOKEN")
    assert (await world.whoami(bystander["access_token"])).status == 200


async def test_log_out_needs_a_token(world: World) -> None:
    (await world.ask("POST", V3 + "/logout")).refused(401, "M_MISSING_TOKEN")
    bad = await world.ask("POST", V3 + "/logout", token="invalidAccessToken")
    bad.refused(401, "M_UNKNOWN_TOKEN")
