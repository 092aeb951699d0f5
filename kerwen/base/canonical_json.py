"""Canonical JSON: the one encoding that hashes and signatures are made of.

Two dialects exist. The strict one (room versions 6 and later, and all that is not an event)
has integers within ±(2^53 - 1) and no floats. The lax one (room versions 3 to 5) takes what
early servers let through: floats and longer integers, written as Python's `json` writes them,
because those hashes are already in rooms.

Keys that occur twice: the last one wins, in both dialects. We always encode again what we
decoded, so nothing else that we store or sign can see the first one.
"""

# SPEC appendices #canonical-json

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import orjson

from kerwen.base.errors import Reason, Refused

INT_MAX: Final = 2**53 - 1
INT_MIN: Final = -INT_MAX
DEPTH_MAX: Final = 200  # nested objects and arrays; the encoder itself gives up at 254

_STRICT: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def encode(value: object) -> bytes:
    """The canonical bytes of a value.

    Says `BAD_JSON` for integers out of range, lone surrogates, keys that are not strings and
    too much nesting. It does not look for floats: `check` does, for what others sent us.
    """
    try:
        # a copy: orjson leaves each of its answers in the 4 KiB that it was written in, and
        # caches keep these for long
        return b"%b" % orjson.dumps(value, option=_STRICT)
    except TypeError as error:
        raise Refused(Reason.BAD_JSON, "That is not canonical JSON", cause=str(error)) from None


def decode(raw: bytes | bytearray | memoryview | str) -> Any:
    """The value that the JSON text `raw` stands for, not yet checked. Says `NOT_JSON`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused(Reason.NOT_JSON, "That is not JSON", cause=str(error)) from None


def check(value: object, depth_max: int = DEPTH_MAX) -> None:
    """Refuse (`BAD_JSON`) a decoded value that canonical JSON cannot say.

    The walk goes level by level, so that deep nesting costs no stack.
    """
    level: list[Any] = [value]
    for _ in range(depth_max + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is int:
                if not INT_MIN <= item <= INT_MAX:
                    raise Refused(Reason.BAD_JSON, "Integers must lie within ±(2^53 - 1)")
            elif kind is dict:
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            else:
                raise Refused(Reason.BAD_JSON, f"Canonical JSON has no {kind.__name__}")
        if not below:
            return
        level = below
    raise Refused(Reason.BAD_JSON, "The JSON is nested too deeply")


# --- the lax dialect of room versions 3 to 5 ----------------------------------------------


def encode_lax(value: object) -> bytes:
    """The bytes that servers hashed before room version 6. Says `BAD_JSON`."""
    try:
        text = json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False
        )
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(Reason.BAD_JSON, "That is not JSON", cause=str(error)) from None


def decode_lax(raw: bytes | bytearray | str) -> Any:
    """Like `decode`, but integers of any length stay integers. Says `NOT_JSON`."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.NOT_JSON, "That is not JSON", cause=str(error)) from None


def check_lax(value: object, depth_max: int = DEPTH_MAX) -> None:
    """Refuse (`BAD_JSON`) infinities and too much nesting, and let the rest pass."""
    level: list[object] = [value]
    for _ in range(depth_max + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, float) and not math.isfinite(item):
                raise Refused(Reason.BAD_JSON, "JSON has no infinite numbers")
        if not below:
            return
        level = below
    raise Refused(Reason.BAD_JSON, "The JSON is nested too deeply")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
