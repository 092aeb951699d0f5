"""Tag lists: `v=1; a=…`, the form of DKIM, ARC and DMARC."""

# RFC 6376 §3.2

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_SPACE: Final = re.compile(rb"[ \t\r\n]+")
_TAGS_MAX: Final = 100


class BadTags(Exception):
    """It is no tag list, or a tag stands in it twice."""


def parse(text: bytes) -> dict[str, bytes]:
    """Tags and their values, the space around them gone. `BadTags` if it is none."""
    found: dict[str, bytes] = {}
    pieces = text.split(b";")
    if len(pieces) > _TAGS_MAX:
        raise BadTags("too many tags")
    for place, piece in enumerate(pieces):
        stripped = piece.strip(b" \t\r\n")
        if not stripped:
            if place == len(pieces) - 1:
                break
            raise BadTags("an empty tag")
        name, equals, value = stripped.partition(b"=")
        name = name.rstrip(b" \t\r\n")
        if not equals or not _NAME.fullmatch(name):
            raise BadTags("no tag")
        told = name.decode("ascii")
        if told in found:
            raise BadTags(f"{told} stands twice")
        found[told] = value.strip(b" \t\r\n")
    return found


def compact(value: bytes) -> bytes:
    """A value without any white space in it: Base64, lists."""
    return _SPACE.sub(b"", value)


def text(value: bytes) -> str:
    """A value as text, without white space; what is not UTF-8 becomes `\\ufffd`."""
    return compact(value).decode("utf-8", "replace")
