"""Where the words of a search stand: a subject or a piece of a body as HTML, with marks."""

# RFC 8621 §5

from __future__ import annotations

import html
import re
from typing import Final

from kerwen.mail import match
from kerwen.mail.jmap.filters import Filter, Operator

PREVIEW_MAX: Final = 255  # bytes, RFC 8621 §5.1
_BEFORE: Final = 60
_LOOKED_AT: Final = 256 * 1024


def terms(asked: Filter | None) -> tuple[list[str], list[str]]:
    """What is looked for in subjects, and in bodies. What must not be there is no matter."""
    subject: dict[str, None] = {}
    body: dict[str, None] = {}
    left: list[Filter] = [asked] if asked is not None else []
    while left:
        one = left.pop()
        if isinstance(one, Operator):
            left += one.conditions if one.operator != "NOT" else ()
            continue
        keys = one.key.keys if isinstance(one.key, match.And) else (one.key,)
        for key in keys:
            if isinstance(key, match.Text) or (
                isinstance(key, match.Header) and key.name == b"subject"
            ):
                subject[key.text] = None
            if isinstance(key, match.Text | match.Body):
                body[key.text] = None
    return [one for one in subject if one], [one for one in body if one]


def _pattern(wanted: list[str]) -> re.Pattern[str]:
    longest = sorted(wanted, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)), re.IGNORECASE)


def marked(text: str, wanted: list[str]) -> str | None:
    """The text as HTML, with `<mark>`; None where nothing of it is found."""
    if not wanted or not text:
        return None
    found: list[str] = []
    at = 0
    for hit in _pattern(wanted).finditer(text):
        found += (
            html.escape(text[at : hit.start()], quote=False),
            "<mark>",
            html.escape(hit[0], quote=False),
            "</mark>",
        )
        at = hit.end()
    if not found:
        return None
    return "".join((*found, html.escape(text[at:], quote=False)))


def preview(text: str, wanted: list[str]) -> str | None:
    """The piece of a body around the first hit, at most `PREVIEW_MAX` bytes of HTML."""
    if not wanted:
        return None
    text = " ".join(text[:_LOOKED_AT].split())
    hit = _pattern(wanted).search(text)
    if hit is None:
        return None
    start = max(hit.start() - _BEFORE, 0)
    if start:
        start = text.find(" ", start, hit.start()) + 1 or start
    most = PREVIEW_MAX
    while most > 0:
        told = marked(text[start : start + most], wanted)
        if told is None:
            return None
        if len(told.encode("utf-8", "replace")) <= PREVIEW_MAX:
            return told
        most = most * 3 // 4
    return None
