"""Slots: wrapped copies of a vault's private key, one for each secret that may open it.

A slot is made of 32 bytes of key that the secret gives (a password's second half, an HKDF of a
token, the recovery key). It is bound to its account, kind and reference, so a slot moved to
another row does not open.
"""

# design.md §5

from __future__ import annotations

import enum
import hashlib
import hmac
from functools import cache
from typing import Any, Final

from kerwen.base.errors import Reason, Refused

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_FORM: Final = b"\x01"
_PURPOSE: Final = b"kerwen/1 vault slot"


class SlotKind(enum.StrEnum):
    """What kind of secret opens a slot. The words are stored: never change one."""

    PASSWORD = "password"
    APP_PASSWORD = "app_password"
    TOKEN = "token"
    REFRESH = "refresh"
    CODE = "code"  # an OAuth code or a log-in token, until its exchange
    PASSKEY = "passkey"
    RECOVERY = "recovery"


def wrap(
    private_key: bytes | bytearray,
    slot_key: bytes,
    account_no: int,
    kind: str,
    ref: str,
    nonce: bytes,
) -> bytes:
    """A slot: the 32-byte private key sealed with the 32-byte slot key. `nonce`: 12 fresh bytes."""
    assert len(private_key) == KEY_BYTES
    assert len(slot_key) == KEY_BYTES
    assert len(nonce) == NONCE_BYTES
    box: bytes = _aead()(slot_key).encrypt(nonce, private_key, _bound_to(account_no, kind, ref))
    return _FORM + nonce + box


def unwrap(slot: bytes, slot_key: bytes, account_no: int, kind: str, ref: str) -> bytearray:
    """The private key in a slot. Says `BOX_DAMAGED` where the slot or its key is not right."""
    if len(slot_key) != KEY_BYTES or slot[:1] != _FORM:
        raise Refused(Reason.BOX_DAMAGED, "The vault cannot be opened", why="form")
    nonce, box = slot[1 : 1 + NONCE_BYTES], slot[1 + NONCE_BYTES :]
    try:
        plain = _aead()(slot_key).decrypt(nonce, box, _bound_to(account_no, kind, ref))
    except (_invalid_tag(), ValueError):
        raise Refused(Reason.BOX_DAMAGED, "The vault cannot be opened", why="tag") from None
    if len(plain) != KEY_BYTES:
        raise Refused(Reason.BOX_DAMAGED, "The vault cannot be opened", why="length")
    return bytearray(plain)


def key_of_secret(secret: bytes, purpose: bytes) -> bytes:
    """A 32-byte key from a long random secret (RFC 5869, SHA-256, no salt, one block)."""
    root = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(root, purpose + b"\x01", hashlib.sha256)


def bound(*parts: str | int) -> bytes:
    """Associated data that reads one way only: each part with its length before it."""
    raws = [str(part).encode() for part in parts]
    return b"".join([b"%b%b" % (len(raw).to_bytes(4, "big"), raw) for raw in raws])


def _bound_to(account_no: int, kind: str, ref: str) -> bytes:
    return _PURPOSE + bound(account_no, kind, ref)


@cache
def _aead() -> Any:
    # imported when first needed: a server that serves no vault yet starts without it
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305


@cache
def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
