"""Strings of scripts: encoded characters, and places where variables are put in."""

# RFC 5228 §2.4.2.4 (encoded-character); RFC 5229 §3 (variables)

from __future__ import annotations

import re
from typing import Final

import msgspec

_ENCODED: Final = re.compile(
    r"\$\{(?:(hex):((?:\s*[0-9a-f]{1,2}(?=[\s}]))+)|(unicode):((?:\s*[0-9a-f]{1,8}(?=[\s}]))+))\s*\}",
    re.IGNORECASE,
)
_PLACE: Final = re.compile(
    r"\$\{((?:[A-Za-z_][A-Za-z0-9_]{0,63}\.)?[A-Za-z_][A-Za-z0-9_]{0,63}|[0-9]{1,9})\}"
)
NAME: Final = re.compile(r"(?:global\.)?[A-Za-z_][A-Za-z0-9_]{0,63}", re.IGNORECASE)


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a variable's value is put in: its name in small letters, or a match's number."""

    name: str


class Template(msgspec.Struct, frozen=True):
    """A string that is not known before the script runs."""

    pieces: tuple[str | Place, ...]


Text = str | Template


def compiled(text: str, *, encoded: bool, variables: bool) -> Text:
    """A string as it will be used. `ValueError` for characters that there are not."""
    if "${" not in text:
        return text
    if encoded:
        text = _ENCODED.sub(_decoded, text)
    return _template(text) if variables else text


def _decoded(match: re.Match[str]) -> str:
    if match[1]:
        raw = bytes(int(pair, 16) for pair in match[2].split())
        return raw.decode("utf-8", "replace")
    letters = []
    for digits in match[4].split():
        number = int(digits, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise ValueError(f"there is no character {digits}")
        letters.append(chr(number))
    return "".join(letters)


def _template(text: str) -> Text:
    pieces: list[str | Place] = []
    at = 0
    for match in _PLACE.finditer(text):
        if match.start() > at:
            pieces.append(text[at : match.start()])
        name = match[1].lower()
        pieces.append(Place(str(int(name)) if name.isdecimal() else name))
        at = match.end()
    if not pieces:
        return text
    if at < len(text):
        pieces.append(text[at:])
    return Template(tuple(pieces))
