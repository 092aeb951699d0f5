"""Which bytes of a file a request asks for (RFC 9110 §14)."""

from __future__ import annotations

import re
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.I)

Range = tuple[int, int]
"""[start, end) in bytes."""


class Unsatisfiable(Exception):
    """The range lies behind the end: 416."""


def wanted_range(header: str | None, if_range: str | None, size: int, etag: str) -> Range | None:
    """The one range asked for, or None for the whole file.

    What we do not serve (several ranges, other units, a range of another version) is answered
    with the whole, as RFC 9110 §14.2 allows.
    """
    if header is None:
        return None
    if if_range is not None and if_range.strip() != etag:  # RFC 9110 §13.1.5: strong compare
        return None
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = match.groups()
    if first:
        start = int(first)
        end = int(last) + 1 if last else size
        if end <= start and last:
            return None  # RFC 9110 §14.1.1: an invalid range is ignored
        if start >= size:
            raise Unsatisfiable
        return start, min(end, size)
    if not last:
        return None
    if int(last) == 0 or size == 0:
        raise Unsatisfiable
    return max(0, size - int(last)), size


def matches(if_none_match: str | None, etag: str) -> bool:
    """True if the peer holds this version already (RFC 9110 §13.1.2)."""
    if if_none_match is None:
        return False
    held = [tag.strip() for tag in if_none_match.split(",")]
    return "*" in held or any(tag.removeprefix("W/") == etag for tag in held)
