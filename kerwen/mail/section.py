"""BODY[section]<partial> and BINARY[section]: bytes of a message by offsets, without parsing it."""

# RFC 9051 §6.4.5, §6.4.5.1; §9 (ABNF: section, partial)

from __future__ import annotations

import enum
import re
from typing import Final

import msgspec

from kerwen.mail import fields, transfer
from kerwen.mail.message import Part


class Kind(enum.IntEnum):
    """What a part holds."""

    LEAF = 0
    MULTIPART = 1
    MESSAGE = 2


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a part stands in its message; the tree of them is kept with the message."""

    start: int
    body: int
    end: int
    kind: Kind
    encoding: str
    parts: tuple[Span, ...]


def span_of(part: Part) -> Span:
    """The offsets of a scanned message."""
    kind = Kind.MULTIPART if part.is_multipart else Kind.LEAF
    if part.is_message:
        kind = Kind.MESSAGE
    parts = tuple(map(span_of, part.parts))
    return Span(part.start, part.body, part.end, kind, part.encoding.decode("latin-1"), parts)


class What(enum.Enum):
    """Which piece of a part is meant."""

    WHOLE = "WHOLE"  # BODY[] or BODY[1.2]: a message, or the body of a part
    HEADER = "HEADER"
    FIELDS = "HEADER.FIELDS"
    FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


class Section(msgspec.Struct, frozen=True, gc=False):
    """What stands between the brackets."""

    path: tuple[int, ...] = ()
    what: What = What.WHOLE
    names: tuple[bytes, ...] = ()  # of HEADER.FIELDS, as they were asked for


class Partial(msgspec.Struct, frozen=True, gc=False):
    """`<start.size>`."""

    start: int
    size: int


_PATH_MAX: Final = 101
_SECTION: Final = re.compile(
    rb"((?:[1-9][0-9]{0,8}(?:\.(?=[^.])|\Z))*)"
    rb"(?:(HEADER|TEXT|MIME)|(HEADER\.FIELDS(?:\.NOT)?) \(([^()]+)\))?",
    re.IGNORECASE,
)


def parse(text: bytes) -> Section | None:
    """The section between `[` and `]`; None if it is none. Literals are not read here."""
    match = _SECTION.fullmatch(text)
    if match is None:
        return None
    path = tuple(int(number) for number in match[1].split(b".") if number)
    if len(path) > _PATH_MAX or (match[1].endswith(b".") and not (match[2] or match[3])):
        return None
    if match[3] is not None:
        names = tuple(name.strip(b'"') for name in match[4].split())
        what = What.FIELDS_NOT if match[3].upper().endswith(b"NOT") else What.FIELDS
        return Section(path, what, names)
    what = What[match[2].decode().upper()] if match[2] else What.WHOLE
    if what is What.MIME and not path:
        return None
    return Section(path, what)


def render(section: Section) -> bytes:
    """The section as an answer names it."""
    path = b".".join(b"%d" % number for number in section.path)
    if section.what is What.WHOLE:
        return path
    name = section.what.value.encode()
    if section.what in (What.FIELDS, What.FIELDS_NOT):
        name += b" (%b)" % b" ".join(section.names)
    return b"%b.%b" % (path, name) if path else name


def extract(
    raw: bytes, root: Span, section: Section, partial: Partial | None = None
) -> bytes | None:
    """The bytes that a section names; None (IMAP: NIL) where the message has no such part."""
    found = _find(root, section.path)
    if found is None:
        return None
    part, is_whole_message = found
    piece = _piece(raw, part, section, is_whole_message=is_whole_message)
    if piece is None or partial is None:
        return piece
    return piece[partial.start : partial.start + partial.size]


def binary(
    raw: bytes, root: Span, path: tuple[int, ...], partial: Partial | None = None
) -> bytes | None:
    """BINARY[path]: a part without its transfer encoding; None where there is no such part.

    `UnknownEncoding` (IMAP: UNKNOWN-CTE) where we cannot undo it.  # RFC 9051 §6.4.5
    """
    found = _find(root, path)
    if found is None:
        return None
    part, is_whole_message = found
    if is_whole_message:
        data = raw[part.start : part.end]
    else:
        encoding = part.encoding.encode("latin-1") if part.kind is Kind.LEAF else b""
        if encoding not in transfer.KNOWN:
            raise UnknownEncoding(part.encoding)
        data = transfer.decode(raw[part.body : part.end], encoding)
    return data if partial is None else data[partial.start : partial.start + partial.size]


class UnknownEncoding(Exception):
    """A transfer encoding that nobody has told us about."""


def _find(root: Span, path: tuple[int, ...]) -> tuple[Span, bool] | None:
    """The part at a path, and whether the message itself is meant.

    # RFC 9051 §6.4.5.1: parts of an inner message are numbered through it; a message that is no
    # multipart has one part, number 1
    """
    part = root
    whole = True
    for number in path:
        if not whole and part.kind is Kind.MESSAGE:
            part, whole = part.parts[0], True
        if part.kind is Kind.MULTIPART:
            if number > len(part.parts):
                return None
            part = part.parts[number - 1]
        elif not whole or number != 1:
            return None
        whole = False
    return part, whole


def _piece(raw: bytes, part: Span, section: Section, *, is_whole_message: bool) -> bytes | None:
    what = section.what
    if what is What.WHOLE:
        return raw[part.start : part.end] if is_whole_message else raw[part.body : part.end]
    if what is What.MIME:
        return raw[part.start : part.body]
    if not is_whole_message:  # HEADER and TEXT of a part are those of the message in it
        if part.kind is not Kind.MESSAGE:
            return None
        part = part.parts[0]
    if what is What.TEXT:
        return raw[part.body : part.end]
    header = raw[part.start : part.body]
    if what is What.HEADER:
        return header
    names = frozenset(name.lower() for name in section.names)
    return fields.pick(header, names, without=what is What.FIELDS_NOT)
