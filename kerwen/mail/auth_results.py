"""Authentication-Results: ours written, and others that use our name taken out."""

# RFC 8601

from __future__ import annotations

import re
from typing import Final

import msgspec

from kerwen.mail import fields

FIELD: Final = b"authentication-results"
_VALUE_PLAIN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-./@_`{|}~:\[\]^]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SERVER: Final = re.compile(rb'\s*+(?:\([^()]*+\)\s*+)*+"?([^\s;"()]*+)')
_VALUE_MAX: Final = 320


class Result(msgspec.Struct, frozen=True):
    """What one method found: `spf=pass smtp.mailfrom=a@b.example`."""

    method: str
    result: str
    props: tuple[tuple[str, str], ...] = ()
    comment: str = ""


def build(server: str, results: list[Result]) -> bytes:
    """The field for what we found, folded, with its line end; `server` is our own name.

    # RFC 8601 §2.2
    """
    if not results:
        return f"Authentication-Results: {server}; none\r\n".encode()
    return f"Authentication-Results: {value(server, results)}\r\n".encode()


def value(server: str, results: list[Result]) -> str:
    """The field's value, folded; also that of an ARC-Authentication-Results after its `i=`."""
    pieces = [f"{server};"]
    for place, result in enumerate(results):
        text = f"{result.method}={result.result}"
        if result.comment:
            text += f" ({_comment(result.comment)})"
        text += "".join(f" {name}={_value(shown)}" for name, shown in result.props if shown)
        pieces.append(text + (";" if place < len(results) - 1 else ""))
    return "\r\n\t".join(pieces)


def _value(text: str) -> str:
    text = _CONTROL.sub("", text)[:_VALUE_MAX]
    if _VALUE_PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> str:
    return re.sub(r"[()\\\x00-\x1f\x7f]", " ", text)[:_VALUE_MAX]


def without_forged(header: bytes, server: str) -> bytes:
    """The header without the fields that claim to come from us.

    # RFC 8601 §5: the name counts in any capitals, with or without a version; a field that names
    # a host below ours goes as well
    """
    if b"uthentication-" not in header and FIELD not in header.lower():
        return header
    ours = server.lower().encode()
    kept: list[bytes] = []
    at = 0
    for field in fields.split(header):
        if field.name == FIELD and _names(header[field.colon + 1 : field.end], ours):
            kept.append(header[at : field.start])
            at = field.end
    kept.append(header[at:])
    return b"".join(kept)


def _names(raw: bytes, ours: bytes) -> bool:
    match = _SERVER.match(raw)
    named = match[1].lower().rstrip(b".") if match is not None else b""
    return named == ours or named.endswith(b"." + ours)
