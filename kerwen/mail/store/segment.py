"""Which messages lie in a mailbox, column by column: up to `FULL` of them in one row.

A mailbox of 10,000 messages is 80 rows, so flags of all of them are set in a few milliseconds,
and opening it reads no row per message. Columns are arrays; a segment is never changed once it is
in a `View`: whoever changes one decodes it again.
"""

# docs/mail_store.md

from __future__ import annotations

import enum
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from kerwen.base.errors import Reason, Refused

FULL: Final = 128
_FORM: Final = 1
_KEYWORDS: Final = 2  # form bit: the column of keywords is there
_COLUMNS: Final = {  # after the flags, a byte each: kind, and bytes of a message before it
    "uids": ("I", 1),
    "nos": ("Q", 5),
    "modseqs": ("Q", 13),
    "borns": ("Q", 21),
    "dates": ("q", 29),
    "saved": ("q", 37),
    "threads": ("q", 45),
    "sizes": ("I", 53),
}
_WIDTH: Final = 57
_SWAP: Final = sys.byteorder == "big"


class Flag(enum.IntFlag):
    """The system flags, as bits of a message's flags (RFC 9051 §2.3.2)."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


SYSTEM_ALL: Final = 31
SEEN: Final = 1  # plain numbers, since arithmetic with an IntFlag costs twenty times more
DELETED: Final = 8
OR: Final = tuple(bytes(old | bits for old in range(256)) for bits in range(32))
"""OR[bits]: the table for `bytes.translate` that sets these flags."""
CLEAR: Final = tuple(bytes(old & ~bits & 255 for old in range(256)) for bits in range(32))
"""CLEAR[bits]: the table that takes them away."""


class Placed(msgspec.Struct, frozen=True, gc=False):
    """One message in one mailbox. Times in seconds; `keywords` are bits, see `mail_keywords`."""

    uid: int
    no: int  # the message's own number: copies share it
    flags: int
    keywords: int
    modseq: int
    born: int  # MODSEQ at which the message came to the account
    date: int  # INTERNALDATE
    saved: int  # SAVEDATE (RFC 8514)
    thread: int
    size: int


class Segment:
    """The columns of a row of `mail_segments`. Those that nobody looks at are never unpacked."""

    __slots__ = (
        "_raw",
        "borns",
        "dates",
        "flags",
        "keywords",
        "modseqs",
        "nos",
        "saved",
        "sizes",
        "threads",
        "uids",
    )

    uids: array[int]
    nos: array[int]
    modseqs: array[int]
    borns: array[int]
    dates: array[int]
    saved: array[int]
    threads: array[int]
    sizes: array[int]
    flags: bytes
    keywords: array[int] | None

    def __init__(self, raw: bytes = b"") -> None:
        """`raw` is a row's bytes, checked by `decode`."""
        self._raw = raw
        if raw:
            self.flags = raw[3 : 3 + (raw[1] | raw[2] << 8)]
            if not raw[0] & _KEYWORDS:
                self.keywords = None
            return
        for name, (kind, _) in _COLUMNS.items():
            setattr(self, name, array(kind))
        self.flags = b""
        self.keywords = None

    def __getattr__(self, name: str) -> array[int]:
        # a slot that is not set yet: its column is unpacked when it is first looked at
        if name == "keywords":
            kind, start = "Q", _WIDTH
        else:
            kind, start = _COLUMNS[name]
        raw = self._raw
        count = raw[1] | raw[2] << 8
        at = 3 + count * start
        column = array(kind)
        column.frombytes(memoryview(raw)[at : at + count * column.itemsize])
        if _SWAP:
            column.byteswap()
        setattr(self, name, column)
        return column

    def __len__(self) -> int:
        return len(self.flags)

    def __getitem__(self, at: int) -> Placed:
        keywords = self.keywords
        return Placed(
            self.uids[at],
            self.nos[at],
            self.flags[at],
            keywords[at] if keywords is not None else 0,
            self.modseqs[at],
            self.borns[at],
            self.dates[at],
            self.saved[at],
            self.threads[at],
            self.sizes[at],
        )

    def append(self, placed: Placed) -> None:
        """Adds a message with a higher UID than all."""
        self.uids.append(placed.uid)
        self.nos.append(placed.no)
        self.modseqs.append(placed.modseq)
        self.borns.append(placed.born)
        self.dates.append(placed.date)
        self.saved.append(placed.saved)
        self.threads.append(placed.thread)
        self.sizes.append(placed.size)
        self.flags += bytes((placed.flags,))
        if placed.keywords or self.keywords is not None:
            self.set_keywords(len(self.flags) - 1, placed.keywords)

    def set_keywords(self, at: int, bits: int) -> None:
        """Sets the keywords of a message."""
        count = len(self.flags)
        if self.keywords is None:
            self.keywords = array("Q", bytes(8 * count))
        elif len(self.keywords) < count:
            self.keywords.frombytes(bytes(8 * (count - len(self.keywords))))
        self.keywords[at] = bits

    def pick(self, places: Sequence[int]) -> Segment:
        """A segment of the messages at these places, in this order."""
        found = Segment()
        for name, (kind, _) in _COLUMNS.items():
            column = getattr(self, name)
            setattr(found, name, array(kind, [column[at] for at in places]))
        flags = self.flags
        found.flags = bytes([flags[at] for at in places])
        keywords = self.keywords
        if keywords is not None:
            found.keywords = array("Q", [keywords[at] for at in places])
        return found

    def slice(self, start: int, stop: int) -> Segment:
        """A segment of a stretch of this one."""
        found = Segment()
        for name in _COLUMNS:
            setattr(found, name, getattr(self, name)[start:stop])
        found.flags = self.flags[start:stop]
        if self.keywords is not None:
            found.keywords = self.keywords[start:stop]
        return found

    def extend(self, other: Segment) -> None:
        """Adds all of another one, whose UIDs are higher."""
        count = len(self)
        for name in _COLUMNS:
            getattr(self, name).extend(getattr(other, name))
        self.flags += other.flags
        if self.keywords is not None or other.keywords is not None:
            mine = self.keywords if self.keywords is not None else array("Q", bytes(8 * count))
            theirs = other.keywords
            mine.extend(theirs if theirs is not None else array("Q", bytes(8 * len(other))))
            self.keywords = mine

    def encode(self) -> bytes:
        """The row's bytes."""
        count = len(self.flags)
        keywords = self.keywords
        if keywords is not None and not any(keywords):
            keywords = None
        form = _FORM | _KEYWORDS if keywords is not None else _FORM
        pieces: list[bytes | memoryview] = [bytes((form, count & 255, count >> 8)), self.flags]
        raw = memoryview(self._raw)
        for name, (kind, start) in _COLUMNS.items():
            try:
                column = _SLOTS[name](self)
            except AttributeError:  # nobody looked at it: as it was
                at = 3 + count * start
                pieces.append(raw[at : at + count * (4 if kind == "I" else 8)])
            else:
                pieces.append(_packed(column))
        if keywords is not None:
            pieces.append(_packed(keywords))
        return b"".join(pieces)

    @property
    def unseen(self) -> int:
        """How many are not seen."""
        return len(self.flags) - self.having(SEEN)

    def having(self, bit: int) -> int:
        """How many have a system flag."""
        return len(self.flags.translate(None, _WITHOUT[bit]))

    @property
    def bytes(self) -> int:
        """The sum of the sizes."""
        return sum(self.sizes)


