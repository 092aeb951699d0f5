"""Recovery codes: what stands in for a second factor that was lost. Each is good once.

A code is 80 random bits, so nobody guesses it and its hash needs no salt; the hash is bound to
its account.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

COUNT: Final = 10
CODE_BYTES: Final = 10
_CODE = re.compile(r"[a-z2-7]{16}", re.ASCII)
_PURPOSE: Final = b"kerwen/1 recovery code"


def code_text(secret: bytes) -> str:
    """A code as it is shown once: four groups of four. `secret`: 10 random bytes."""
    assert len(secret) == CODE_BYTES
    return _grouped(base64.b32encode(secret).decode().lower())


def code_typed(text: str) -> str | None:
    """The code that somebody typed, in its one form; None where it cannot be one."""
    if len(text) > 60:
        return None
    plain = "".join(text.lower().replace("-", "").split())
    return _grouped(plain) if _CODE.fullmatch(plain) else None


def code_hash(account_no: int, code: str) -> bytes:
    """What the database keeps of a code in its one form."""
    return hashlib.sha256(b"%b\0%d\0%b" % (_PURPOSE, account_no, code.encode())).digest()


def _grouped(plain: str) -> str:
    return "-".join(plain[i : i + 4] for i in range(0, len(plain), 4))
