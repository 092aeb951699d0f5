"""Passwords that were proved of late, so that a program which logs in again and again costs one
Argon2id and not one each time.

What is kept opens nothing by itself: an entry is found by a keyed hash of what is stored of the
password and of the password, and holds the two keys under a pad that only the same password gives.
The key of both hashes is drawn at start and never leaves the process. A changed password has
another salt, so nothing is found for it. Whoever reads the memory of a running server can guess at
these passwords faster than at Argon2id: such memory is outside what is promised
(`docs/promise.md`), and an entry is overwritten once it was not used for `LIFE_MS`.
"""

# design.md §5

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final

from kerwen.accounts.password import KEY_BYTES, PasswordKeys, StoredPassword, prepared
from kerwen.base import limits

LIFE_MS: Final = 20 * 60_000  # unused; programs ask for mail every 5 to 15 minutes
_PAD_BYTES: Final = 2 * KEY_BYTES


class Proven:
    """Remembers the keys of passwords that were right. Times in milliseconds."""

    __slots__ = ("_found", "_key", "_most")

    def __init__(self, most: int = limits.PASSWORDS_PROVEN_MAX) -> None:
        self._key = secrets.token_bytes(64)
        self._most = most
        self._found: OrderedDict[bytes, tuple[bytearray, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def find(self, password: str, kept: StoredPassword, now_ms: int) -> PasswordKeys | None:
        """The keys, if this password was proved against `kept` of late."""
        if not self._found:
            return None
        name, pad = self._hashes(password, kept)
        entry = self._found.get(name)
        if entry is None or now_ms - entry[1] >= LIFE_MS:
            return None
        self._found[name] = (entry[0], now_ms)
        self._found.move_to_end(name)
        keys = _xor(entry[0], pad)
        return PasswordKeys(keys[:KEY_BYTES], keys[KEY_BYTES:])

    def keep(self, password: str, kept: StoredPassword, keys: PasswordKeys, now_ms: int) -> None:
        """Remembers the keys of a password that was right."""
        name, pad = self._hashes(password, kept)
        self._found[name] = (bytearray(_xor(keys.proof + keys.slot, pad)), now_ms)
        self._found.move_to_end(name)
        if len(self._found) > self._most:
            _wipe(self._found.popitem(last=False)[1])

    def sweep(self, now_ms: int) -> int | None:
        """Overwrites what was not used for too long. In how many ms to look again; None: never."""
        while self._found:
            left = next(iter(self._found.values()))[1] + LIFE_MS - now_ms
            if left > 0:
                return left
            _wipe(self._found.popitem(last=False)[1])
        return None

    def clear(self) -> None:
        """Overwrites everything."""
        while self._found:
            _wipe(self._found.popitem()[1])

    def _hashes(self, password: str, kept: StoredPassword) -> tuple[bytes, bytes]:
        said = prepared(password).encode(errors="surrogatepass")
        both = hmac.digest(self._key, kept.salt + kept.proof_hash + said, hashlib.sha512)
        pad = hmac.digest(self._key, b"pad" + both + said, hashlib.sha512)
        return both, pad


def _xor(one: bytes | bytearray, other: bytes) -> bytes:
    assert len(one) == len(other) == _PAD_BYTES
    both = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return both.to_bytes(_PAD_BYTES, "big")


def _wipe(entry: tuple[bytearray, int]) -> None:
    entry[0][:] = bytes(_PAD_BYTES)
