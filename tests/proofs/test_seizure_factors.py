"""Somebody takes the data folder of people with second factors: nothing in it makes a code."""

from __future__ import annotations

import base64

import pytest

from kerwen.accounts import totp
from tests.accounts.authenticator import Authenticator, unb64
from tests.clients.test_second_factor import Owner
from tests.conftest import FreshServer
from tests.proofs.seizure import search


def secrets_of(owner: Owner, key: Authenticator) -> dict[str, bytes]:
    """Enrols a passkey too; what must not be found, by name."""
    found = {f"recovery code {n}": code.encode() for n, code in enumerate(owner.recovery_codes)}
    half = owner.ask("POST", "/_kerwen/account/second_factor/passkey", owner.first("key"))
    shown = owner.second(half["session"])
    begun = owner.ask("POST", "/_kerwen/account/second_factor/passkey", {"name": "key", **shown})
    options = begun["public_key"]
    prf = key.prf(options)
    confirm = {"enrolment": begun["enrolment"], "credential": key.create(options), "prf": prf}
    done = owner.ask("POST", "/_kerwen/account/second_factor/confirm", confirm)
    assert done["opens_vault"] is True
    found["PRF"] = unb64(prf)
    found["app's secret"] = owner.secret
    found["app's secret as typed"] = totp.secret_text(owner.secret).encode()
    found["app password"] = owner.app_password.encode()
    return found


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_no_second_factor_is_in_the_folder(fresh_server: FreshServer, how: str) -> None:
    server, key = fresh_server("--cheap-passwords"), Authenticator()
    key.origin = server.url.replace("127.0.0.1", "localhost")
    hidden = secrets_of(Owner(server), key)
    getattr(server, how)()
    assert len(hidden) == 14
    assert search(server.data, hidden) == []
    places = search(server.data, {"the passkey's id": key.credential_id})
    assert places, "it looks where factors are kept"
    assert not [place for place in places if place.startswith(server.log.name)], "the log names it"
    assert base64.b32decode(hidden["app's secret as typed"]) == hidden["app's secret"]


def test_wrong_codes_are_counted_through_a_crash(fresh_server: FreshServer) -> None:
    """Who guesses does not begin anew when the power goes."""
    server = fresh_server("--cheap-passwords")
    owner = Owner(server)
    for _ in range(5):
        assert owner.log_in("000000")["errcode"] == "M_FORBIDDEN"
    server.kill9()
    server.start()
    owner.reconnect()
    waits = owner.log_in(owner.code())
    assert waits["errcode"] == "M_LIMIT_EXCEEDED"
    assert 0 < waits["retry_after_ms"] <= 30_000
    assert "access_token" in owner.log_in(owner.recovery_codes[0])


def test_a_used_code_stays_used_through_a_crash(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    owner = Owner(server)
    code = owner.code()
    assert "access_token" in owner.log_in(code)
    used = owner.recovery_codes[1]
    assert "access_token" in owner.log_in(used)
    server.kill9()
    server.start()
    owner.reconnect()
    for shown in (code, used):
        assert owner.log_in(shown)["errcode"] == "M_FORBIDDEN"
