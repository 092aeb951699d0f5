"""The recovery key as it is written down: Matrix's own form, and slips of the pen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.vault.recovery_key import slot_key, typed, written

KEYS = st.binary(min_size=32, max_size=32)
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@given(KEYS)
def test_what_is_written_is_read(key: bytes) -> None:
    text = written(key)
    assert typed(text) == key
    assert typed(text.replace(" ", "")) == key
    assert typed("\n\t" + "  ".join(text) + " ") == key
    assert all(len(group) <= 4 for group in text.split(" "))


def test_it_is_written_as_matrix_recovery_keys_are() -> None:
    # what Matrix clients write for the private key of RFC 7748 §6.1
    key = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    text = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"
    assert written(key) == text
    assert typed(text) == key


@given(KEYS, st.integers(0, 47), st.sampled_from(ALPHABET))
def test_one_wrong_letter_is_noticed_or_nearly_always(key: bytes, at: int, letter: str) -> None:
    text = written(key).replace(" ", "")
    wrong = text[:at] + letter + text[at + 1 :]
    if wrong == text:
        return
    try:
        found = typed(wrong)
    except Refused:
        return
    assert found != key, "one slip in 256 passes the check byte, and opens nothing"


@pytest.mark.parametrize("text", ["", "0", "EsT", "l" * 48, "z" * 48, "1" * 48, "E" * 201, "ş"])
def test_what_is_no_recovery_key(text: str) -> None:
    with pytest.raises(Refused) as refused:
        typed(text)
    assert refused.value.reason is Reason.INVALID_PARAM


@given(st.text(max_size=60) | st.text(ALPHABET, max_size=60))
def test_only_refusals_escape(text: str) -> None:
    try:
        key = typed(text)
    except Refused:
        return
    assert typed(written(key)) == key


def test_the_slot_key_is_not_the_recovery_key() -> None:
    key = bytes(range(32))
    assert len(slot_key(key)) == 32
    assert slot_key(key) != key
    assert slot_key(key) == slot_key(bytes(key))
