"""What is kept of a message beside its bytes, so that lists and searches never parse it.

A *card* is what lists show, in three pieces that are sealed apart in a page: `listing` (ENVELOPE,
BODYSTRUCTURE), `head` (the header fields that programs ask for) and `more`. The search record is
`kerwen.mail.words.Record`. A loose message has its card in one box and its words in another.
"""

# design.md §5

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.mail import fields
from kerwen.mail.render import Rendered, Threading
from kerwen.mail.section import Span
from kerwen.mail.words import Record

PLAIN: Final = b"\x00"
DEFLATED: Final = b"\x01"
PRESSED_MIN: Final = 512  # of less, a hundred bytes are not worth 16 µs
PRESSED_MAX: Final = 16 * 1024  # larger bodies are mostly attachments: pressing them gains little
UNPRESSED_MAX: Final = 64 * 1024 * 1024
_HEAD_REST_MAX: Final = 1024

# the fields that mail programs ask for to show a list; their places are bits, so never reorder
CORE: Final = (
    *(b"from", b"to", b"cc", b"bcc", b"subject", b"date", b"message-id", b"in-reply-to"),
    *(b"references", b"reply-to", b"sender", b"content-type", b"priority", b"x-priority"),
    *(b"importance", b"newsgroups"),
)
REST: Final = (
    *(b"mime-version", b"content-transfer-encoding", b"user-agent", b"x-mailer", b"list-id"),
    *(b"list-post", b"list-unsubscribe", b"auto-submitted", b"precedence", b"x-label"),
    *(b"content-description", b"lines", b"x-tuid", b"chat-version", b"chat-is-post"),
    *(b"autocrypt", b"autocrypt-setup-message", b"secure-join", b"return-path", b"delivered-to"),
)
_BITS: Final = {name: 1 << at for at, name in enumerate((*CORE, *REST))}
_CORE_BITS: Final = (1 << len(CORE)) - 1
_OTHER: Final = 1 << 62  # `rest` holds a field that has no bit
_CODED: Final = msgspec.msgpack.Encoder()


class Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Header fields as they stand: `core` those of CORE in their order, `rest` some others.

    `others` are the names, one a line, of fields that are in the message only.
    """

    core: bytes
    core_bits: int
    rest: bytes
    rest_bits: int
    others: bytes


class More(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is asked for more rarely."""

    header_end: int
    span: Span
    preview: str
    files: int
    sent_ms: int | None
    sent_day: int | None
    id: bytes | None  # Message-ID, without brackets
    references: tuple[bytes, ...]
    subject: str  # the base subject
    is_reply: bool


Listing = tuple[bytes, bytes]
"""ENVELOPE and BODYSTRUCTURE as IMAP says them."""


class Card(msgspec.Struct, gc=False):
    """What was read of a message's card; pieces that nobody asked for are None."""

    listing: Listing | None
    head: Head | None
    more: More | None


_CARD: Final = msgspec.msgpack.Decoder(tuple[Listing, Head, More])
_RECORD: Final = msgspec.msgpack.Decoder(Record)


def head_of(header: bytes) -> Head:
    """The head of a message's header (with or without its empty line)."""
    core: list[bytes] = []
    rest: list[bytes] = []
    left: list[tuple[bytes, bytes]] = []
    bits = 0
    for name, piece in fields.named(header):
        bit = _BITS.get(name, 0)
        if bit & _CORE_BITS:
            core.append(piece)
        elif bit:
            rest.append(piece)
        else:
            left.append((name, piece))
            continue
        bits |= bit
    others = b""
    rest_bits = bits & ~_CORE_BITS
    if sum(len(piece) for _, piece in left) <= _HEAD_REST_MAX:
        if left:
            rest += [piece for _, piece in left]
            rest_bits |= _OTHER
    else:
        others = b"\n".join({name: None for name, _ in left})
    return Head(_block(core), bits & _CORE_BITS, _block(rest), rest_bits, others)


def _block(pieces: list[bytes]) -> bytes:
    block = b"".join(pieces)
    return block + b"\r\n" if block and not block.endswith(b"\n") else block


class FieldNames:
    """The fields that a FETCH asks for, made once and used for every message of it."""

    __slots__ = ("_bits", "_names", "_odd", "names")

    def __init__(self, names: Iterable[bytes]) -> None:
        self.names = tuple(names)
        self._names = frozenset(name.lower() for name in self.names)
        self._odd = [name for name in self._names if name not in _BITS]
        self._bits = sum(_BITS.get(name, 0) for name in self._names)

    def of(self, head: Head) -> bytes | None:
        """BODY[HEADER.FIELDS (…)]; None where the message itself must be read.

        # RFC 9051 §6.4.5.1
        """
        bits = self._bits
        if not self._odd:
            if not bits & head.rest_bits:
                if not head.core_bits & ~bits:
                    return head.core + b"\r\n"
                return fields.pick(head.core, self._names)
        elif head.others and not set(head.others.split(b"\n")).isdisjoint(self._odd):
            return None
        return fields.pick(head.core + head.rest, self._names)


def card_of(raw: bytes, rendered: Rendered, threading: Threading) -> tuple[Listing, Head, More]:
    """The pieces of a message's card."""
    return (
        (rendered.envelope, rendered.structure),
        head_of(raw[: rendered.header_end]),
        More(
            rendered.header_end,
            rendered.span,
            rendered.preview,
            rendered.files,
            rendered.sent_ms,
            rendered.sent_day,
            threading.id,
            threading.references,
            threading.subject,
            threading.is_reply,
        ),
    )


def encode(value: Any) -> bytes:
    """As bytes, not pressed."""
    return _CODED.encode(value)


def decode_card(plain: bytes) -> Card:
    """A loose message's card."""
    return Card(*_CARD.decode(unpressed(plain)))


def decode_words(plain: bytes) -> Record:
    """A loose message's search record."""
    return _RECORD.decode(unpressed(plain))


def pressed(raw: bytes) -> bytes:
    """Made smaller, if it becomes so; `unpressed` gives it back."""
    if PRESSED_MIN <= len(raw) <= PRESSED_MAX:
        small = zlib.compress(raw, 1)
        if len(small) < len(raw):
            return DEFLATED + small
    return PLAIN + raw


def pressed_always(raw: bytes) -> bytes:
    """The same for what is known to become much smaller, however long."""
    return DEFLATED + zlib.compress(raw, 1)


def unpressed(plain: bytes) -> bytes:
    """What was `pressed`. Says `BOX_DAMAGED` where it was not."""
    form = plain[:1]
    if form == PLAIN:
        return plain[1:]
    if form == DEFLATED:
        whole = zlib.decompressobj()
        try:
            found = whole.decompress(memoryview(plain)[1:], UNPRESSED_MAX)
        except zlib.error:
            raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="form") from None
        if whole.eof:
            return found
    raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="form")
