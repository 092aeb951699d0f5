"""Second factors over HTTP, on both databases: enrolment, log-in, authentication, loss."""

from __future__ import annotations

import asyncio
import base64
import copy
from typing import Any

import pytest

from kerwen.accounts import totp
from kerwen.accounts.actions.passkey_sign_in import PasskeySignIn
from kerwen.accounts.store import factors
from kerwen.accounts.uia import SECOND_FACTOR
from kerwen.base.errors import Reason, Refused
from kerwen.storage.sql import sql
from kerwen.vault.slots import SlotKind
from tests.accounts.authenticator import PRESENT, Authenticator
from tests.accounts.test_login import account_no_of, slots_of
from tests.accounts.world import V1, V3, Answer, World, password_auth

OWN = "/_kerwen/account/second_factor"
PASSWORD = "correct horse"
HOUR_MS = 3_600_000
HASHES = sql("select hash from recovery_codes where account_no = :account_no")


class App:
    """An authenticator app that took a secret in."""

    def __init__(self, world: World, secret: str) -> None:
        self._world = world
        self._secret = base64.b32decode(secret)

    def code(self, away: int = 0) -> str:
        """The code of now; the clock goes on a step, so that each code is fresh."""
        self._world.clock.ms += totp.STEP_MS
        return totp.hotp(self._secret, totp.step_at(self._world.clock.ms) + away)


async def post(world: World, path: str, token: str, **body: Any) -> Answer:
    return await world.ask("POST", path, body, token)


async def enrolled_totp(world: World, token: str) -> tuple[App, list[str]]:
    """Ayna's first factor: an app, and her recovery codes."""
    auth = password_auth("ayna")
    begun = await post(world, OWN + "/totp", token, name="phone", auth=auth)
    assert begun.status == 200, begun.raw
    app = App(world, begun.json["secret"])
    enrolment = begun.json["enrolment"]
    done = await post(world, OWN + "/confirm", token, enrolment=enrolment, code=app.code())
    assert done.status == 200, done.raw
    return app, done.json["recovery_codes"]


async def proved(
    world: World, method: str, path: str, token: str | None, body: dict[str, Any], **shown: Any
) -> Answer:
    """Both stages of authentication, one after the other."""
    first = await world.ask(method, path, {**body, "auth": password_auth("ayna")}, token)
    assert first.status == 401, first.raw
    auth = {"type": SECOND_FACTOR, "session": first.json["session"], **shown}
    return await world.ask(method, path, {**body, "auth": auth}, token)


async def enrolled_passkey(
    world: World, token: str, key: Authenticator, prf: bool = False, **shown: Any
) -> Answer:
    """One more factor of Ayna's: a passkey."""
    body = {"name": "key"}
    path = OWN + "/passkey"
    if shown:
        begun = await proved(world, "POST", path, token, body, **shown)
    else:
        begun = await post(world, path, token, name="key", auth=password_auth("ayna"))
    assert begun.status == 200, begun.raw
    options = begun.json["public_key"]
    confirm: dict[str, Any] = {"enrolment": begun.json["enrolment"]}
    confirm["credential"] = key.create(options)
    if prf:
        confirm["prf"] = key.prf(options)
    return await world.ask("POST", OWN + "/confirm", confirm, token)


async def factors_of(world: World, token: str) -> list[tuple[str, str]]:
    found = (await world.ask("GET", OWN, token=token)).json
    return [(one["kind"], one["name"]) for one in found["factors"]]


# --- enrolment ----------------------------------------------------------------------------


