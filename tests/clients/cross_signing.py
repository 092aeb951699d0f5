"""Cross-signing for clients whose library has none: keys, signatures, and the chain of trust.

Written from the specification (CS #cross-signing, appendix #signing-json) with PyNaCl.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

Json = dict[str, Any]
USAGES = ("master", "self_signing", "user_signing")


def unpadded(data: bytes) -> str:
    """Base64 without padding."""
    return base64.b64encode(data).decode().rstrip("=")


def from_unpadded(text: str) -> bytes:
    """Bytes of base64 with or without padding."""
    return base64.b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Mapping[str, Any]) -> bytes:
    """The object's canonical JSON without `signatures` and `unsigned`."""
    bare = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
    return json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def is_signed_by(value: Mapping[str, Any], user_id: str, key: str) -> bool:
    """True if `value` carries a right signature of `user_id` by the public key `key`."""
    signatures = value.get("signatures", {}).get(user_id, {})
    signature = signatures.get(f"ed25519:{key}")
    if signature is None:
        return False
    try:
        VerifyKey(from_unpadded(key)).verify(canonical(value), from_unpadded(signature))
    except BadSignatureError:
        return False
    return True


def only_key(cross_signing_key: Mapping[str, Any]) -> str:
    """The one public key of a cross-signing key object."""
    (key,) = cross_signing_key["keys"].values()
    assert isinstance(key, str)
    return key


class CrossSigning:
    """The three private keys of one person."""

    def __init__(self, user_id: str, seeds: Mapping[str, bytes] | None = None) -> None:
        self.user_id = user_id
        if seeds is None:
            self.keys = {usage: SigningKey.generate() for usage in USAGES}
        else:
            self.keys = {usage: SigningKey(seeds[usage]) for usage in USAGES}

    def public(self, usage: str) -> str:
        """The public key of `usage`, unpadded base64."""
        return unpadded(bytes(self.keys[usage].verify_key))

    def seed(self, usage: str) -> str:
        """The private key of `usage`, unpadded base64, as secret storage keeps it."""
        return unpadded(bytes(self.keys[usage]))

    def sign(self, usage: str, value: Mapping[str, Any]) -> Json:
        """`value` with our signature by the key of `usage` as its only signature."""
        signature = unpadded(self.keys[usage].sign(canonical(value)).signature)
        bare = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
        return bare | {"signatures": {self.user_id: {f"ed25519:{self.public(usage)}": signature}}}

    def upload_body(self) -> Json:
        """The body of POST /keys/device_signing/upload, without `auth`."""
        body: Json = {}
        for usage in USAGES:
            key = self.public(usage)
            bare = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key}": key}}
            body[f"{usage}_key"] = bare if usage == "master" else self.sign("master", bare)
        return body


def device_is_trusted(answer: Mapping[str, Any], user_id: str, device_id: str, master: str) -> bool:
    """True if in a /keys/query answer the device hangs on the master key that we know."""
    master_key = answer["master_keys"][user_id]
    self_signing_key = answer["self_signing_keys"][user_id]
    device = answer["device_keys"][user_id][device_id]
    return (
        only_key(master_key) == master
        and is_signed_by(self_signing_key, user_id, master)
        and is_signed_by(device, user_id, only_key(self_signing_key))
    )
