"""Tables and properties of the pure rules: addresses, passwords, tokens, authentication stages."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.accounts import uia
from kerwen.accounts.address import (
    localpart_asked_for,
    localpart_named,
    split_user_id,
    user_id_of,
)
from kerwen.accounts.password import (
    CHEAP,
    Argon2,
    check_policy,
    prepared,
    proves,
    stored,
    stretch,
)
from kerwen.accounts.tokens import (
    TokenKind,
    app_password_text,
    app_password_typed,
    slot_key,
    token_hash,
    token_text,
)
from kerwen.accounts.uia import PASSWORD, SECOND_FACTOR, Deed, UiSession, UiSessions
from kerwen.base.errors import Reason, Refused

# --- addresses ----------------------------------------------------------------------------


@given(st.text(max_size=80))
def test_a_localpart_given_out_is_right_in_matrix_and_in_mail(text: str) -> None:
    local = refused = None
    try:
        local = localpart_asked_for(text)
    except Refused as refusal:
        refused = refusal.reason
    if local is None:
        assert refused is Reason.INVALID_USERNAME
        return
    assert set(local) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert local[0] not in "._-"
    assert 1 <= len(local) <= 64
    assert localpart_asked_for(local) == local
    assert split_user_id(user_id_of(local, "a.test")) == (local, "a.test")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("ayna", "ayna"),
        ("AYNA", "ayna"),
        ("@ayna:house.test", "ayna"),
        ("@AYNA:House.Test", "ayna"),
        ("@ayna", "ayna"),
        ("@ayna:other.test", None),
        ("@ayna:house.test:8448", None),
        ("ayna:house.test", None),
        ("", None),
        ("@", None),
        ("@:house.test", None),
        ("aynä", None),
        ("\u212aelvin", None),
        ("a" * 65, None),
    ],
)
def test_names_at_log_in(text: str, local: str | None) -> None:
    assert localpart_named(text, "house.test") == local


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("@a:b", ("a", "b")),
        ("@a:b:8448", ("a", "b:8448")),
        ("@:b", ("", "b")),  # as some old servers gave out
        ("@Old=Name/x:b", ("Old=Name/x", "b")),
        ("@" + "a" * 252 + ":b", ("a" * 252, "b")),
    ],
)
def test_user_ids(text: str, parts: tuple[str, str]) -> None:
    assert split_user_id(text) == parts


@pytest.mark.parametrize(
    "text", ["", "a:b", "@a", "@a:", "@a\0:b", "@" + "a" * 253 + ":b", "@" + "ä" * 127 + ":b"]
)
def test_what_is_no_user_id(text: str) -> None:
    with pytest.raises(Refused) as caught:
        split_user_id(text)
    assert caught.value.reason is Reason.INVALID_PARAM


def test_a_domain_so_long_that_no_name_fits() -> None:
    with pytest.raises(Refused):
        user_id_of("a" * 64, "b" * 200)


# --- passwords ----------------------------------------------------------------------------


def test_one_run_gives_two_independent_halves() -> None:
    keys = stretch("correct horse", b"s" * 16, CHEAP)
    assert len(keys.proof) == len(keys.slot) == 32
    assert keys.proof != keys.slot
    kept = stored(keys, b"s" * 16, CHEAP)
    assert kept.proof_hash == hashlib.sha256(keys.proof).digest()
    assert keys.slot not in kept.proof_hash
    assert proves(keys, kept)
    assert not proves(stretch("correct horsf", b"s" * 16, CHEAP), kept)
    assert not proves(stretch("correct horse", b"t" * 16, CHEAP), kept)


def test_cost_enters_the_keys() -> None:
    dearer = Argon2(memory_kib=128, passes=1, lanes=1)
    assert stretch("x", b"s" * 16, CHEAP) != stretch("x", b"s" * 16, dearer)
    assert Argon2() == Argon2(memory_kib=19456, passes=2, lanes=1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\u00fcber", "u\u0308ber", True),  # one keyboard composes, another does not
        ("a\u00a0\u00e9", "a \u00e9", True),
        ("Password", "password", False),
        ("ﬁ\u00e9", "fi\u00e9", False),  # NFC keeps ligatures
        ("a b", "ab", False),
    ],
)
def test_the_same_password_from_any_keyboard(one: str, other: str, same: bool) -> None:
    assert (prepared(one) == prepared(other)) is same


@given(st.text(max_size=40))
def test_any_text_can_be_a_password(text: str) -> None:
    assert stretch(text, b"s" * 16, CHEAP) == stretch(prepared(text), b"s" * 16, CHEAP)


@pytest.mark.parametrize(
    ("password", "shortest", "fine"),
    [
        ("correct horse", 8, True),
        ("übers3kr1t", 8, True),
        ("sevenxx", 8, False),
        ("x" * 1024 + "yz", 8, False),
        ("password1", 8, False),
        ("QWERTY123", 8, False),
        ("aaaaaaaaaa", 8, False),
        ("aynaorazova", 8, False),
        ("a", 1, True),
        ("password", 1, True),
        ("", 1, False),
        ("", 0, False),
    ],
)
def test_policy(password: str, shortest: int, fine: bool) -> None:
    if fine:
        check_policy(password, "aynaorazova", shortest)
        return
    with pytest.raises(Refused) as caught:
        check_policy(password, "aynaorazova", shortest)
    assert caught.value.reason is Reason.WEAK_PASSWORD
    assert not password or password not in caught.value.public_text


# --- tokens -------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.sampled_from(TokenKind))
def test_tokens_hold_all_their_bits(secret: bytes, kind: TokenKind) -> None:
    text = token_text(kind, secret)
    assert text.startswith(kind.value + "_")
    plain = text.partition("_")[2]
    assert base64.urlsafe_b64decode(plain + "=") == secret
    assert slot_key(text) != token_hash(text)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["-", " ", "", "  - "]))
def test_app_passwords_are_known_however_typed(secret: bytes, between: str) -> None:
    text = app_password_text(secret)
    assert len(text) == 64
    assert app_password_typed(text.replace("-", between).upper()) == text


@pytest.mark.parametrize("text", ["", "correct horse", "a" * 51, "a" * 53, "1" * 52, "a" * 500])
def test_what_is_no_app_password(text: str) -> None:
    assert app_password_typed(text) is None


# --- user-interactive authentication ------------------------------------------------------

TWO_FLOWS = Deed("deed", (("a", "b"), ("c",)))


@pytest.mark.parametrize(
    ("completed", "proved"),
    [
        (set(), False),
        ({"a"}, False),
        ({"b"}, False),
        ({"a", "b"}, True),
        ({"c"}, True),
        ({"a", "c"}, True),
        ({"x"}, False),
    ],
)
def test_flows(completed: set[str], proved: bool) -> None:
    assert UiSession("s", TWO_FLOWS, 7, 1000, completed).proved is proved


def test_a_second_factor_comes_after_the_password() -> None:
    session = UiSession("s", Deed("deed", ((PASSWORD,), ("c",))), 7, 1000, {PASSWORD})
    assert session.proved
    session.second = True
    assert not session.proved
    assert session.challenge()["flows"] == [
        {"stages": [PASSWORD, SECOND_FACTOR]},
        {"stages": ["c"]},
    ]
    session.completed.add(SECOND_FACTOR)
    assert session.proved


def test_a_session_is_for_one_deed_of_one_account() -> None:
    sessions = UiSessions()
    session = sessions.begin("s", TWO_FLOWS, 7, 1000)
    assert sessions.find("s", TWO_FLOWS, 7, 1000) is session
    assert sessions.find("t", TWO_FLOWS, 7, 1000) is None
    assert sessions.find("s", uia.owner_deed("other"), 7, 1000) is None
    assert sessions.find("s", TWO_FLOWS, 8, 1000) is None
    assert sessions.find("s", TWO_FLOWS, 7, 1000 + uia.SESSION_LIFE_MS) is None
    sessions.end("s")
    assert sessions.find("s", TWO_FLOWS, 7, 1000) is None
    sessions.end("s")


def test_sessions_are_bounded_and_the_ended_go_first() -> None:
    sessions = UiSessions(3)
    for n in range(10):
        sessions.begin(str(n), TWO_FLOWS, 0, 0)
        assert len(sessions) <= 3
    assert sessions.find("9", TWO_FLOWS, 0, 0) is not None
    assert sessions.find("6", TWO_FLOWS, 0, 0) is None
    sessions.begin("later", TWO_FLOWS, 0, uia.SESSION_LIFE_MS)
    assert len(sessions) == 1


def test_a_challenge_reads_as_the_specification_says() -> None:
    session = UiSessions().begin("s", TWO_FLOWS, 0, 0)
    flows = [{"stages": ["a", "b"]}, {"stages": ["c"]}]
    assert session.challenge() == {"session": "s", "flows": flows, "params": {}}
    session.completed.add("a")
    assert session.challenge("M_FORBIDDEN", "No") == {
        "session": "s",
        "flows": flows,
        "params": {},
        "completed": ["a"],
        "errcode": "M_FORBIDDEN",
        "error": "No",
    }
