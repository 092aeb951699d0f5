"""The second factor: its kinds, how a code may stand behind a password, how long guessers wait.

Pure. The walk of a log-in with it is in docs/second_factor.md.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kerwen.accounts.recovery_codes import code_typed
from kerwen.accounts.totp import digits_of

NEEDED: Final = (
    "This account has a second factor: use an app password, sign in through the browser, or"
    " write a space and the code behind the password"
)
"""What a client shows that knows passwords only."""

FREE_TRIES: Final = 5
"""Wrong codes in a row before waiting begins."""
_FIRST_WAIT_MS: Final = 30_000
_LONGEST_WAIT_MS: Final = 3_600_000
_SUFFIX = re.compile(r"(.+) ([0-9]{6}|[a-zA-Z2-7]{4}(?:-[a-zA-Z2-7]{4}){3})", re.ASCII | re.DOTALL)


class FactorKind(enum.StrEnum):
    """Kinds of second factor. The words are stored: never change one."""

    TOTP = "totp"
    PASSKEY = "passkey"


RECOVERY_CODE: Final = "recovery_code"


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody shows as second factor: a code, or a passkey's answer with the challenge
    that it was asked.
    """

    code: str = ""
    credential: Mapping[str, Any] | None = None
    challenge: bytes = b""


def is_totp(code: str) -> bool:
    """Whether a code can be of an authenticator app."""
    return digits_of(code) is not None


def is_recovery(code: str) -> bool:
    """Whether a code can be a recovery code."""
    return code_typed(code) is not None


def wait_ms(failures: int) -> int:
    """How long nobody may try after so many wrong codes in a row; doubles, an hour at most."""
    over = failures - FREE_TRIES
    if over < 0:
        return 0
    return min(_FIRST_WAIT_MS << min(over, 20), _LONGEST_WAIT_MS)


def split_password(text: str) -> tuple[str, str] | None:
    """Password and code where a code stands behind the password, a space between them."""
    found = _SUFFIX.fullmatch(text)
    return (found[1], found[2]) if found else None
