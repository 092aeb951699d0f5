"""Keyed tags: names for messages and threads that say nothing to whoever has no key.

The key is a file beside the database, not in it. A thread's tag is made of a message id, so that
a reply finds its thread while the vault is shut.
"""

# design.md §5; RFC 8474

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from kerwen.vault.slots import key_of_secret

_POSITIVE: Final = (1 << 63) - 1
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_THREAD: Final = re.compile(r"T[0-9a-v]{13}")
_LAST: Final = "AQgw"  # of 22 letters for 16 bytes, the last holds two bits
_FROM_URL: Final = bytes.maketrans(b"-_+/", b"+/!!")


class Tags:
    """Makes tags. `key`: 32 bytes."""

    __slots__ = ("_key", "_opening", "_sealing")

    def __init__(self, key: bytes) -> None:
        self._key = key_of_secret(key, b"kerwen/1 mail: tags")
        ids = key_of_secret(key, b"kerwen/1 mail: ids")
        # one block of a permutation: an id is as good as random, and can be read again by us.
        # Blocks know nothing of each other, so one context serves for all
        aes = Cipher(algorithms.AES(ids), modes.ECB())
        self._sealing = aes.encryptor()
        self._opening = aes.decryptor()

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
        sealed = self._sealing.update(plain)
        # 16 bytes and two of zeros are 24 letters, of which the last two say nothing
        padded = b"".join([sealed[at : at + 16] + b"\0\0" for at in range(0, len(sealed), 16)])
        text = base64.urlsafe_b64encode(padded).decode()
        return [letter + text[at : at + 22] for at in range(0, len(text), 24)]

    def message_nos(
        self, account_no: int, email_ids: Sequence[str], letter: str = "M"
    ) -> list[int | None]:
        """The messages that EMAILIDs name, one by one as `message_no` tells them."""
        known = "".join([one[1:] + "AA" for one in email_ids])
        if len(known) != 24 * len(email_ids) or not all(map(_looks_well, email_ids)):
            return [self.message_no(account_no, one, letter) for one in email_ids]
        try:
            padded = binascii.a2b_base64(known.encode().translate(_FROM_URL), strict_mode=True)
        except ValueError:
            return [self.message_no(account_no, one, letter) for one in email_ids]
        plain = self._opening.update(
            b"".join([padded[at : at + 16] for at in range(0, len(padded), 18)])
        )
        account = account_no.to_bytes(8, "big")
        return [
            int.from_bytes(plain[at + 8 : at + 16], "big")
            if plain[at : at + 8] == account and one[0] == letter
            else None
            for one, at in zip(email_ids, range(0, len(plain), 16), strict=True)
        ]

    def message_no(self, account_no: int, email_id: str, letter: str = "M") -> int | None:
        """The message that an EMAILID names; None if it is none of this account."""
        if email_id[:1] != letter or len(email_id) != 23 or email_id[-1] not in _LAST:
            return None
        try:
            letters = email_id[1:].encode().translate(_FROM_URL) + b"=="
            sealed = binascii.a2b_base64(letters, strict_mode=True)
        except ValueError:
            return None
        plain = self._opening.update(sealed)
        if plain[:8] != account_no.to_bytes(8, "big"):
            return None
        return int.from_bytes(plain[8:], "big")


def thread_id(thread: int) -> str:
    """THREADID of a thread's tag. # RFC 8474 §5.2"""
    # base32hex of its 8 bytes, in small letters and without the padding: 13 digits of 5 bits
    number = thread << 1
    pairs = _PAIRS
    return (
        f"T{_DIGITS[number >> 60]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}"
        f"{pairs[number & 1023]}"
    )


def thread_no(text: str) -> int | None:
    """The tag that a THREADID names; None if it is none."""
    if _THREAD.fullmatch(text) is None:
        return None
    number = int(text[1:], 32)
    return None if number & 1 or number >> 65 else number >> 1


def _looks_well(email_id: str) -> bool:
    return len(email_id) == 23 and email_id[22] in _LAST
