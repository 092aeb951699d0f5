"""Keyed tags: names for messages and threads that say nothing to whoever has no key.

The key is a file beside the database, not in it. A thread's tag is made of a message id, so that
a reply finds its thread while the vault is shut.
"""

# design.md §5; RFC 8474

from __future__ import annotations

import base64
import hashlib
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from kerwen.vault.slots import key_of_secret

_POSITIVE: Final = (1 << 63) - 1


class Tags:
    """Makes tags. `key`: 32 bytes."""

    __slots__ = ("_aes", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key_of_secret(key, b"kerwen/1 mail: tags")
        ids = key_of_secret(key, b"kerwen/1 mail: ids")
        # one block of a permutation: an id is as good as random, and can be read again by us
        self._aes = Cipher(algorithms.AES(ids), modes.ECB())

    def tag(self, account_no: int, kind: bytes, name: bytes) -> int:
        """A positive 63-bit tag of a name, another one in every account."""
        digest = hashlib.blake2b(
            b"%d %b %b" % (account_no, kind, name), digest_size=8, key=self._key
        ).digest()
        return int.from_bytes(digest, "big") & _POSITIVE

    def email_ids(self, account_no: int, nos: list[int], letter: str = "M") -> list[str]:
        """EMAILIDs of messages: 22 letters each, after one that tells the kind of thing.

        # RFC 8474 §5.1
        """
        account = account_no.to_bytes(8, "big")
        plain = b"".join([account + no.to_bytes(8, "big") for no in nos])
        sealed = self._aes.encryptor().update(plain)
        return [_text(sealed[at : at + 16], letter) for at in range(0, len(sealed), 16)]

    def message_no(self, account_no: int, email_id: str, letter: str = "M") -> int | None:
        """The message that an EMAILID names; None if it is none of this account."""
        try:
            sealed = base64.b64decode(email_id[1:].encode() + b"==", b"-_", validate=True)
        except ValueError:
            return None
        if len(sealed) != 16 or _text(sealed, letter) != email_id:
            return None
        plain = self._aes.decryptor().update(sealed)
        if plain[:8] != account_no.to_bytes(8, "big"):
            return None
        return int.from_bytes(plain[8:], "big")


def thread_id(thread: int) -> str:
    """THREADID of a thread's tag. # RFC 8474 §5.2"""
    return "T" + base64.b32hexencode(thread.to_bytes(8, "big")).decode().rstrip("=").lower()


def thread_no(text: str) -> int | None:
    """The tag that a THREADID names; None if it is none."""
    try:
        raw = base64.b32hexdecode(text[1:].upper() + "===")
    except ValueError:
        return None
    if len(raw) != 8 or thread_id(int.from_bytes(raw, "big")) != text:
        return None
    return int.from_bytes(raw, "big")


def _text(sealed: bytes, letter: str) -> str:
    return letter + base64.urlsafe_b64encode(sealed).decode().rstrip("=")
