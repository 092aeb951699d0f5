"""DKIM's two canonical forms of headers and bodies, and the fields that a signature covers."""

# RFC 6376 §3.4, §5.4.2

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from kerwen.mail import fields
from kerwen.mail.fields import Field

_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_SPACE: Final = re.compile(rb"[ \t]+")
_LINE_SPACE: Final = re.compile(rb"[ \t]+(?=\r\n|\Z)")
_PIECE: Final = 1 << 16


def header_relaxed(raw: bytes) -> bytes:
    """One field, with its line end, in the relaxed form (§3.4.2)."""
    name, _, value = raw.partition(b":")
    value = value.strip(b" \t\r\n")
    if b"\n" in value:
        value = _FOLD.sub(b"", value)
    if b"  " in value or b"\t" in value:
        value = _SPACE.sub(b" ", value)
    return b"%b:%b\r\n" % (name.strip(b" \t").lower(), value)


def header_simple(raw: bytes) -> bytes:
    """One field as it is (§3.4.1); a last line without its end gets one."""
    return raw if raw.endswith(b"\n") else raw + b"\r\n"


def body_relaxed(body: bytes) -> bytes:
    """§3.4.4. Pieces without anything to change, like Base64, are only looked at."""
    if b"\t" in body or b"  " in body or b" \r\n" in body or body.endswith(b" "):
        body = b"".join(map(_relaxed_piece, _pieces(body)))
    body = _without_last_lines(body)
    return body


def _pieces(body: bytes) -> Iterable[bytes]:
    """The body cut between lines, so that most of a large one is left as it is."""
    if len(body) <= _PIECE:
        yield body
        return
    at = 0
    while at < len(body):
        cut = body.find(b"\n", at + _PIECE) + 1 or len(body)
        yield body[at:cut]
        at = cut


def _relaxed_piece(piece: bytes) -> bytes:
    if b"\t" in piece or b"  " in piece:
        piece = _SPACE.sub(b" ", piece)
    if b" \r\n" in piece:
        piece = piece.replace(b" \r\n", b"\r\n")
    return piece[:-1] if piece.endswith(b" ") else piece


def body_simple(body: bytes) -> bytes:
    """§3.4.3: an empty body is one line end."""
    return _without_last_lines(body) or b"\r\n"


def _without_last_lines(body: bytes) -> bytes:
    """Without empty lines at the end, and with one line end where there is anything."""
    end = len(body)
    while end >= 2 and body[end - 2 : end] == b"\r\n":
        end -= 2
    if end == 0:
        return b""
    if body[end : end + 2] == b"\r\n":
        return body[: end + 2] if end + 2 < len(body) else body
    return body[:end] + b"\r\n"


class Covered:
    """The fields of a header in the order in which signatures take them: from the bottom up."""

    __slots__ = ("_block", "_by_name")

    def __init__(self, block: bytes, found: Iterable[Field] | None = None) -> None:
        self._block = block
        self._by_name: dict[bytes, list[Field]] = {}
        for field in fields.split(block) if found is None else found:
            self._by_name.setdefault(field.name, []).append(field)

    def count(self, name: bytes) -> int:
        """How often a field stands there."""
        return len(self._by_name.get(name, ()))

    def take(self, names: Iterable[bytes]) -> list[bytes]:
        """The raw fields that a list of names stands for; what is missing gives nothing."""
        taken: dict[bytes, int] = {}
        found: list[bytes] = []
        for name in names:
            have = self._by_name.get(name, ())
            place = taken.get(name, 0)
            if place < len(have):
                taken[name] = place + 1
                field = have[len(have) - 1 - place]
                found.append(self._block[field.start : field.end])
        return found


def without_signature(raw: bytes) -> bytes:
    """A signature's own field with the value of `b=` taken out (§3.7)."""
    name, colon, value = raw.partition(b":")
    pieces = value.split(b";")
    for place, piece in enumerate(pieces):
        tag, equals, _ = piece.partition(b"=")
        if equals and tag.strip(b" \t\r\n") == b"b":
            ending = b""
            if place == len(pieces) - 1 and raw.endswith(b"\n"):
                ending = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
            pieces[place] = tag + equals + ending
    return name + colon + b";".join(pieces)
