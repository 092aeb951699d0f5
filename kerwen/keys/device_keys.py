"""Device keys: what a device publishes of itself, and how others get to see it.

# CS #device-keys
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused

Signature = tuple[str, str, str]
"""(user id of the signer, id of the signing key, signature)."""


def check_device_keys(value: object, user_id: str, device_id: str) -> bytes:
    """The canonical bytes of a device's keys as we keep them, without `unsigned`.

    Refuses (`BAD_JSON`) other shapes, (`INVALID_PARAM`) keys of somebody else. The signature is
    for other clients to judge; those of other users are dropped, nobody may see them.
    """
    keys = as_object(value, "device_keys")
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        raise Refused(Reason.INVALID_PARAM, "device_keys name another user or device")
    algorithms = keys.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(a, str) for a in algorithms):
        raise Refused(Reason.BAD_JSON, "device_keys.algorithms must be a list of strings")
    named = as_object(keys.get("keys"), "device_keys.keys")
    if not all(isinstance(key, str) for key in named.values()):
        raise Refused(Reason.BAD_JSON, "device_keys.keys must be strings")
    kept = {k: v for k, v in keys.items() if k != "unsigned"}
    kept["signatures"] = own_signatures(keys.get("signatures"), user_id)
    return encoded(kept, limits.DEVICE_KEYS_MAX)


def own_signatures(value: object, user_id: str) -> dict[str, dict[str, str]]:
    """The signatures that a user made, of an object's `signatures`."""
    signatures = as_object(value, "signatures")
    if user_id not in signatures:
        return {}
    own = as_object(signatures[user_id], "signatures")
    if not all(isinstance(signature, str) for signature in own.values()):
        raise Refused(Reason.BAD_JSON, "signatures must be strings")
    return {user_id: own}


def as_object(value: object, name: str) -> dict[str, Any]:
    """A JSON object; refuses (`BAD_JSON`) all else."""
    if not isinstance(value, dict):
        raise Refused(Reason.BAD_JSON, f"{name} must be an object")
    return value


def encoded(value: object, size_max: int) -> bytes:
    """Canonical bytes of what a client signed; refuses what canonical JSON cannot say."""
    canonical_json.check(value, limits.KEYS_DEPTH_MAX)
    body = canonical_json.encode(value)
    if len(body) > size_max:
        raise Refused(Reason.KEY_TOO_LARGE, f"A key may have {size_max} bytes")
    return body


def device_information(
    body: bytes, signatures: Iterable[Signature], display_name: str | None
) -> bytes:
    """A device's entry in an answer of /keys/query: its keys, later signatures, its name."""
    if added := list(signatures):
        body = orjson.dumps(with_signatures(orjson.loads(body), added))
    if display_name is None:
        return body[:-1] + b',"unsigned":{}}'
    return b'%b,"unsigned":{"device_display_name":%b}}' % (body[:-1], orjson.dumps(display_name))


def with_signatures(value: dict[str, Any], added: Iterable[Signature]) -> dict[str, Any]:
    """`value` with more signatures; `signatures` is its last field."""
    signatures = value.pop("signatures", {})
    for signer, key_id, signature in added:
        signatures.setdefault(signer, {})[key_id] = signature
    value["signatures"] = signatures
    return value


def ed25519_key(body: bytes, device_id: str) -> str | None:
    """The device's signing key, unpadded Base64."""
    key = orjson.loads(body)["keys"].get(f"ed25519:{device_id}")
    return key if isinstance(key, str) else None
