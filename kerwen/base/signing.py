"""Ed25519 signatures over canonical JSON, and Base64 without padding."""

# SPEC appendices #signing-json, #unpadded-base64

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from nacl import bindings
from nacl.exceptions import CryptoError

from kerwen.base import canonical_json
from kerwen.base.errors import Reason, Refused

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_KEY_VERSION = re.compile(r"[A-Za-z0-9_]+")
_FROM_URL_SAFE = str.maketrans("-_", "+/")


class SigningKey:
    """A private Ed25519 key with its name, `ed25519:` and a version (`[A-Za-z0-9_]+`).

    `seed` is 32 secret random bytes. Signing costs about 23 µs.
    """

    __slots__ = ("_secret", "key_id", "public_key")

    def __init__(self, version: str, seed: bytes) -> None:
        if not _KEY_VERSION.fullmatch(version):
            raise ValueError("a key version has letters, digits and _ only")
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        self.key_id = f"ed25519:{version}"
        self.public_key, self._secret = bindings.crypto_sign_seed_keypair(seed)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"

    @property
    def public_base64(self) -> str:
        """The public key as it is published."""
        return encode_base64(self.public_key)

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in unpadded Base64."""
        return encode_base64(bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES])


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key owner's for `message`; False for broken keys as well."""
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except (CryptoError, ValueError):
        return False
    return True


def signable(value: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON object that its signatures cover."""
    return canonical_json.encode(
        {k: v for k, v in value.items() if k != "signatures" and k != "unsigned"}
    )


def sign_json(value: Mapping[str, Any], name: str, key: SigningKey) -> dict[str, Any]:
    """A copy of `value` with the signature of `name` (a server name or user ID) added."""
    signature = key.sign(signable(value))
    signatures = dict(value.get("signatures") or {})
    signatures[name] = {**signatures.get(name, {}), key.key_id: signature}
    return {**value, "signatures": signatures}


def verify_json(value: Mapping[str, Any], name: str, key_id: str, public_key: bytes) -> None:
    """Refuse (`INVALID_SIGNATURE`) an object not signed by `name` with that key."""
    # SPEC appendices #checking-for-a-signature
    if not verify(public_key, signable(value), signature_of(value, name, key_id)):
        raise Refused(Reason.INVALID_SIGNATURE, f"The signature of {name} does not fit")


def signature_of(value: Mapping[str, Any], name: str, key_id: str) -> bytes:
    """The signature bytes of `name` with key `key_id`. Says `INVALID_SIGNATURE` if none."""
    signatures = value.get("signatures")
    by_name = signatures.get(name) if isinstance(signatures, dict) else None
    text = by_name.get(key_id) if isinstance(by_name, dict) else None
    if not isinstance(text, str):
        raise Refused(Reason.INVALID_SIGNATURE, f"No signature of {name} with {key_id}")
    try:
        return decode_base64(text)
    except ValueError:
        raise Refused(Reason.INVALID_SIGNATURE, "A signature is not Base64") from None


def key_ids_of(value: Mapping[str, Any], name: str) -> list[str]:
    """The Ed25519 keys that `name` says it signed the object with, sorted."""
    signatures = value.get("signatures")
    by_name = signatures.get(name) if isinstance(signatures, dict) else None
    if not isinstance(by_name, dict):
        return []
    return sorted(key_id for key_id in by_name if key_id.startswith("ed25519:"))


# --- Base64 -------------------------------------------------------------------------------


def encode_base64(value: bytes) -> str:
    """Standard Base64 without padding."""
    return binascii.b2a_base64(value, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_url(value: bytes) -> str:
    """URL-safe Base64 without padding."""
    return encode_base64(value).replace("+", "-").replace("/", "_")


def decode_base64(text: str) -> bytes:
    """The bytes of Base64, with or without padding, of either alphabet. Raises `ValueError`."""
    bare = text.rstrip("=").translate(_FROM_URL_SAFE)
    return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
