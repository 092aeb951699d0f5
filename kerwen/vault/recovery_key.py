"""The recovery key as people write it down, in the form of Matrix's own recovery keys, so that
one key written on one paper opens both halves.

    EsTc LW2K PAmV ...      base58 of 0x8B 0x01, 32 bytes, and a byte that makes the XOR zero
"""

# CS #key-representation

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final

from kerwen.base.errors import Reason, Refused
from kerwen.vault.slots import KEY_BYTES, key_of_secret

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PREFIX: Final = b"\x8b\x01"
_RAW_BYTES: Final = len(_PREFIX) + KEY_BYTES + 1
_TYPED_MAX: Final = 200
_SLOT: Final = b"kerwen/1 recovery key: vault slot"


def written(key: bytes) -> str:
    """A 32-byte recovery key in groups of four letters."""
    assert len(key) == KEY_BYTES
    raw = _PREFIX + key
    number = int.from_bytes(raw + bytes([reduce(xor, raw)]), "big")
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(_ALPHABET[value])
    text = "".join(reversed(letters))  # the prefix is not zero, so there are no leading ones
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def typed(text: str) -> bytes:
    """The 32 bytes of a recovery key as somebody typed it, spaces anywhere.

    Says `INVALID_PARAM` where a letter is wrong: the check byte and the prefix find a slip
    with a chance of all but one in 16 million.
    """
    letters = "".join(text.split()) if len(text) <= _TYPED_MAX else ""
    number = 0
    for letter in letters:
        value = _VALUES.get(letter)
        if value is None:
            raise _mistyped()
        number = number * 58 + value
    if not letters or number.bit_length() > 8 * _RAW_BYTES:
        raise _mistyped()
    raw = number.to_bytes(_RAW_BYTES, "big")
    if raw[: len(_PREFIX)] != _PREFIX or reduce(xor, raw):
        raise _mistyped()
    return raw[len(_PREFIX) : -1]


def slot_key(key: bytes) -> bytes:
    """The slot key of a recovery key: the web app sends this, and the key itself stays with it."""
    assert len(key) == KEY_BYTES
    return key_of_secret(key, _SLOT)


def _mistyped() -> Refused:
    return Refused(Reason.INVALID_PARAM, "This is not a recovery key: look for a mistyped letter")
