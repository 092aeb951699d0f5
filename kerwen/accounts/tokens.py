"""Secrets that stand for their owner: access, refresh and log-in tokens, app passwords.

Each is 256 random bits. The database holds only their hashes; the key that opens a vault's slot
is drawn from the secret itself, so it cannot be made from the hash.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re

SECRET_BYTES = 32
_SLOT = b"kerwen/1 token: vault slot"
_APP_PASSWORD = re.compile(r"[a-z2-7]{52}", re.ASCII)


class TokenKind(enum.Enum):
    """What a token is for; its first letters say so, for people who find one lying about."""

    ACCESS = "kat"
    REFRESH = "krt"
    LOGIN = "klt"
    CODE = "kac"  # an OAuth authorisation code
    DEVICE_CODE = "kdc"
    BROWSER = "kbs"  # the cookie of the account's pages


def token_text(kind: TokenKind, secret: bytes) -> str:
    """A token as the client keeps it. `secret` is 32 random bytes."""
    assert len(secret) == SECRET_BYTES
    return f"{kind.value}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def token_hash(token: str) -> bytes:
    """What the database knows of a token or app password. No salt: there is nothing to guess."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def slot_key(token: str) -> bytes:
    """The 32-byte key of the vault's slot of a token or app password (RFC 5869)."""
    # imported where it is used: a server that nobody logs in to needs none of it
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, None, _SLOT).derive(token.encode(errors="replace"))


def app_password_text(secret: bytes) -> str:
    """An app password as it is shown once: thirteen groups of four letters and digits."""
    assert len(secret) == SECRET_BYTES
    plain = base64.b32encode(secret).decode().rstrip("=").lower()
    return "-".join(plain[i : i + 4] for i in range(0, len(plain), 4))


def app_password_typed(text: str) -> str | None:
    """The app password that somebody typed, in its one form; None where it cannot be one."""
    if len(text) > 200:
        return None
    plain = "".join(text.lower().replace("-", "").split())
    if not _APP_PASSWORD.fullmatch(plain):
        return None
    return "-".join(plain[i : i + 4] for i in range(0, 52, 4))
