"""Boxes: bytes sealed to an account's public key, which needs no secret, and opened with its
private key (HPKE, RFC 9180: X25519, HKDF-SHA256, ChaCha20-Poly1305, base mode).

Each box is bound to what it belongs to. HPKE mixes that into its keys (`info`), so a box that
was put in another's place does not open.
"""

# RFC 9180 §6.1

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from kerwen.base.errors import Reason, Refused
from kerwen.vault.slots import KEY_BYTES, bound

_FORM: Final = b"\x01"
_PURPOSE: Final = b"kerwen/1 vault box"
OVERHEAD_BYTES: Final = 1 + 32 + 16


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a box belongs to: the account, the thing (a message's number), which part of it."""

    account_no: int
    thing: int | str
    kind: str

    def data(self) -> bytes:
        """As associated data."""
        return _PURPOSE + bound(self.account_no, self.thing, self.kind)


def seal(public_key: bytes, belonging: Belonging, plain: bytes | bytearray) -> bytes:
    """A box that only the owner of `public_key` (32 bytes) opens."""
    box: bytes = _hpke().suite.encrypt(
        bytes(plain), _hpke().public(public_key), info=belonging.data()
    )
    return _FORM + box


def unseal(private_key: bytes | bytearray, belonging: Belonging, box: bytes) -> bytes:
    """What is in a box. Says `BOX_DAMAGED` if one bit or its place is not as it was."""
    if box[:1] != _FORM or len(box) < OVERHEAD_BYTES:
        raise damaged(belonging)
    hpke = _hpke()
    try:
        plain: bytes = hpke.suite.decrypt(box[1:], hpke.private(private_key), info=belonging.data())
    except (hpke.invalid_tag, ValueError):
        raise damaged(belonging) from None
    return plain


def public_of(private_key: bytes | bytearray) -> bytes:
    """The public key of a private one (RFC 7748 §6.1)."""
    assert len(private_key) == KEY_BYTES
    public: bytes = _hpke().private(private_key).public_key().public_bytes_raw()
    return public


def damaged(belonging: Belonging) -> Refused:
    """A box does not open. Whose and which goes to the log, not to the peer."""
    return Refused(
        Reason.BOX_DAMAGED,
        "A sealed record is damaged",
        account=belonging.account_no,
        thing=belonging.thing,
        kind=belonging.kind,
    )


@dataclass(frozen=True, slots=True)
class _Hpke:
    suite: Any
    public: Callable[[bytes], Any]
    private: Callable[[bytes | bytearray], Any]
    invalid_tag: type[Exception]


@cache
def _hpke() -> _Hpke:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric import x25519
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return _Hpke(
        Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305),
        x25519.X25519PublicKey.from_public_bytes,
        x25519.X25519PrivateKey.from_private_bytes,
        InvalidTag,
    )