async def test_enrolment_asks_for_the_password(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    asked = await post(world, OWN + "/totp", token, name="phone")
    assert (asked.status, asked.json["flows"]) == (401, [{"stages": ["m.login.password"]}])
    wrong = await post(world, OWN + "/totp", token, name="x", auth=password_auth("ayna", "wrong"))
    assert wrong.status == 401
    assert await factors_of(world, token) == []


async def test_an_unconfirmed_factor_asks_for_nothing(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    begun = await post(world, OWN + "/totp", token, name="phone", auth=password_auth("ayna"))
    enrolment = begun.json["enrolment"]
    wrong = await post(world, OWN + "/confirm", token, enrolment=enrolment, code="000000")
    wrong.refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("ayna")).status == 200
    other = (await world.sign_up("batyr"))["access_token"]
    code = App(world, begun.json["secret"]).code()
    (await post(world, OWN + "/confirm", other, enrolment=enrolment, code=code)).refused(
        404, "M_NOT_FOUND"
    )
    world.clock.ms += HOUR_MS
    late = await post(world, OWN + "/confirm", token, enrolment=enrolment, code=code)
    late.refused(404, "M_NOT_FOUND")
    assert await factors_of(world, token) == []


async def test_factors_are_listed_and_removed(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, codes = await enrolled_totp(world, token)
    assert len(set(codes)) == 10
    added = await enrolled_passkey(world, token, Authenticator(), code=app.code())
    assert added.json.keys() == {"factor_no", "opens_vault"}
    assert await factors_of(world, token) == [("totp", "phone"), ("passkey", "key")]
    listed = (await world.ask("GET", OWN, token=token)).json
    assert listed["recovery_codes_left"] == 10
    for one in listed["factors"]:
        path = f"{OWN}/{one['factor_no']}"
        alone = await world.ask("DELETE", path, {"auth": password_auth("ayna")}, token)
        assert alone.status == 401
        gone = await proved(world, "DELETE", path, token, {}, code=codes.pop())
        assert gone.status == 200, gone.raw
    assert (await world.ask("GET", OWN, token=token)).json == {
        "factors": [],
        "recovery_codes_left": 0,
    }
    assert (await world.sign_in("ayna")).status == 200


async def test_nobody_removes_anothers_factor(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    await enrolled_totp(world, token)
    other = (await world.sign_up("batyr"))["access_token"]
    number = (await world.ask("GET", OWN, token=token)).json["factors"][0]["factor_no"]
    body = {"auth": password_auth("batyr")}
    (await world.ask("DELETE", f"{OWN}/{number}", body, other)).refused(404, "M_NOT_FOUND")
    assert len(await factors_of(world, token)) == 1


async def test_new_recovery_codes_end_the_old(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, old = await enrolled_totp(world, token)
    renewed = await proved(world, "POST", OWN + "/recovery_codes", token, {}, code=app.code())
    new = renewed.json["recovery_codes"]
    (await world.sign_in("ayna", f"{PASSWORD} {old[0]}")).refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("ayna", f"{PASSWORD} {new[0]}")).status == 200


# --- log-in -------------------------------------------------------------------------------


async def test_the_password_alone_is_refused_in_words(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    refused = await world.sign_in("ayna")
    refused.refused(403, "M_FORBIDDEN")
    assert "app password" in refused.json["error"]
    assert (await world.sign_in("ayna", f"{PASSWORD} {app.code()}")).status == 200
    assert (await world.whoami(token)).status == 200  # sessions of before go on


async def test_a_wrong_password_says_nothing_of_the_factor(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    for wrong in ("wrong horse", f"wrong horse {app.code()}", f"wrong {PASSWORD}"):
        answer = await world.sign_in("ayna", wrong)
        answer.refused(403, "M_FORBIDDEN")
        assert answer.json["error"] == "Wrong name or password"
    nobody = await world.sign_in("nobody", f"{PASSWORD} 123456")
    assert nobody.json["error"] == "Wrong name or password"


async def test_without_a_factor_a_code_is_part_of_a_wrong_password(world: World) -> None:
    await world.sign_up("ayna")
    await world.sign_up("batyr", "horse 123456")
    (await world.sign_in("ayna", f"{PASSWORD} 123456")).refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("batyr", "horse 123456")).status == 200


async def test_a_code_is_good_once(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    typed = f"{PASSWORD} {app.code()}"
    assert (await world.sign_in("ayna", typed)).status == 200
    replayed = await world.sign_in("ayna", typed)
    replayed.refused(403, "M_FORBIDDEN")
    assert "code is wrong or was used" in replayed.json["error"]


async def test_the_code_of_the_confirmation_is_used_up(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    begun = await post(world, OWN + "/totp", token, name="phone", auth=password_auth("ayna"))
    code = App(world, begun.json["secret"]).code()
    await post(world, OWN + "/confirm", token, enrolment=begun.json["enrolment"], code=code)
    (await world.sign_in("ayna", f"{PASSWORD} {code}")).refused(403, "M_FORBIDDEN")


async def test_a_recovery_code_is_good_once(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    _, codes = await enrolled_totp(world, token)
    typed = f"{PASSWORD} {codes[3].upper()}"
    assert (await world.sign_in("ayna", typed)).status == 200
    (await world.sign_in("ayna", typed)).refused(403, "M_FORBIDDEN")
    assert (await world.ask("GET", OWN, token=token)).json["recovery_codes_left"] == 9


async def test_another_accounts_codes_open_nothing(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, codes = await enrolled_totp(world, token)
    other = (await world.sign_up("batyr"))["access_token"]
    begun = await post(world, OWN + "/totp", other, name="x", auth=password_auth("batyr"))
    code = App(world, begun.json["secret"]).code()
    await post(world, OWN + "/confirm", other, enrolment=begun.json["enrolment"], code=code)
    for shown in (app.code(), codes[0]):
        (await world.sign_in("batyr", f"{PASSWORD} {shown}")).refused(403, "M_FORBIDDEN")


async def test_guessers_wait_and_the_owner_has_a_way(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, codes = await enrolled_totp(world, token)
    for _ in range(5):
        (await world.sign_in("ayna", f"{PASSWORD} 000000")).refused(403, "M_FORBIDDEN")
    typed = f"{PASSWORD} {app.code()}"  # 30 s later
    world.clock.ms -= 1
    waits = await world.sign_in("ayna", typed)
    waits.refused(429, "M_LIMIT_EXCEEDED")
    assert waits.json["retry_after_ms"] == 1
    assert (await world.sign_in("ayna", f"{PASSWORD} {codes[0]}")).status == 200
    assert (await world.sign_in("ayna", typed)).status == 200


async def test_the_wait_grows_with_each_wrong_code(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    await enrolled_totp(world, token)
    no = await account_no_of(world, "ayna")
    waits = []
    for _ in range(14):
        await world.sign_in("ayna", f"{PASSWORD} 000000")
        async with world.db.read() as snap:
            _, until = await factors.failures(snap, no)
        waits.append(max(0, until - world.clock.ms) // 1000)
        world.clock.ms = max(until, world.clock.ms)
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_app_passwords_go_on(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    body = {"name": "nheko", "auth": password_auth("ayna")}
    before = await world.ask("POST", "/_kerwen/account/app_passwords", body, token)
    app, _ = await enrolled_totp(world, token)
    after = await proved(
        world, "POST", "/_kerwen/account/app_passwords", token, {"name": "x"}, code=app.code()
    )
    for made in (before, after):
        assert (await world.sign_in("ayna", made.json["app_password"])).status == 200


async def test_mail_takes_app_passwords_only(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    await enrolled_totp(world, token)
    with pytest.raises(Refused) as refused:
        await world.accounts.prove.password("ayna", PASSWORD)
    assert refused.value.reason is Reason.SECOND_FACTOR_NEEDED


async def test_a_lost_race_uses_a_code_once(world: World) -> None:
    """Two log-ins with one code at the same moment: one of them is refused."""
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    typed = f"{PASSWORD} {app.code()}"
    both = await asyncio.gather(*(world.sign_in("ayna", typed) for _ in range(4)))
    assert sorted(answer.status for answer in both) == [200, 403, 403, 403]


# --- user-interactive authentication ------------------------------------------------------


async def test_both_stages_are_asked_for(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    path = V1 + "/login/get_token"
    asked = await world.ask("POST", path, {}, token)
    stages = ["m.login.password", SECOND_FACTOR]
    assert (asked.status, asked.json["flows"]) == (401, [{"stages": stages}])
    assert asked.json["params"] == {}
    session = asked.json["session"]
    early = {"type": SECOND_FACTOR, "session": session, "code": app.code()}
    assert (await world.ask("POST", path, {"auth": early}, token)).status == 401
    auth = {**password_auth("ayna"), "session": session}
    half = await world.ask("POST", path, {"auth": auth}, token)
    assert (half.status, half.json["completed"]) == (401, ["m.login.password"])
    assert half.json["params"] == {SECOND_FACTOR: {"kinds": ["totp", "recovery_code"]}}
    for wrong in ({}, {"code": "000000"}, {"code": 5}, {"credential": {}}, {"credential": 5}):
        auth = {"type": SECOND_FACTOR, "session": session, **wrong}
        answer = await world.ask("POST", path, {"auth": auth}, token)
        assert answer.status in (400, 401), answer.raw
    for incomplete in ({}, {"type": "m.login.dummy"}, password_auth("ayna")):
        auth = {"session": session, **incomplete}
        assert (await world.ask("POST", path, {"auth": auth}, token)).status == 401
    auth = {"type": SECOND_FACTOR, "session": session, "code": app.code()}
    done = await world.ask("POST", path, {"auth": auth}, token)
    assert done.status == 200, done.raw
    again = await world.ask("POST", path, {"auth": auth}, token)
    assert again.status == 401  # the proof was for one deed


async def test_a_session_proves_no_other_deed(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    half = await world.ask("POST", V1 + "/login/get_token", {"auth": password_auth("ayna")}, token)
    auth = {"type": SECOND_FACTOR, "session": half.json["session"], "code": app.code()}
    other = await world.ask("POST", V3 + "/delete_devices", {"devices": [], "auth": auth}, token)
    assert (other.status, other.json["errcode"]) == (401, "M_UNKNOWN")


async def test_a_password_is_changed_without_a_token(world: World) -> None:
    """The account is known from its password alone: the second stage comes all the same."""
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    path, body = V3 + "/account/password", {"new_password": "battery staple"}
    done = await proved(world, "POST", path, None, body, code=app.code())
    assert done.status == 200, done.raw
    assert (await world.sign_in("ayna", f"battery staple {app.code()}")).status == 200


async def test_accounts_without_a_factor_see_one_stage(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    other = (await world.sign_up("batyr"))["access_token"]
    await enrolled_totp(world, token)
    body = {"auth": password_auth("batyr")}
    assert (await world.ask("POST", V1 + "/login/get_token", body, other)).status == 200


# --- passkeys -----------------------------------------------------------------------------


async def asked_passkey(world: World, token: str) -> tuple[str, dict[str, Any]]:
    """A session that waits for a passkey, and what the browser is given."""
    path = V1 + "/login/get_token"
    half = await world.ask("POST", path, {"auth": password_auth("ayna")}, token)
    return half.json["session"], half.json["params"][SECOND_FACTOR]["passkey"]


async def shown(world: World, token: str, session: str, credential: Any) -> Answer:
    auth = {"type": SECOND_FACTOR, "session": session, "credential": credential}
    return await world.ask("POST", V1 + "/login/get_token", {"auth": auth}, token)


@pytest.mark.parametrize("alg", [-7, -8, -257])
async def test_a_passkey_is_a_second_factor(world: World, alg: int) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator(alg=alg)
    added = await enrolled_passkey(world, token, key)
    assert added.status == 200, added.raw
    assert len(added.json["recovery_codes"]) == 10
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
    session, options = await asked_passkey(world, token)
    assert options["userVerification"] == "discouraged"
    answer = await shown(world, token, session, key.get(options))
    assert answer.status == 200, answer.raw


WRONG_ANSWERS: list[Any] = [
    lambda key, options: key.get(options, origin="https://evil.test"),
    lambda key, options: key.get(options, origin="https://a.house.test"),
    lambda key, options: key.get(options, type="webauthn.create"),
    lambda key, options: key.get(options, challenge="A" * 43),
    lambda key, options: key.get(options, crossOrigin=True),
    lambda key, options: key.get(options, rp_id="evil.test"),
    lambda key, options: {**key.get(options), "rawId": "AAAA", "id": "AAAA"},
    lambda key, options: {**key.get(options), "response": {}},
    lambda key, options: {},
    lambda key, options: {"rawId": 5},
    lambda key, options: {"rawId": "!"},
    lambda key, options: _cut(key.get(options), "signature"),
    lambda key, options: _cut(key.get(options), "authenticatorData"),
    lambda key, options: _cut(key.get(options), "clientDataJSON"),
    lambda key, options: _as(key, options, flags=0),
    lambda key, options: _as(key, options, key=Authenticator().key),
]


async def test_wrong_answers_of_a_passkey(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key)
    session, options = await asked_passkey(world, token)
    for number, make in enumerate(WRONG_ANSWERS):
        wrong = await shown(world, token, session, make(copy.copy(key), options))
        assert (wrong.status, wrong.json["errcode"]) == (401, "M_FORBIDDEN"), (number, wrong.raw)
        assert "login_token" not in wrong.json
    assert (await shown(world, token, session, key.get(options))).status == 200


def _cut(credential: dict[str, Any], name: str) -> dict[str, Any]:
    response = credential["response"]
    return {**credential, "response": {**response, name: response[name][:-8]}}


def _as(one: Authenticator, options: dict[str, Any], **so: Any) -> dict[str, Any]:
    for name, value in so.items():
        setattr(one, name, value)
    return one.get(options)


async def test_an_answer_is_not_taken_twice(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key)
    session, options = await asked_passkey(world, token)
    answer = key.get(options)
    assert (await shown(world, token, session, answer)).status == 200
    session, _ = await asked_passkey(world, token)
    assert (await shown(world, token, session, answer)).status == 401


async def test_a_copied_key_is_refused(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator(counter=10)
    await enrolled_passkey(world, token, key)
    key.counter = 10  # its next answer says 11: the count that enrolment saw
    session, options = await asked_passkey(world, token)
    refused = await shown(world, token, session, key.get(options))
    assert refused.status == 401
    assert "copied" in refused.json["error"]
    assert (await shown(world, token, session, key.get(options))).status == 200


async def test_synced_passkeys_count_nothing(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator(counts=False)
    await enrolled_passkey(world, token, key)
    for _ in range(2):
        session, options = await asked_passkey(world, token)
        assert (await shown(world, token, session, key.get(options))).status == 200


async def test_anothers_passkey_is_no_factor_of_mine(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    mine, others = Authenticator(), Authenticator()
    await enrolled_passkey(world, token, mine)
    other = (await world.sign_up("batyr"))["access_token"]
    begun = await post(world, OWN + "/passkey", other, name="k", auth=password_auth("batyr"))
    credential = others.create(begun.json["public_key"])
    body = {"enrolment": begun.json["enrolment"], "credential": credential}
    assert (await world.ask("POST", OWN + "/confirm", body, other)).status == 200
    session, options = await asked_passkey(world, token)
    assert (await shown(world, token, session, others.get(options))).status == 401
    begun = await post(world, OWN + "/passkey", other, name="k", auth=password_auth("batyr"))
    assert begun.status == 401  # batyr has a factor now


async def test_a_passkey_is_enrolled_once(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    codes = (await enrolled_passkey(world, token, key)).json["recovery_codes"]
    again = await enrolled_passkey(world, token, key, code=codes[0])
    again.refused(409, "M_UNKNOWN")


@pytest.mark.parametrize(
    "said", [{"origin": "https://evil.test"}, {"challenge": "A" * 43}, {"rp_id": "evil.test"}]
)
async def test_a_wrong_answer_enrols_nothing(world: World, said: dict[str, str]) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    begun = await post(world, OWN + "/passkey", token, name="k", auth=password_auth("ayna"))
    credential = Authenticator().create(begun.json["public_key"], **said)
    body = {"enrolment": begun.json["enrolment"], "credential": credential}
    (await world.ask("POST", OWN + "/confirm", body, token)).refused(403, "M_FORBIDDEN")
    assert await factors_of(world, token) == []


async def test_a_passkey_with_a_prf_gets_a_slot_of_the_vault(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    no = await account_no_of(world, "ayna")
    added = await enrolled_passkey(world, token, Authenticator(), prf=True)
    assert added.json["opens_vault"] is True
    assert await slots_of(world, no) == ["passkey", "password", "token"]
    code = added.json["recovery_codes"][0]
    path = f"{OWN}/{added.json['factor_no']}"
    assert (await proved(world, "DELETE", path, token, {}, code=code)).status == 200
    assert await slots_of(world, no) == ["password", "token"]


async def test_presence_is_enough_after_a_password(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator(flags=PRESENT)
    await enrolled_passkey(world, token, key)
    session, options = await asked_passkey(world, token)
    assert (await shown(world, token, session, key.get(options))).status == 200


# --- at rest, lost, closed ----------------------------------------------------------------


async def test_the_disk_does_not_show_the_secret(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    begun = await post(world, OWN + "/totp", token, name="phone", auth=password_auth("ayna"))
    secret = base64.b32decode(begun.json["secret"])
    code = App(world, begun.json["secret"]).code()
    done = await post(world, OWN + "/confirm", token, enrolment=begun.json["enrolment"], code=code)
    no = await account_no_of(world, "ayna")
    async with world.db.read() as snap:
        kept = await factors.of(snap, no)
        hashes = await snap.all(HASHES, account_no=no)
    assert secret not in kept[0].secret
    assert begun.json["secret"].encode() not in kept[0].secret
    for code in done.json["recovery_codes"]:
        assert not any(code.encode() in bytes(row[0]) for row in hashes)


async def test_a_password_reset_is_no_way_around(world: World) -> None:
    """After an administrator's reset the app's codes cannot be read: a recovery code lets in."""
    token = (await world.sign_up("ayna"))["access_token"]
    app, codes = await enrolled_totp(world, token)
    no = await account_no_of(world, "ayna")
    await world.accounts.reset_password.begin(0, no, "battery staple")
    world.clock.ms += 73 * HOUR_MS
    await world.accounts.tidy()
    (await world.sign_in("ayna", "battery staple")).refused(403, "M_FORBIDDEN")
    shut = await world.sign_in("ayna", f"battery staple {app.code()}")
    shut.refused(403, "M_FORBIDDEN")
    assert "recovery code" in shut.json["error"]
    assert (await world.sign_in("ayna", f"battery staple {codes[0]}")).status == 200


async def admin_of(world: World) -> str:
    from kerwen.accounts.store import accounts

    token: str = (await world.sign_up("boss"))["access_token"]
    no = await account_no_of(world, "boss")
    async with world.db.write() as tx:
        await accounts.set_admin(tx, no, True)
    return token


RESET = "/_kerwen/admin/accounts/@ayna:house.test/second_factor_reset"


async def test_a_lost_factor_waits_three_days(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key, prf=True)
    admin = await admin_of(world)
    (await world.ask("POST", RESET, {}, token)).refused(403, "M_FORBIDDEN")
    begun = await world.ask("POST", RESET, {}, admin)
    assert begun.json == {"effect_ms": world.clock.ms + 72 * HOUR_MS}
    assert world.told[-1] == ("reset", begun.json["effect_ms"])
    seen = await world.ask("GET", OWN + "_reset", token=token)
    assert seen.json["effect_ms"] == begun.json["effect_ms"]
    world.clock.ms += 71 * HOUR_MS
    await world.accounts.tidy()
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
    world.clock.ms += HOUR_MS
    await world.accounts.tidy()
    assert (await world.sign_in("ayna")).status == 200
    assert await factors_of(world, token) == []
    assert "passkey" not in await slots_of(world, await account_no_of(world, "ayna"))


async def test_any_session_stops_the_reset(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    await enrolled_totp(world, token)
    admin = await admin_of(world)
    await world.ask("POST", RESET, {}, admin)
    assert (await world.ask("DELETE", OWN + "_reset", token=token)).status == 200
    (await world.ask("DELETE", OWN + "_reset", token=token)).refused(404, "M_NOT_FOUND")
    (await world.ask("GET", OWN + "_reset", token=token)).refused(404, "M_NOT_FOUND")
    world.clock.ms += 73 * HOUR_MS
    await world.accounts.tidy()
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")


async def test_there_is_nothing_to_reset_without_a_factor(world: World) -> None:
    await world.sign_up("ayna")
    admin = await admin_of(world)
    (await world.ask("POST", RESET, {}, admin)).refused(404, "M_NOT_FOUND")
    (await world.ask("DELETE", RESET, {}, admin)).refused(404, "M_NOT_FOUND")


async def test_a_closed_account_keeps_no_factor(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    app, _ = await enrolled_totp(world, token)
    no = await account_no_of(world, "ayna")
    path = V3 + "/account/deactivate"
    assert (await proved(world, "POST", path, token, {}, code=app.code())).status == 200
    async with world.db.read() as snap:
        assert not await factors.stands(snap, no)
        assert await factors.codes_left(snap, no) == 0


async def test_limits_of_factors_and_names(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    for name in ("", " \n", "x" * 101):
        bad = await post(world, OWN + "/totp", token, name=name, auth=password_auth("ayna"))
        bad.refused(400, "M_INVALID_PARAM")
    (await post(world, OWN + "/totp", token, name=5)).refused(400, "M_BAD_JSON")
    (await world.ask("DELETE", OWN + "/x", {}, token)).refused(404, "M_NOT_FOUND")
    (await post(world, OWN + "/confirm", token, enrolment="x")).refused(400, "M_MISSING_PARAM")
    huge = b'{"name": "%b"}' % (b"x" * 70_000)
    (await world.ask("POST", OWN + "/totp", token=token, raw=huge)).refused(413, "M_TOO_LARGE")


# --- a passkey alone ----------------------------------------------------------------------


def sign_in_of(world: World) -> PasskeySignIn:
    return PasskeySignIn(world.db, world.vaults, world.accounts.prove.second, world.clock)


async def test_a_passkey_with_a_prf_signs_in_alone(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key, prf=True)
    sign_in = sign_in_of(world)
    options = sign_in.begin()
    assert (options["userVerification"], options["allowCredentials"]) == ("required", [])
    answer = key.get(options)
    account, secret = await sign_in.finish(answer, key.prf(options))
    assert account.localpart == "ayna"
    async with world.db.read() as snap:
        with await world.vaults.unlock(snap, account.account_no, *secret) as opened:
            assert opened.generations == [1]
    with pytest.raises(Refused) as again:
        await sign_in.finish(answer, key.prf(options))
    assert again.value.reason is Reason.WRONG_CODE


async def refused_alone(world: World, key: Authenticator, **so: Any) -> str:
    """Why a passkey alone is refused."""
    sign_in = sign_in_of(world)
    options = sign_in.begin()
    prf = so.pop("prf", key.prf(options))
    world.clock.ms += so.pop("later", 0)
    if so.pop("foreign", False):
        sign_in = sign_in_of(world)
    with pytest.raises(Refused) as refused:
        await sign_in.finish(key.get(options, **so), prf)
    assert refused.value.reason is Reason.WRONG_CODE
    return refused.value.public_text


async def test_what_a_passkey_alone_must_show(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key, prf=True)
    assert "alone" in await refused_alone(world, key, prf=None)
    assert "does not open" in await refused_alone(world, key, prf="A" * 43)
    assert "not right" in await refused_alone(world, key, origin="https://evil.test")
    assert "too long" in await refused_alone(world, key, later=5 * 60_000)
    assert "too long" in await refused_alone(world, key, foreign=True)
    assert "too long" in await refused_alone(world, key, challenge="A" * 43)
    assert "not right" in await refused_alone(world, key, challenge=5)
    assert "not known" in await refused_alone(world, Authenticator())
    key.flags = PRESENT
    assert "not right" in await refused_alone(world, key)


async def test_a_passkey_without_a_prf_is_a_second_factor_only(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key)
    assert "alone" in await refused_alone(world, key)


async def test_a_removed_passkey_signs_nobody_in(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    added = (await enrolled_passkey(world, token, key, prf=True)).json
    path, code = f"{OWN}/{added['factor_no']}", added["recovery_codes"][0]
    await proved(world, "DELETE", path, token, {}, code=code)
    assert "not known" in await refused_alone(world, key)


async def test_a_passkey_opens_the_vault_after_a_password_reset(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    key = Authenticator()
    await enrolled_passkey(world, token, key, prf=True)
    no = await account_no_of(world, "ayna")
    await world.accounts.reset_password.begin(0, no, "battery staple")
    world.clock.ms += 73 * HOUR_MS
    await world.accounts.tidy()
    assert "password" not in await slots_of(world, no)
    sign_in = sign_in_of(world)
    options = sign_in.begin()
    account, secret = await sign_in.finish(key.get(options), key.prf(options))
    async with world.db.read() as snap:
        (await world.vaults.unlock(snap, account.account_no, *secret)).close()


async def test_an_app_needs_a_vault_that_opens(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    no = await account_no_of(world, "ayna")
    async with world.db.write() as tx:  # as after a reset
        for kind in (SlotKind.PASSWORD, SlotKind.TOKEN):
            await world.vaults.drop_slots(tx, no, kind)
    begun = await post(world, OWN + "/totp", token, name="phone", auth=password_auth("ayna"))
    begun.refused(403, "M_FORBIDDEN")
    added = await enrolled_passkey(world, token, Authenticator(), prf=True)
    assert added.json["opens_vault"] is False
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