_WITHOUT: Final = {
    bit: bytes(value for value in range(256) if not value & bit) for bit in (1, 2, 4, 8, 16)
}


_SLOTS: Final[dict[str, Any]] = {
    name: getattr(Segment, name).__get__ for name in (*_COLUMNS, "keywords")
}
"""Reads a slot without `__getattr__`."""


def decode(raw: bytes) -> Segment:
    """A segment of a row's bytes. Says `BOX_DAMAGED` where they are none."""
    raw = bytes(raw)
    count = int.from_bytes(raw[1:3], "little")
    whole = 3 + count * (_WIDTH + (8 if raw[:1] and raw[0] & _KEYWORDS else 0))
    if len(raw) != whole or raw[0] & ~_KEYWORDS != _FORM:
        raise Refused(Reason.BOX_DAMAGED, "A mailbox is damaged", why="segment")
    return Segment(raw)


_VALUES: Final = struct.Struct("<IQQQqqqI")
_CUTS: Final = tuple(
    (start, 4 if kind == "I" else 8, start - 1) for kind, start in _COLUMNS.values()
)


def appended(raw: bytes, one: Placed) -> bytes | None:
    """A row's bytes with one message more, without unpacking them: this is the path of every
    delivery. None where the row has keywords, or the message has.
    """
    if raw[0] != _FORM or one.keywords:
        return None
    count = raw[1] | raw[2] << 8
    values = _VALUES.pack(
        one.uid,
        one.no,
        one.modseq,
        one.born,
        one.date,
        one.saved,
        one.thread,
        one.size,
    )
    more = count + 1
    pieces = [
        bytes((_FORM, more & 255, more >> 8)),
        raw[3 : 3 + count],
        bytes((one.flags,)),
    ]
    for start, width, at in _CUTS:
        first = 3 + count * start
        pieces.append(raw[first : first + count * width])
        pieces.append(values[at : at + width])
    return b"".join(pieces)


def _packed(column: array[int]) -> bytes:
    if _SWAP:
        column = column[:]
        column.byteswap()
    return column.tobytes()


def pack(kind: str, numbers: Iterable[int]) -> bytes:
    """Numbers as they stand in a column: `I` for UIDs, `Q` for messages."""
    return _packed(array(kind, numbers))


def unpack(kind: str, raw: bytes) -> array[int]:
    """What `pack` made."""
    found = array(kind)
    found.frombytes(raw)
    if _SWAP:
        found.byteswap()
    return found


assert all(array(kind).itemsize == (4 if kind == "I" else 8) for kind, _ in _COLUMNS.values())
