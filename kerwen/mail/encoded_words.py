"""Text in header fields: encoded words, and raw 8-bit text as well as can be.

Tolerant where mailers are wrong: letters split between two words, spaces inside a word, Base64
without its padding. What cannot be decoded stays as it is.
"""

# RFC 2047, RFC 2231 §5

from __future__ import annotations

import binascii
import re
from typing import Final

from kerwen.mail import charsets, transfer

_WORD: Final = re.compile(rb"=\?([^?*\s]{1,60}+)(?:\*[^?\s]{0,40}+)?\?([bBqQ])\?([^?\r\n]*+)\?=")
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f\u2028\u2029]")
_LINE_WORD_BYTES: Final = 45  # of UTF-8 in one encoded word: its 60 Base64 letters fit a line
_PLAIN: Final = re.compile(r"[ !-~]*")


def decode(value: bytes) -> str:
    """The text of an unstructured field or a phrase; control characters become spaces."""
    if b"=?" not in value:
        text = value.decode("ascii") if value.isascii() else charsets.guess(value)
    else:
        text = "".join(_pieces(value))
    return text if text.isprintable() else _UNSAFE.sub(" ", text)


def _pieces(value: bytes) -> list[str]:
    """Plain text and decoded words; white space between two encoded words goes away."""
    pieces: list[str] = []
    held, held_charset = b"", ""  # adjacent words of one charset may share a letter
    at = 0
    for match in _WORD.finditer(value):
        between = value[at : match.start()]
        charset = match[1].decode("latin-1").lower()
        adjacent = at > 0 and not between.strip()
        if not adjacent or charset != held_charset:
            pieces.append(charsets.decode(held, held_charset))
            held = b""
            if not adjacent and between:
                pieces.append(charsets.guess(between))
        held += _payload(match[2], match[3])
        held_charset = charset
        at = match.end()
    pieces.append(charsets.decode(held, held_charset))
    pieces.append(charsets.guess(value[at:]))
    return pieces


def _payload(kind: bytes, data: bytes) -> bytes:
    if kind in b"qQ":
        # RFC 2047 §4.2: `_` is a space in any charset
        return binascii.a2b_qp(data.replace(b" ", b"_"), header=True)
    return transfer.base64(data)


def encode(text: str, *, first: int = 0) -> bytes:
    """A field's text as ASCII, folded; `first` is how far the line is already.

    Used for what we write ourselves: reports and replies.
    """
    if _PLAIN.fullmatch(text) and len(text) + first <= 76 and "=?" not in text:
        return text.encode("ascii")
    words: list[bytes] = []
    held = b""
    room = max(_LINE_WORD_BYTES - first, 12)
    for letter in text:
        raw = letter.encode("utf-8", "replace")
        if len(held) + len(raw) > room:
            words.append(_word(held))
            held, room = b"", _LINE_WORD_BYTES
        held += raw
    words.append(_word(held))
    return b"\r\n ".join(words)


def _word(raw: bytes) -> bytes:
    return b"=?utf-8?b?" + binascii.b2a_base64(raw, newline=False) + b"?="
