"""Addresses: the local parts we give out and Matrix user ids.

A local part is right both in Matrix and in mail: `a-z 0-9 . _ -`, 1 to 64 characters, starting
with a letter or digit. User ids of other servers may hold more (CS appendix #user-identifiers).
"""

from __future__ import annotations

import re

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused

USER_ID_BYTES_MAX = 255
_LOCAL = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)


def localpart_asked_for(text: str) -> str:
    """The local part that a person asks for; capitals become small.

    `Refused(INVALID_USERNAME)` where it could never be one.
    """
    local = _small(text)
    if len(local) > limits.LOCALPART_MAX:
        raise Refused(Reason.INVALID_USERNAME, f"A name may have {limits.LOCALPART_MAX} characters")
    if not _LOCAL.fullmatch(local):
        raise Refused(
            Reason.INVALID_USERNAME,
            "A name is made of a-z, 0-9, '.', '_' and '-' and starts with a letter or digit",
        )
    return local


def user_id_of(localpart: str, domain: str) -> str:
    """`@localpart:domain`; `Refused(INVALID_USERNAME)` above 255 bytes."""
    user_id = f"@{localpart}:{domain}"
    if len(user_id.encode()) > USER_ID_BYTES_MAX:
        raise Refused(Reason.INVALID_USERNAME, "The name is too long for this server")
    return user_id


def split_user_id(user_id: str) -> tuple[str, str]:
    """Local part and domain of any server's user id; `Refused(INVALID_PARAM)` otherwise."""
    local, colon, domain = user_id[1:].partition(":")
    if (
        not user_id.startswith("@")
        or not colon
        or not domain
        or "\0" in user_id
        or len(user_id.encode(errors="replace")) > USER_ID_BYTES_MAX
    ):
        raise Refused(Reason.INVALID_PARAM, "This is not a user id")
    return local, domain


def localpart_named(text: str, domain: str) -> str | None:
    """The local part of one of our addresses, written as `name` or `@name:domain`.

    None where it cannot be one of ours: the log-in that asks must still cost what others cost.
    """
    local = text
    if text.startswith("@"):
        local, colon, of = text[1:].partition(":")
        if colon and of.lower() != domain.lower():
            return None
    local = _small(local)
    fits = len(local) <= limits.LOCALPART_MAX and _LOCAL.fullmatch(local)
    return local if fits else None


def _small(text: str) -> str:
    """ASCII capitals become small; `str.lower` would fold other scripts into ours."""
    return text.lower() if text.isascii() else text
