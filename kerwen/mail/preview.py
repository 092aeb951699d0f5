"""The first words of a message, for lists."""

# RFC 8970

from __future__ import annotations

import re
from typing import Final

from kerwen.base import limits
from kerwen.mail.texts import Texts

_CUT: Final = "…"
_READ: Final = (320, 768, 4096)  # characters that are looked at; more only if they do not suffice
_QUOTED: Final = re.compile(r"^[>|].*$|^-- ?$[\s\S]*|^(?:-----|_____)[\s\S]*", re.MULTILINE)
_HIDDEN: Final = re.compile("[\u00ad\u034f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\x00-\x08]+")


def preview(found: Texts) -> str:
    """At most `PREVIEW_MAX` characters of what the sender wrote, in one line.

    Plain text comes before HTML; quoted lines and signatures are left out unless nothing else is
    there.
    """
    for text in (*found.plain, *found.html):
        line = ""
        for size in _READ:
            line = _line(text[:size])
            if line.endswith(_CUT) or len(text) <= size:
                break
            if size > _READ[0] and len(line) >= limits.PREVIEW_MAX // 2:
                break
        if line:
            return line
    return ""


def _line(text: str) -> str:
    if not text.isascii():
        text = _HIDDEN.sub("", text)
    elif "\0" in text:
        text = text.replace("\0", "")
    text = text.replace("\r\n", "\n")
    said = _QUOTED.sub("", text) if ">" in text or "--" in text or "__" in text else text
    words = said.split() or text.split()
    line = " ".join(words)
    if len(line) <= limits.PREVIEW_MAX:
        return line
    cut = line[: limits.PREVIEW_MAX - 1]
    space = cut.rfind(" ", limits.PREVIEW_MAX // 2)
    return (cut[:space] if space > 0 else cut) + _CUT
