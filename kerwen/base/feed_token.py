"""The token that a client holds of its place on the feed: opaque, short, naming no worker.

Bytes, base64url without padding: a byte of version (high half) and flags (low half); the count
of lanes (one); the position as a varint; with `_LAG` how far to-device messages lie behind it
(varint); with `_SOFT` the origin (u16, big end first) and count (varint) of soft changes.
One token has one text: anything else, a longer varint for instance, is refused.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import NamedTuple

from kerwen.base.errors import Reason, Refused

_VERSION = 0x10
_LAG = 0x01
_SOFT = 0x02
_LANES = 1
_POS_MAX = 2**63 - 1
_COUNT_MAX = 2**32 - 1
_TEXT_MAX = 64


class FeedToken(NamedTuple):
    """Everything up to `pos` was told; to-device messages only up to `pos - to_device_lag`.

    `soft` counts the soft changes (typing, presence) of the worker whose boot is `soft_origin`.
    """

    pos: int
    to_device_lag: int = 0
    soft_origin: int = 0
    soft: int = 0

    @property
    def to_device(self) -> int:
        """The position up to which to-device messages were told."""
        return self.pos - self.to_device_lag


@lru_cache(256)  # those who are woken together get the same token
def encode(token: FeedToken) -> str:
    """The text of a token: 4 to 32 characters. Raises ValueError for impossible numbers."""
    if not _possible(token):
        raise ValueError(token)
    has_soft = bool(token.soft_origin or token.soft)
    flags = (_LAG if token.to_device_lag else 0) | (_SOFT if has_soft else 0)
    out = bytearray((_VERSION | flags, _LANES))
    _put(out, token.pos)
    if token.to_device_lag:
        _put(out, token.to_device_lag)
    if has_soft:
        out += token.soft_origin.to_bytes(2, "big")
        _put(out, token.soft)
    text = binascii.b2a_base64(out, newline=False).rstrip(b"=")
    return text.translate(_TO_URL).decode("ascii")


@lru_cache(1024)
def decode(text: str) -> FeedToken:
    """The token of a text; `Refused(UNKNOWN_POSITION)` if we never gave such a text."""
    try:
        token = _parse(_unbase64(text))
        if encode(token) == text:
            return token
    except (ValueError, IndexError):
        pass
    raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def _possible(token: FeedToken) -> bool:
    return (
        0 <= token.to_device_lag <= token.pos <= _POS_MAX
        and 0 <= token.soft_origin <= 0xFFFF
        and 0 <= token.soft <= _COUNT_MAX
    )


def _unbase64(text: str) -> bytes:
    if len(text) > _TEXT_MAX:
        raise ValueError(text)
    raw = text.encode("ascii").translate(_FROM_URL)
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))


def _parse(raw: bytes) -> FeedToken:
    head = raw[0]
    if head & 0xF0 != _VERSION or head & ~(0xF0 | _LAG | _SOFT) or raw[1] != _LANES:
        raise ValueError(head)
    pos, at = _take(raw, 2)
    lag = origin = soft = 0
    if head & _LAG:
        lag, at = _take(raw, at)
    if head & _SOFT:
        origin = raw[at] << 8 | raw[at + 1]
        soft, at = _take(raw, at + 2)
    if at != len(raw):
        raise ValueError(at)
    return FeedToken(pos, lag, origin, soft)


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _take(raw: bytes, at: int) -> tuple[int, int]:
    """A varint and the place after it. The length of the text bounds it."""
    number = shift = 0
    while (byte := raw[at]) & 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return number | byte << shift, at + 1
