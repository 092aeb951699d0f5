"""Header fields of a message or a part: taken apart, never judged.

A header is bytes as they came: lines may end with CRLF or a bare LF, and hold 8-bit text. What is
no field (no colon) is passed over.
"""

# RFC 5322 §2.2, RFC 6532

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from kerwen.base import limits

Fields = dict[bytes, list[bytes]]
"""Unfolded values by name in small letters, in the order of the header."""

_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_FIELD: Final = re.compile(
    rb"([^:\r\n]*+):[^\n]*+(?:\n[ \t][^\n]*+)*+\n?|[^\n]*+(?:\n[ \t][^\n]*+)*+\n?"
)


class Field(msgspec.Struct, frozen=True, gc=False):
    """One field where it stands: `block[start:end]` with its line ends, value after `colon`."""

    name: bytes  # in small letters
    start: int
    colon: int
    end: int


def read(block: bytes) -> Fields:
    """Every field of a header by its name; bounded by `FIELDS_SHOWN_MAX`, `FIELD_SHOWN_MAX`."""
    if len(block) > limits.HEADER_SHOWN_MAX:
        block = block[: limits.HEADER_SHOWN_MAX]
    if b"\n " in block or b"\n\t" in block:
        block = _FOLD.sub(b" ", block)
    found: Fields = {}
    for line in block.split(b"\n", limits.FIELDS_SHOWN_MAX)[: limits.FIELDS_SHOWN_MAX]:
        name, colon, value = line.partition(b":")
        if colon:
            name = name.rstrip().lower()
            value = value.strip()[: limits.FIELD_SHOWN_MAX]
            if name in found:
                found[name].append(value)
            else:
                found[name] = [value]
    return found


def some(block: bytes, names: frozenset[bytes]) -> Fields:
    """What `read` tells of fields of these names (in small letters): quicker for a few."""
    if len(block) > limits.HEADER_SHOWN_MAX or block.count(b"\n") >= limits.FIELDS_SHOWN_MAX:
        return {name: values for name, values in read(block).items() if name in names}
    if b"\n " in block or b"\n\t" in block:
        block = _FOLD.sub(b" ", block)
    found: Fields = {}
    for name, value in _these(names).findall(block):
        found.setdefault(name.lower(), []).append(value.strip()[: limits.FIELD_SHOWN_MAX])
    return found


@functools.lru_cache(64)
def _these(names: frozenset[bytes]) -> re.Pattern[bytes]:
    told = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb"(?mi)^(%b)[ \t\r\x0b\x0c]*+:(.*+)" % told)


def split(block: bytes) -> Iterator[Field]:
    """The fields where they stand, from top to bottom; every byte of a field is in one."""
    for match in _FIELD.finditer(block):
        name = match[1]
        if name is not None:
            start, end = match.span()
            yield Field(name.rstrip(b" \t").lower(), start, match.end(1), end)


def named(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The same fields as (name in small letters, the whole field)."""
    for match in _FIELD.finditer(block):
        name = match[1]
        if name is not None:
            yield name.rstrip(b" \t").lower(), match[0]


def first(fields: Fields, name: bytes) -> bytes | None:
    """The value of the first field of that name."""
    values = fields.get(name)
    return values[0] if values else None


def joined(fields: Fields, name: bytes) -> bytes:
    """All values of a field that holds a list, as if it stood there once."""
    values = fields.get(name)
    if not values:
        return b""
    return values[0] if len(values) == 1 else b", ".join(values)


def pick(block: bytes, names: frozenset[bytes], *, without: bool = False) -> bytes:
    """The fields of these names (or all others), unchanged, and the empty line.

    # RFC 9051 §6.4.5.1: HEADER.FIELDS, HEADER.FIELDS.NOT
    """
    body = b"".join([field for name, field in named(block) if (name in names) != without])
    if body and not body.endswith(b"\n"):
        body += b"\r\n"
    return body + b"\r\n"
