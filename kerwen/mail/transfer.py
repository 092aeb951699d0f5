"""Content-Transfer-Encoding: bytes as they travelled to bytes as they were meant."""

# RFC 2045 §6

from __future__ import annotations

import binascii
from typing import Final

_NOT_BASE64: Final = bytes(
    c for c in range(256) if not (chr(c).isascii() and (chr(c).isalnum() or c in b"+/="))
)
IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
KNOWN: Final = IDENTITY | {b"base64", b"quoted-printable", b"x-uuencode", b"uuencode", b"x-uue"}


def decode(data: bytes, encoding: bytes) -> bytes:
    """The decoded bytes; `encoding` in small letters, unknown ones leave the data as it is."""
    if encoding == b"base64":
        return base64(data)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    if encoding in (b"x-uuencode", b"uuencode", b"x-uue"):
        return _uu(data)
    return data


def base64(data: bytes) -> bytes:
    """Base64 with whatever stands between its letters, cut or put together from pieces."""
    pad = data.find(b"=")
    if pad >= 0 and data[pad : pad + 200].strip(b"= \t\r\n"):
        return b"".join(_base64(piece) for piece in data.split(b"=") if piece)
    return _base64(data if pad < 0 else data[:pad])


def _base64(data: bytes) -> bytes:
    """One run of Base64 without padding; a last lonely letter holds no byte and is dropped."""
    letters = data.translate(None, _NOT_BASE64)
    rest = len(letters) % 4
    if rest == 1:
        letters = letters[:-1]
    elif rest:
        letters += b"=" * (4 - rest)
    return binascii.a2b_base64(letters)


def _uu(data: bytes) -> bytes:
    lines = []
    for line in data.splitlines():
        if line.startswith(b"begin ") or not line:
            continue
        if line.strip() == b"end":
            break
        try:
            lines.append(binascii.a2b_uu(line))
        except binascii.Error:
            # the last group may lack letters, or a trailing space was eaten on the way
            size = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                lines.append(binascii.a2b_uu(line[:size]))
            except binascii.Error:
                continue
    return b"".join(lines)
