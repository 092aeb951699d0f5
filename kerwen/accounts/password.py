"""Passwords: one Argon2id run gives a root; one half of it proves the log-in, the other half
opens the vault's slot. Only the proof's hash is stored, so the database opens no vault.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass

from argon2.low_level import Type, hash_secret_raw

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused

SALT_BYTES = 16
KEY_BYTES = 32
_PROOF = b"kerwen/1 password: log-in proof"
_VAULT = b"kerwen/1 password: vault slot"
_COMMON = frozenset(
    [
        "password",
        "password1",
        "password12",
        "password123",
        "passw0rd",
        "12345678",
        "123456789",
        "1234567890",
        "87654321",
        "11223344",
        "123123123",
        "qwertyui",
        "qwerty12",
        "qwerty123",
        "qwertyuiop",
        "1q2w3e4r",
        "1qaz2wsx",
        "asdfghjk",
        "zxcvbnm1",
        "iloveyou",
        "letmein1",
        "welcome1",
        "sunshine",
        "princess",
        "football",
        "baseball",
        "superman",
        "abcd1234",
        "abc12345",
        "admin123",
        "administrator",
        "changeme",
    ]
)


@dataclass(frozen=True, slots=True)
class Argon2:
    """What one run costs: memory in KiB, passes over it, lanes (RFC 9106 §4)."""

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1


CHEAP = Argon2(memory_kib=64, passes=1, lanes=1)
"""For tests and for benches against peers with cheap hashes; never for people's accounts."""


@dataclass(frozen=True, slots=True)
class PasswordKeys:
    """The two halves of a password's root: `proof` is shown at log-in, `slot` opens the vault."""

    proof: bytes
    slot: bytes


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """What the database keeps of a password."""

    salt: bytes
    cost: Argon2
    proof_hash: bytes


def stretch(password: str, salt: bytes, cost: Argon2) -> PasswordKeys:
    """Runs Argon2id: slow by purpose, for a thread (RFC 9106). `salt` has 16 bytes."""
    root = hash_secret_raw(
        prepared(password).encode(errors="surrogatepass"),
        salt,
        time_cost=cost.passes,
        memory_cost=cost.memory_kib,
        parallelism=cost.lanes,
        hash_len=KEY_BYTES,
        type=Type.ID,
    )
    return PasswordKeys(_expand(root, _PROOF), _expand(root, _VAULT))


def _expand(root: bytes, purpose: bytes) -> bytes:
    # imported where it is used: a server that nobody logs in to needs none of it
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand(SHA256(), KEY_BYTES, purpose).derive(root)  # RFC 5869 §2.3


def stored(keys: PasswordKeys, salt: bytes, cost: Argon2) -> StoredPassword:
    """What to keep of a password."""
    return StoredPassword(salt, cost, hashlib.sha256(keys.proof).digest())


def proves(keys: PasswordKeys, kept: StoredPassword) -> bool:
    """Whether the password is the right one; takes the same time either way."""
    return hmac.compare_digest(hashlib.sha256(keys.proof).digest(), kept.proof_hash)


def prepared(password: str) -> str:
    """One text for one password, whatever keyboard wrote it (RFC 8265 §4.2)."""
    if password.isascii():
        return password
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", spaced)


def check_policy(password: str, localpart: str, shortest: int = limits.PASSWORD_MIN) -> None:
    """Refuses a new password that is too short, too long or the first that anybody would try."""
    if len(password) > limits.PASSWORD_MAX:
        raise Refused(Reason.WEAK_PASSWORD, f"A password may have {limits.PASSWORD_MAX} characters")
    if len(password) < max(shortest, 1):
        raise Refused(Reason.WEAK_PASSWORD, f"A password needs {shortest} characters or more")
    if shortest < limits.PASSWORD_MIN:
        return  # a house that allows short ones wants no other rule either
    low = password.casefold()
    if low in _COMMON or len(set(low)) < 3 or low == localpart:
        raise Refused(Reason.WEAK_PASSWORD, "This password is too easy to guess")
