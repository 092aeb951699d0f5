"""Mailbox names on the wire: modified UTF-7 for IMAP4rev1, UTF-8 once the client enabled it."""

# RFC 3501 §5.1.3; RFC 6855 §3; RFC 9051 §5.1

from __future__ import annotations

import binascii
import re
from typing import Final

_SHIFTED: Final = re.compile(r"[^ -~]+")
_CODED: Final = re.compile(rb"&([A-Za-z0-9+,]*)-")


class BadName(ValueError):
    """The bytes are no mailbox name in this encoding."""


def decode(raw: bytes, *, utf8: bool) -> str:
    """The name as text. Raises `BadName`.

    Without `utf8`, modified UTF-7 is undone; UTF-8 bytes are taken as they are, since nothing
    else can be meant by them.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadName("a name is not UTF-8") from None
    if not utf8 and b"&" in raw:
        text = _undone(raw)
    head, slash, rest = text.partition("/")
    return "INBOX" + slash + rest if head.upper() == "INBOX" else text


def _undone(raw: bytes) -> str:
    found = []
    at = 0
    for match in _CODED.finditer(raw):
        found.append(_plain(raw[at : match.start()]))
        found.append(_letters(match[1]) if match[1] else "&")
        at = match.end()
    found.append(_plain(raw[at:]))
    return "".join(found)


def _plain(raw: bytes) -> str:
    if b"&" in raw:
        raise BadName("a name is not modified UTF-7")
    return raw.decode("utf-8", "strict")


def _letters(coded: bytes) -> str:
    padded = coded.replace(b",", b"/") + b"=" * (-len(coded) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise BadName("a name is not modified UTF-7") from None


def encode(name: str, *, utf8: bool) -> bytes:
    """The name as bytes, not yet quoted."""
    if utf8:
        return name.encode("utf-8", "replace")
    if "&" in name:
        name = name.replace("&", "&-")
    if name.isascii() and name.isprintable():
        return name.encode("ascii")
    return _SHIFTED.sub(_shifted, name).encode("ascii")


def _shifted(match: re.Match[str]) -> str:
    raw = match[0].encode("utf-16-be", "replace")
    coded = binascii.b2a_base64(raw, newline=False).rstrip(b"=").replace(b"/", b",")
    return f"&{coded.decode('ascii')}-"
