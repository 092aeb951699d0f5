"""Names that nobody can guess or that nobody has had before."""

from __future__ import annotations

import secrets
from typing import Final

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SMALL: Final = "abcdefghijklmnopqrstuvwxyz"
_MIXED: Final = _LETTERS + _SMALL


def secret(size: int = 32) -> str:
    """A secret of `size` random bytes, in URL-safe Base64 without padding."""
    return secrets.token_urlsafe(size)


def letters(count: int) -> str:
    """Random letters of both cases, 5.7 bits each: room ids, media ids."""
    return "".join(secrets.choice(_MIXED) for _ in range(count))


def device_id() -> str:
    """A fresh device id: ten capital letters, as people are used to see."""
    return "".join(secrets.choice(_LETTERS) for _ in range(10))


def readable(groups: int = 4) -> str:
    """A password that can be read aloud: groups of five small letters, 23.5 bits each."""
    return "-".join("".join(secrets.choice(_SMALL) for _ in range(5)) for _ in range(groups))
