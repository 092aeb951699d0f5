"""What the mechanisms of AUTH carry: pure readers of one message each."""

# RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER), draft-murchison-sasl-login (LOGIN)

from __future__ import annotations

import binascii
import re
from typing import Final

from kerwen.smtp.commands import Login, Token

MECHANISMS: Final = ("PLAIN", "LOGIN", "OAUTHBEARER")
USER_PROMPT: Final = "VXNlcm5hbWU6"  # Username:
PASSWORD_PROMPT: Final = "UGFzc3dvcmQ6"  # Password:
FAILED_TOKEN: Final = binascii.b2a_base64(
    b'{"status":"invalid_token","schemes":"bearer"}', newline=False
).decode()

_GS2: Final = re.compile(r"[ny],(?:a=([^,\x00]*))?,")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


def decode(text: bytes) -> str | None:
    """Base64 of UTF-8; None if it is not. `=` stands for an empty message (RFC 4954 §4)."""
    if text == b"=":
        return ""
    if len(text) % 4 or not _BASE64.fullmatch(text):
        return None
    try:
        return binascii.a2b_base64(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def plain(message: str) -> Login | None:
    """`[authzid] NUL authcid NUL passwd`"""
    parts = message.split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        return None
    authorize, user, password = parts
    return Login("PLAIN", user, password, "" if authorize == user else authorize)


def bearer(message: str) -> Token | None:
    """`n,a=user,^Aauth=Bearer token^A^A`"""
    match = _GS2.match(message)
    if match is None:
        return None
    user = (match[1] or "").replace("=2C", ",").replace("=3D", "=")
    for pair in message[match.end() :].split("\x01"):
        key, _, value = pair.partition("=")
        if key == "auth":
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return Token(user, token.strip())
    return None
