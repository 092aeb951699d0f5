"""Seals what waits in the queue with a key of the server that is not in the database.

Mail for other servers must be readable while it waits, with nobody logged in. Each message has a
key of its own, drawn from the server's; a box is bound to its message and to what it holds.
"""

# design.md §5

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from kerwen.base.errors import Reason, Refused
from kerwen.vault.slots import bound, key_of_secret

_FORM: Final = b"\x01"
_NONCE: Final = 12


class QueueKey:
    """Seals and opens. `key`: 32 bytes; `draw(n)` gives n random bytes."""

    __slots__ = ("_draw", "_key")

    def __init__(self, key: bytes, draw: Callable[[int], bytes]) -> None:
        self._key = key
        self._draw = draw

    def seal(self, queue_no: int, kind: str, plain: bytes) -> bytes:
        """A box of a queued message."""
        nonce = self._draw(_NONCE)
        return _FORM + nonce + self._of(queue_no).encrypt(nonce, plain, bound(queue_no, kind))

    def open(self, queue_no: int, kind: str, box: bytes) -> bytes:
        """What is in a box. Says `BOX_DAMAGED`."""
        nonce, sealed = box[1 : 1 + _NONCE], box[1 + _NONCE :]
        try:
            if box[:1] != _FORM:
                raise ValueError("form")
            return self._of(queue_no).decrypt(nonce, sealed, bound(queue_no, kind))
        except (InvalidTag, ValueError):
            raise Refused(
                Reason.BOX_DAMAGED, "A queued message is damaged", queue=queue_no, kind=kind
            ) from None

    def _of(self, queue_no: int) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(key_of_secret(self._key, b"kerwen/1 queue %d" % queue_no))
