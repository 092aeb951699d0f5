"""One-time and fallback keys, as clients upload them.

# CS #one-time-and-fallback-keys
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import as_object


@dataclass(frozen=True, slots=True)
class OneTimeKey:
    """A key by algorithm and id; `body` is its JSON."""

    algorithm: str
    key_id: str
    body: bytes

    @property
    def name(self) -> str:
        """`<algorithm>:<key_id>`, as it stands in answers."""
        return f"{self.algorithm}:{self.key_id}"


def one_time_keys(value: object, field: str) -> list[OneTimeKey]:
    """The keys of `one_time_keys` or `fallback_keys`. Refuses other shapes and too many."""
    keys = as_object(value, field)
    if len(keys) > limits.ONE_TIME_KEYS_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.ONE_TIME_KEYS_MAX} one-time keys")
    canonical_json.check(keys, limits.KEYS_DEPTH_MAX)
    found = [_key(name, key) for name, key in keys.items()]
    if len({key.algorithm for key in found}) > limits.KEY_ALGORITHMS_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.KEY_ALGORITHMS_MAX} key algorithms")
    return found


def fallback_keys(value: object) -> list[OneTimeKey]:
    """The keys of `fallback_keys`: at most one of each algorithm."""
    found = one_time_keys(value, "fallback_keys")
    if len({key.algorithm for key in found}) != len(found):
        raise Refused(Reason.INVALID_PARAM, "Only one fallback key of each algorithm")
    return found


def _key(name: str, value: object) -> OneTimeKey:
    algorithm, _, key_id = name.partition(":")
    if not algorithm or not key_id or len(name) > limits.KEY_NAME_MAX or "\0" in name:
        raise Refused(Reason.INVALID_PARAM, "A key's name must read <algorithm>:<key id>")
    if isinstance(value, dict):
        if not isinstance(value.get("key"), str):
            raise Refused(Reason.BAD_JSON, "A one-time key must have a key")
        if not isinstance(value.get("signatures", {}), dict):
            raise Refused(Reason.BAD_JSON, "signatures must be an object")
    elif not isinstance(value, str):
        raise Refused(Reason.BAD_JSON, "A one-time key must be a string or an object")
    body = canonical_json.encode(value)
    if len(body) > limits.ONE_TIME_KEY_MAX:
        raise Refused(Reason.KEY_TOO_LARGE, f"A key may have {limits.ONE_TIME_KEY_MAX} bytes")
    return OneTimeKey(algorithm, key_id, body)


def same_key(one: bytes, other: bytes) -> bool:
    """Whether two bodies are one key: a repeated upload may have signed it anew."""
    return one == other or _bare(one) == _bare(other)


def _bare(body: bytes) -> object:
    value = orjson.loads(body)
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
    return value
