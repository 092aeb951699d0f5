"""Epochs: a short time under one delivery key, so that a reader opens one HPKE box an epoch and
not one a message.

The delivery key is random, lives in memory for the epoch, and is stored only sealed to its
account. Boxes count up their nonces; a key is never kept over a restart, so none comes twice.
"""

# design.md §5, RFC 8439 §2.8

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from kerwen.base.errors import Reason, Refused
from kerwen.vault.seal import Belonging, damaged, seal, unseal
from kerwen.vault.slots import KEY_BYTES

EPOCH_MS_MAX: Final = 3_600_000
EPOCH_MESSAGES_MAX: Final = 10_000
BOXES_MAX: Final = 2**32
_FORM: Final = b"\x02"
_NO_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = 1 + _NO_BYTES + _NONCE_BYTES
OVERHEAD_BYTES: Final = _HEAD_BYTES + 16


@dataclass(slots=True)
class Epoch:
    """A delivery key in use. `boxes` sealed and `messages` begun so far."""

    epoch_no: int
    account_no: int
    started_ms: int
    key: bytearray = field(repr=False)
    boxes: int = 0
    messages: int = 0
    _cipher: Any = field(default=None, repr=False)  # of the key; it goes when the key does

    def over(self, now_ms: int) -> bool:
        """Whether the next message must have a new key; a clock set back ends it too."""
        age = now_ms - self.started_ms
        return not 0 <= age < EPOCH_MS_MAX or self.messages >= EPOCH_MESSAGES_MAX

    def seal(self, belonging: Belonging, plain: bytes) -> bytes:
        """A box under this epoch's key."""
        assert belonging.account_no == self.account_no
        assert self.boxes < BOXES_MAX
        nonce = self.boxes.to_bytes(_NONCE_BYTES, "big")
        self.boxes += 1
        head = _FORM + self.epoch_no.to_bytes(_NO_BYTES, "big") + nonce
        if self._cipher is None:
            self._cipher = _aead()(self.key)
        box: bytes = self._cipher.encrypt(nonce, plain, head + belonging.data())
        return head + box

    def wipe(self) -> None:
        """Forgets the key."""
        self.key[:] = bytes(len(self.key))
        self._cipher = None


def sealed_key(epoch: Epoch, public_key: bytes) -> bytes:
    """The delivery key as it is stored: sealed to its account."""
    return seal(public_key, _belonging(epoch.account_no, epoch.epoch_no), epoch.key)


def opened_key(private_key: bytes | bytearray, account_no: int, epoch_no: int, box: bytes) -> bytes:
    """The delivery key of an epoch, for its account. Says `BOX_DAMAGED`."""
    belonging = _belonging(account_no, epoch_no)
    key = unseal(private_key, belonging, box)
    if len(key) != KEY_BYTES:
        raise damaged(belonging)
    return key


def epoch_of(box: bytes) -> int:
    """Which epoch's key opens a box. Says `BOX_DAMAGED` for what is none."""
    if box[:1] != _FORM or len(box) < OVERHEAD_BYTES:
        raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="form")
    return int.from_bytes(box[1 : 1 + _NO_BYTES], "big")


def unseal_with(key: bytes | bytearray, belonging: Belonging, box: bytes) -> bytes:
    """What is in a box, with its epoch's key. Says `BOX_DAMAGED`."""
    epoch_of(box)
    head = box[:_HEAD_BYTES]
    try:
        plain: bytes = _aead()(key).decrypt(
            head[1 + _NO_BYTES :], box[_HEAD_BYTES:], head + belonging.data()
        )
    except _invalid_tag():
        raise damaged(belonging) from None
    return plain


def _belonging(account_no: int, epoch_no: int) -> Belonging:
    return Belonging(account_no, epoch_no, "epoch")


@cache
def _aead() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305


@cache
def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
