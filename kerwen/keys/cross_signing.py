"""Cross-signing: the three keys of a user, and which signatures the server takes.

# CS #cross-signing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kerwen.base import limits, signing
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import as_object, encoded, own_signatures

MASTER = "master"
SELF_SIGNING = "self_signing"
USER_SIGNING = "user_signing"
USAGES = (MASTER, SELF_SIGNING, USER_SIGNING)


@dataclass(frozen=True, slots=True)
class CrossSigningKey:
    """A user's key; `body` is its canonical JSON with the user's own signatures."""

    usage: str
    public_key: str
    body: bytes

    @property
    def key_id(self) -> str:
        """How signatures name it."""
        return f"ed25519:{self.public_key}"

    @property
    def public_bytes(self) -> bytes:
        """The key itself."""
        return signing.decode_base64(self.public_key)


Keys = Mapping[str, CrossSigningKey]
"""A user's keys by usage."""


def cross_signing_key(value: object, usage: str, user_id: str) -> CrossSigningKey:
    """A key of an upload. Refuses other shapes, owners and usages, and what is no key."""
    key = as_object(value, f"{usage}_key")
    if key.get("user_id") != user_id:
        raise Refused(Reason.INVALID_PARAM, f"The {usage} key names another user")
    usages = key.get("usage")
    if not isinstance(usages, list) or usage not in usages:
        raise Refused(Reason.INVALID_PARAM, f"The {usage} key's usage does not say so")
    named = as_object(key.get("keys"), "keys")
    if len(named) != 1:
        raise Refused(Reason.INVALID_PARAM, "A cross-signing key has exactly one public key")
    ((key_id, public_key),) = named.items()
    if not isinstance(public_key, str) or key_id != f"ed25519:{public_key}":
        raise Refused(Reason.INVALID_PARAM, "A cross-signing key must be named by itself")
    _check_public(public_key)
    kept = {k: v for k, v in key.items() if k != "unsigned"}
    kept["signatures"] = own_signatures(key.get("signatures", {}), user_id)
    return CrossSigningKey(usage, public_key, encoded(kept, limits.CROSS_SIGNING_KEY_MAX))


def _check_public(public_key: str) -> None:
    try:
        right = len(signing.decode_base64(public_key)) == signing.PUBLIC_KEY_BYTES
    except ValueError:
        right = False
    if not right:
        raise Refused(Reason.INVALID_PARAM, "That is no Ed25519 public key")


def upload(body: Mapping[str, object], user_id: str) -> dict[str, CrossSigningKey]:
    """The keys of an upload's body, by usage; not yet verified."""
    found = {}
    for usage in USAGES:
        value = body.get(f"{usage}_key")
        if value is not None:
            found[usage] = cross_signing_key(value, usage, user_id)
    return found


def verify_upload(given: Keys, stored: Keys, user_id: str) -> None:
    """Each key but the master key must be signed by the master key, new or stored.

    Refuses (`MISSING_PARAM`) if there is none, (`INVALID_SIGNATURE`) what it did not sign.
    """
    master = given.get(MASTER) or stored.get(MASTER)
    if master is None:
        raise Refused(Reason.MISSING_PARAM, "No master signing key is available")
    for usage in (SELF_SIGNING, USER_SIGNING):
        key = given.get(usage)
        if key is not None:
            signing.verify_json(orjson.loads(key.body), user_id, master.key_id, master.public_bytes)


def brings_new_keys(given: Keys, stored: Keys) -> bool:
    """Whether an upload holds a key that the server does not have."""
    return any(
        usage not in stored or stored[usage].public_key != key.public_key
        for usage, key in given.items()
    )


def needs_proof(given: Keys, stored: Keys) -> bool:
    """Whether the user must prove who they are: only the first upload is free (MSC3967)."""
    return MASTER in stored and brings_new_keys(given, stored)


def check_signed_object(given: Mapping[str, Any], stored: bytes) -> None:
    """The object that was signed must be the key that we hold, but for its signatures."""
    if signing.signable(given) != signing.signable(orjson.loads(stored)):
        raise Refused(Reason.INVALID_SIGNATURE, "The signed object is not the key we hold")


def verified(given: Mapping[str, Any], signer: str, signers: Mapping[str, bytes]) -> dict[str, str]:
    """The signatures of `signer` by the keys `signers` (public keys by key id), all verified.

    Signatures by other keys are passed over; none at all, or a wrong one, is refused
    (`INVALID_SIGNATURE`).
    """
    found = {}
    for key_id in signing.key_ids_of(given, signer):
        public_key = signers.get(key_id)
        if public_key is not None:
            signing.verify_json(given, signer, key_id, public_key)
            found[key_id] = given["signatures"][signer][key_id]
    if not found:
        raise Refused(Reason.INVALID_SIGNATURE, "No signature by a key that may sign this")
    return found
