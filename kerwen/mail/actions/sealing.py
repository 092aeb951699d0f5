"""Makes of a message what is kept of it, and seals that for an account."""

# design.md §5

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Protocol

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import message, render, submission
from kerwen.mail.render import Rendered, Threading
from kerwen.mail.store import record
from kerwen.mail.store.record import Head, Listing, More
from kerwen.vault.epoch import Epoch
from kerwen.vault.seal import Belonging

CARD: Final = "mail card"
WORD: Final = "mail words"
BODY: Final = "mail message"
PAGE: Final = "mail page "
"""Kinds of boxes; a page's box is of its own kind for each part."""

ROW_MAX: Final = 64 * limits.KIB  # a larger body has a blob of its own
OFF_LOOP: Final = 1 * limits.MIB  # sealing and rendering this much is done on a thread


class EpochKeys(Protocol):
    """The part of `kerwen.vault.actions.delivery_keys.DeliveryKeys` that mail uses."""

    async def of(self, account_no: int) -> Epoch:
        """The epoch to seal one message in. Says `VAULT_CLOSED`."""


class Made(msgspec.Struct, gc=False):
    """A message with all that is kept of it, before it is sealed; made once for all recipients."""

    raw: bytes
    rendered: Rendered
    threading: Threading
    pieces: tuple[Listing, Head, More]
    body: bytes  # pressed
    _card: bytes = b""
    _words: bytes = b""

    @property
    def card(self) -> bytes:
        """The card, pressed; a message that goes into a page at once needs none."""
        if not self._card:
            self._card = record.pressed(record.encode(self.pieces))
        return self._card

    @property
    def words(self) -> bytes:
        """The search record, pressed; as with the card."""
        if not self._words:
            self._words = record.pressed(record.encode(self.rendered.words))
        return self._words

    @property
    def size(self) -> int:
        """RFC822.SIZE, which counts against the quota."""
        return len(self.raw)


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A message sealed for one account."""

    no: int
    card: bytes
    words: bytes
    body: bytes


def make(raw: bytes) -> Made:
    """Renders a message. Says `TOO_LARGE`, `MALFORMED_MESSAGE` (a header of too many fields)."""
    if len(raw) > limits.MESSAGE_BYTES_MAX:
        raise Refused(
            Reason.TOO_LARGE, f"A message may have {limits.MESSAGE_BYTES_MAX // limits.MIB} MB"
        )
    root = message.scan(raw)
    # doors take fewer, so that with what they and lists put on top it still is taken here
    submission.check_size(raw[: root.body], 2 * limits.FIELDS_TAKEN_MAX)
    subject = render.subject_of(root.fields)
    rendered = render.rendered_of(raw, root, subject)
    threading = render.threading(root.fields, subject)
    return Made(
        raw,
        rendered,
        threading,
        record.card_of(raw, rendered, threading),
        record.pressed(raw),
    )


async def made(raw: bytes) -> Made:
    """`make`; a long message is rendered on a thread."""
    if len(raw) > OFF_LOOP:
        return await asyncio.to_thread(make, raw)
    return make(raw)


def seal(made: Made, epoch: Epoch, no: int) -> Sealed:
    """Seals a message for the epoch's account, under a number that no message had before."""
    account_no = epoch.account_no
    return Sealed(
        no,
        epoch.seal(Belonging(account_no, no, CARD), made.card),
        epoch.seal(Belonging(account_no, no, WORD), made.words),
        epoch.seal(Belonging(account_no, no, BODY), made.body),
    )


async def sealed(made: Made, epoch: Epoch, no: int) -> Sealed:
    """`seal`; a long message is sealed on a thread."""
    if len(made.raw) > OFF_LOOP:
        with hand(epoch, 3) as own:
            return await asyncio.to_thread(seal, made, own, no)
    return seal(made, epoch, no)


class hand:
    """A second hand on an epoch's key, for work that is waited for in between: it has nonces that
    the epoch will not use itself, and the key stays even if the epoch is ended meanwhile.
    """

    __slots__ = ("_epoch",)

    def __init__(self, epoch: Epoch, boxes: int) -> None:
        key = bytearray(epoch.key)
        self._epoch = Epoch(epoch.epoch_no, epoch.account_no, epoch.started_ms, key, epoch.boxes)
        epoch.boxes += boxes

    def __enter__(self) -> Epoch:
        return self._epoch

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._epoch.wipe()


def row_of(sealed: Sealed, account_no: int, copies: int, blob: str | None) -> dict[str, Any]:
    """A loose message as its table has it."""
    return {
        "message_no": sealed.no,
        "account_no": account_no,
        "copies": copies,
        "blob": blob,
        "length": len(sealed.body),
        "card": sealed.card,
        "word": sealed.words,
        "body": None if blob else sealed.body,
    }
