"""Slots: what opens them, and that nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.vault.slots import SlotKind, bound, key_of_secret, unwrap, wrap

PRIVATE, KEY, NONCE = bytes(range(32)), b"k" * 32, b"n" * 12


def slot() -> bytes:
    return wrap(PRIVATE, KEY, 7, SlotKind.TOKEN, "3", NONCE)


def test_a_slot_opens_with_its_key() -> None:
    assert unwrap(slot(), KEY, 7, SlotKind.TOKEN, "3") == PRIVATE
    assert isinstance(unwrap(slot(), KEY, 7, "token", "3"), bytearray)
    assert PRIVATE not in slot()


@pytest.mark.parametrize(
    ("key", "account_no", "kind", "ref"),
    [
        (b"x" * 32, 7, "token", "3"),
        (KEY, 8, "token", "3"),
        (KEY, 7, "refresh", "3"),
        (KEY, 7, "token", "4"),
        (KEY[:31], 7, "token", "3"),
        (b"", 7, "token", "3"),
    ],
)
def test_nothing_else_opens_it(key: bytes, account_no: int, kind: str, ref: str) -> None:
    with pytest.raises(Refused) as refused:
        unwrap(slot(), key, account_no, kind, ref)
    assert refused.value.reason is Reason.BOX_DAMAGED


@given(st.integers(0, len(slot()) - 1), st.integers(1, 255))
def test_one_changed_byte_shuts_it(at: int, change: int) -> None:
    damaged = bytearray(slot())
    damaged[at] ^= change
    with pytest.raises(Refused):
        unwrap(bytes(damaged), KEY, 7, "token", "3")


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(box: bytes) -> None:
    with pytest.raises(Refused):
        unwrap(box, KEY, 7, "token", "3")


def test_a_slot_that_holds_no_key_is_refused() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    data = b"kerwen/1 vault slot" + bound(7, "token", "3")
    short = b"\x01" + NONCE + ChaCha20Poly1305(KEY).encrypt(NONCE, b"short", data)
    with pytest.raises(Refused):
        unwrap(short, KEY, 7, "token", "3")


PARTS = st.lists(st.text(max_size=6) | st.integers(0, 999), max_size=4)


@given(PARTS, PARTS)
def test_different_parts_never_read_the_same(one: list[str | int], other: list[str | int]) -> None:
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (bound(*one) == bound(*other)) is same


def test_key_of_secret_is_hkdf() -> None:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    assert key_of_secret(b"secret", b"for") == HKDF(SHA256(), 32, None, b"for").derive(b"secret")
    assert key_of_secret(b"secret", b"for") != key_of_secret(b"secret", b"other")
