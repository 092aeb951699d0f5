"""Passwords that another server hashed with bcrypt: good for one log-in, which hashes them anew.

Such a hash stands in the place of the salt, beside a cost that no run of Argon2id has. A pepper, if
the other server had one, lies in the data folder's `keys/`, not in the database.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from kerwen.accounts.password import Argon2, StoredPassword

OLD: Final = Argon2(memory_kib=0, passes=0, lanes=0)
PEPPER_FILE: Final = "old_pepper"
_HASH = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}", re.ASCII)
_BYTES_MAX = 72  # bcrypt reads no more


def is_old_hash(text: str) -> bool:
    """Whether a text is a bcrypt hash."""
    return _HASH.fullmatch(text) is not None


def kept_of(text: str) -> StoredPassword:
    """A bcrypt hash as the database keeps it."""
    return StoredPassword(text.encode("ascii"), OLD, b"")


def fits(password: str, kept: StoredPassword, pepper: str) -> bool:
    """Whether a password is the one that was hashed: slow by purpose, for a thread."""
    import bcrypt  # only where an import was

    text = unicodedata.normalize("NFKC", password) + pepper
    raw = text.encode(errors="surrogatepass")[:_BYTES_MAX]
    if b"\0" in raw:
        return False
    return bcrypt.checkpw(raw, kept.salt)
