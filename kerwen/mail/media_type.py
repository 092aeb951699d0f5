"""Content-Type, Content-Disposition and their parameters, as broken as they come."""

# RFC 2045 §5, RFC 2183, RFC 2231

from __future__ import annotations

import functools
import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from kerwen.base import limits
from kerwen.mail import charsets, encoded_words

Params = tuple[tuple[bytes, bytes], ...]
"""Names in small letters and values without their quotes, not yet decoded."""

_TOKEN: Final = re.compile(rb'[ \t]*([^\s;/="(),<>@:\\?\[\]]++)[ \t]*(?:/[ \t]*([^\s;/"(),=]*+))?')
_PARAM: Final = re.compile(
    rb';[\s;]*+([^\s=;"()]++)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+))[^;]*+', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT: Final = re.compile(rb'("(?:[^"\\]|\\.)*+"?)|\([^()]*+\)')


class MediaType(msgspec.Struct, frozen=True, gc=False):
    """Type and subtype in small letters, with the parameters."""

    type: str
    subtype: str
    params: Params = ()

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}"

    def get(self, name: bytes) -> str | None:
        """A parameter as text, put together and decoded; None if there is none."""
        return parameter(self.params, name)

    def raw(self, name: bytes) -> bytes:
        """A parameter's bytes as they stand in the field; empty if there is none."""
        for key, value in self.params:
            if key == name:
                return value
        return b""


PLAIN: Final = MediaType("text", "plain", ((b"charset", b"us-ascii"),))  # RFC 2045 §5.2
MESSAGE: Final = MediaType("message", "rfc822")
OPAQUE: Final = MediaType("application", "octet-stream")


class Disposition(msgspec.Struct, frozen=True, gc=False):
    """How a part wants to be shown: `inline`, `attachment` or another word."""

    kind: str
    params: Params = ()

    def get(self, name: bytes) -> str | None:
        """A parameter as text; None if there is none."""
        return parameter(self.params, name)


def content_type(value: bytes) -> MediaType:
    """The media type of a field; nonsense is `text/plain` (RFC 2045 §5.2)."""
    if len(value) > 120 or b"oundary" in value:
        return _content_type(value)
    return _kept_content_type(value)


def _content_type(value: bytes) -> MediaType:
    value = _without_comments(value)
    match = _TOKEN.match(value)
    if match is None or not match[2]:
        return PLAIN
    kind, subtype = (part.decode("latin-1").lower() for part in match.group(1, 2))
    return MediaType(kind, subtype, _params(value, match.end()))


_kept_content_type = functools.lru_cache(maxsize=1024)(_content_type)


def disposition(value: bytes) -> Disposition | None:
    """What a Content-Disposition says; None if it says nothing."""
    value = _without_comments(value)
    match = _TOKEN.match(value)
    if match is None:
        return None
    return Disposition(match[1].decode("latin-1").lower(), _params(value, match.end()))


def _without_comments(value: bytes) -> bytes:
    if b"(" not in value:
        return value
    return _COMMENT.sub(lambda m: m[1] or b" ", value)


def _params(value: bytes, at: int) -> Params:
    found: list[tuple[bytes, bytes]] = []
    at = value.find(b";", at)
    while at >= 0 and len(found) < limits.PARAMETERS_MAX:
        match = _PARAM.match(value, at)
        if match is None:
            at = value.find(b";", at + 1)
            continue
        name, quoted, plain = match.groups()
        if quoted is not None:
            text = _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        else:
            text = plain.strip()
        found.append((name.lower(), text))
        at = match.end() if match.end() < len(value) else -1
    return tuple(found)


def parameter(params: Params, name: bytes) -> str | None:
    """The text of one parameter: plain, in pieces, in a charset (RFC 2231), or encoded words.

    Among several forms the richest wins.
    """
    plain: bytes | None = None
    pieces: dict[int, tuple[bytes, bool]] = {}
    for key, value in params:
        if key == name:
            plain = value if plain is None else plain
        elif key.startswith(name + b"*"):
            number, star = _piece(key[len(name) + 1 :])
            if number is not None:
                pieces.setdefault(number, (value, star))
    if pieces:
        return _put_together(pieces)
    if plain is None:
        return None
    return encoded_words.decode(plain)


def _piece(suffix: bytes) -> tuple[int | None, bool]:
    """Number of a piece and whether it is percent-encoded: `*0*`, `*1`, `*`."""
    if suffix == b"":
        return 0, True
    star = suffix.endswith(b"*")
    digits = suffix[:-1] if star else suffix
    if not digits.isdigit() or len(digits) > 4:
        return None, star
    return int(digits), star


def _put_together(pieces: dict[int, tuple[bytes, bool]]) -> str:
    charset, whole = "", b""
    for place, number in enumerate(sorted(pieces)):
        value, encoded = pieces[number]
        if place == 0 and encoded and value.count(b"'") >= 2:
            label, _, value = value.split(b"'", 2)
            charset = label.decode("latin-1")
        whole += unquote_to_bytes(value) if encoded else value
    if not charset and b"=?" in whole:
        return encoded_words.decode(whole)
    return charsets.decode(whole, charset)
