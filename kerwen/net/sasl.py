"""The SASL mechanisms of log-in: what their messages say."""

# RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER); LOGIN and XOAUTH2 have no RFC

from __future__ import annotations

import re
from typing import Final

import msgspec

MECHANISMS: Final = ("PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")

_GS2: Final = re.compile(r"(?:n|y|p=[A-Za-z0-9.-]+),(?:a=([^,]*))?,")
_BEARER: Final = re.compile(r"auth=Bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)

OAUTH_FAILED: Final = b'{"status":"invalid_token","scope":"mail"}'
"""RFC 7628 §3.2.2: what a failed exchange is told before the client gives up."""


class Shown(msgspec.Struct, frozen=True, gc=False):
    """Who somebody says to be and what they show for it: a password, or a token."""

    user: str | None
    password: str | None = None
    token: str | None = None


def plain(data: bytes) -> Shown | None:
    """authzid NUL authcid NUL password; another's authzid is refused.  # RFC 4616 §2"""
    parts = _text(data).split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        return None
    if parts[0] and parts[0].lower() != parts[1].lower():
        return None
    return Shown(parts[1], password=parts[2])


def oauth_bearer(data: bytes) -> Shown | None:
    """gs2-header, then key=value pairs between ^A.  # RFC 7628 §3.1"""
    text = _text(data)
    header = _GS2.match(text)
    if header is None:
        return None
    user = header[1].replace("=2C", ",").replace("=3D", "=") if header[1] else None
    return _with_token(user, text[header.end() :])


def xoauth2(data: bytes) -> Shown | None:
    """`user=`name ^A `auth=Bearer `token ^A ^A."""
    text = _text(data)
    if not text.startswith("user="):
        return None
    user, _, rest = text[5:].partition("\1")
    return _with_token(user or None, "\1" + rest)


def _with_token(user: str | None, rest: str) -> Shown | None:
    for piece in rest.split("\1"):
        found = _BEARER.fullmatch(piece)
        if found is not None:
            return Shown(user, token=found[1])
    return None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
