"""Whatever a browser sends as a passkey's answer is right, or refused as wrong; nothing else."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.accounts import passkey
from kerwen.accounts.passkey import party_of
from kerwen.base.errors import Reason, Refused
from tests.accounts.authenticator import Authenticator, b64, unb64

PARTY = party_of("https://house.test", "house.test")
CHALLENGE = b"c" * 32
KEY = Authenticator()
MADE = KEY.create(passkey.creation_options(PARTY, 1, "ayna", CHALLENGE, []))
KEPT = passkey.made(PARTY, CHALLENGE, MADE).key
GIVEN = KEY.get(passkey.request_options(PARTY, CHALLENGE, []))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> dict[str, Any]:
    """An answer in which one thing is not as it was."""
    made = copy.deepcopy(whole)
    place = made["response"] if draw(st.booleans()) else made
    name = draw(st.sampled_from(sorted(place)))
    if draw(st.booleans()) or not isinstance(place[name], str):
        place[name] = draw(JSON)
        return made
    raw = bytearray(unb64(place[name]))
    for _ in range(draw(st.integers(1, 3))):
        how, at = draw(st.integers(0, 2)), draw(st.integers(0, max(0, len(raw) - 1)))
        if how == 0 and raw:
            raw[at] ^= draw(st.integers(1, 255))
        elif how == 1:
            del raw[at:]
        else:
            raw[at:at] = draw(st.binary(max_size=40))
    place[name] = b64(bytes(raw))
    return made


def refused(deed: Any) -> bool:
    try:
        deed()
    except Refused as refusal:
        if refusal.reason is not Reason.WRONG_CODE:
            raise
        return True
    return False


@settings(max_examples=300)
@given(damaged(MADE))
def test_a_damaged_enrolment(credential: dict[str, Any]) -> None:
    refused(lambda: passkey.made(PARTY, CHALLENGE, credential))


@settings(max_examples=300)
@given(damaged(GIVEN))
def test_a_damaged_answer_never_counts_as_signed(credential: dict[str, Any]) -> None:
    if refused(lambda: passkey.answered(PARTY, CHALLENGE, credential, KEPT)):
        return
    # it was taken: then what is signed is just what the authenticator signed
    for name in ("authenticatorData", "clientDataJSON"):
        assert unb64(credential["response"][name]) == unb64(GIVEN["response"][name])


@settings(max_examples=100)
@given(JSON)
def test_nonsense(value: Any) -> None:
    credential = value if isinstance(value, dict) else {"response": value}
    assert refused(lambda: passkey.made(PARTY, CHALLENGE, credential))
    assert refused(lambda: passkey.answered(PARTY, CHALLENGE, credential, KEPT))


def test_deep_nesting_is_refused() -> None:
    deep = {**MADE, "response": {**MADE["response"], "attestationObject": b64(b"\x81" * 40_000)}}
    assert refused(lambda: passkey.made(PARTY, CHALLENGE, deep))
    long = {
        **MADE,
        "response": {**MADE["response"], "attestationObject": b64(b"\x9b" + b"\x7f" * 8)},
    }
    assert refused(lambda: passkey.made(PARTY, CHALLENGE, long))
