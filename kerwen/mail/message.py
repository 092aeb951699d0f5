"""A message as a tree of parts with byte offsets: one pass, nothing decoded, nothing copied.

`scan` takes any bytes and never raises. A part's bytes are `raw[start:end]`: its header with the
empty line `raw[start:body]`, its body `raw[body:end]`. The line end before a boundary belongs to
the boundary (RFC 2046 §5.1.1).

What is broken is shown as well as can be: a multipart without a boundary, or whose boundary never
comes, is text; parts deeper or more than the limits are opaque.
"""

# RFC 2045, RFC 2046, RFC 5322 §2.1

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import fields as header_fields
from kerwen.mail import media_type
from kerwen.mail.fields import Fields
from kerwen.mail.media_type import MediaType

_HEADER_END: Final = re.compile(rb"\n\r?\n")
_FIRST_LINE: Final = re.compile(rb"[!-9;-~]++[ \t]*+:|>?From |[ \t]")
_EMPTY: Final = {b"\r\n", b"\n"}
_NO_FIELDS: Final[Fields] = {}


class Part(msgspec.Struct, gc=False):
    """A message or one part of it.

    `parts` are the children of a multipart, or the one message inside a `message/rfc822`.
    """

    start: int
    body: int
    end: int
    type: MediaType
    encoding: bytes  # the transfer encoding, in small letters; empty if not given
    lines: int  # line ends in the body; counted for text and messages only
    fields: Fields
    parts: list[Part]

    @property
    def is_multipart(self) -> bool:
        """Whether the children are parts beside each other."""
        return bool(self.parts) and self.type.type == "multipart"

    @property
    def is_message(self) -> bool:
        """Whether the one child is a whole message."""
        return bool(self.parts) and self.type.type == "message"

    def walk(self) -> Iterator[Part]:
        """This part and all below it, from top to bottom."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def leaves(self) -> Iterator[Part]:
        """The parts that hold bytes of their own, those of inner messages too."""
        return (part for part in self.walk() if not part.parts)


def scan(raw: bytes) -> Part:
    """The part tree of a message."""
    return _Scan(raw).message(0, len(raw), 0)


class _Scan:
    """One scan and what it has spent of its limits."""

    __slots__ = ("_false", "_parts", "_raw", "_work")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parts = 0
        self._false = 0
        self._work = 8 * len(raw) + limits.MIME_WORK_MAX

    def message(self, start: int, end: int, depth: int) -> Part:
        """A message (or a part) that fills `raw[start:end]`."""
        return self._part(start, end, depth, media_type.PLAIN)

    def _part(self, start: int, end: int, depth: int, default: MediaType) -> Part:
        raw = self._raw
        self._parts += 1
        body = self._header_end(start, end)
        fields = header_fields.read(raw[start:body]) if body > start + 2 else _NO_FIELDS
        values = fields.get(b"content-type")
        kind = media_type.content_type(values[0]) if values else default
        values = fields.get(b"content-transfer-encoding")
        encoding = values[0].lower().partition(b";")[0].strip() if values else b""
        part = Part(start, body, end, kind, encoding, 0, fields, [])
        if kind.type == "multipart":
            self._multipart(part, depth)
        elif kind.type == "message" and kind.subtype in ("rfc822", "global"):
            part.lines = raw.count(b"\n", body, end)
            self._nested(part, depth)
        elif kind.type == "text":
            part.lines = raw.count(b"\n", body, end)
        return part

    def _header_end(self, start: int, end: int) -> int:
        """Where the body starts: after the first empty line."""
        raw = self._raw
        first = raw[start : start + 2]
        if first in _EMPTY or first[:1] == b"\n":
            return min(start + (1 if first[:1] == b"\n" else 2), end)
        if _FIRST_LINE.match(raw, start, end) is None:
            return start  # no header at all: all of it is text
        match = _HEADER_END.search(raw, start, end)
        return match.end() if match is not None else end

    def _nested(self, part: Part, depth: int) -> None:
        self._work -= part.end - part.body
        if depth >= limits.MIME_DEPTH_MAX or self._parts >= limits.MIME_PARTS_MAX or self._work < 0:
            part.parts = [self._opaque_message(part.body, part.end)]
        else:
            part.parts = [self.message(part.body, part.end, depth + 1)]

    def _opaque_message(self, start: int, end: int) -> Part:
        """A message whose header is shown and whose body is not looked into."""
        body = self._header_end(start, min(end, start + limits.HEADER_SHOWN_MAX))
        fields = header_fields.read(self._raw[start:body])
        return Part(start, body, end, media_type.OPAQUE, b"", 0, fields, [])

    def _multipart(self, part: Part, depth: int) -> None:
        boundary = part.type.raw(b"boundary").rstrip()
        self._work -= part.end - part.body
        fits = 0 < len(boundary) <= limits.MIME_BOUNDARY_MAX
        if not fits:
            self._as_text(part)
            return
        if depth >= limits.MIME_DEPTH_MAX or self._parts >= limits.MIME_PARTS_MAX or self._work < 0:
            part.type = media_type.OPAQUE
            return
        default = media_type.MESSAGE if part.type.subtype == "digest" else media_type.PLAIN
        pieces = self._pieces(part.body, part.end, boundary)
        for start, end in pieces:
            if self._parts >= limits.MIME_PARTS_MAX:
                rest = pieces[-1][1]
                part.parts.append(
                    Part(start, start, rest, media_type.OPAQUE, b"", 0, _NO_FIELDS, [])
                )
                return
            part.parts.append(self._part(start, end, depth + 1, default))
        if not part.parts:
            self._as_text(part)

    def _as_text(self, part: Part) -> None:
        part.type = MediaType("text", "plain")
        part.lines = self._raw.count(b"\n", part.body, part.end)

    def _pieces(self, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
        """Start and end of each child: what lies between two lines of the boundary."""
        raw = self._raw
        needle = b"\n--" + boundary
        found: list[tuple[int, int]] = []
        if raw.startswith(needle[1:], start, end):
            at = start - 1
        else:
            at = raw.find(needle, max(start - 1, 0), end)
        opened = -1
        while at >= 0:
            after = at + len(needle)
            line = raw.find(b"\n", after, min(end, after + 256))
            stop = line if line >= 0 else min(end, after + 256)
            rest = raw[after:stop].rstrip()
            if rest and rest != b"--":
                self._false += 1
                if self._false > limits.MIME_FALSE_BOUNDARIES_MAX:
                    break
                at = raw.find(needle, after, end)
                continue
            if opened >= 0:
                before = at - 1 if raw[at - 1 : at] == b"\r" else at
                found.append((opened, max(before, opened)))
            if rest or len(found) >= limits.MIME_PARTS_MAX:
                return found
            opened = line + 1 if line >= 0 else end
            at = raw.find(needle, max(opened - 1, after), end)
        if opened >= 0:
            found.append((opened, end))  # the last boundary never came
        return found
