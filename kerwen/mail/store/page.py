"""Pages: the records of up to `HELD_MAX` messages, sealed together, kind by kind.

A listing of 200 opens one or two boxes; a search reads only the kind it needs. Bodies stay sealed
one by one; a page knows in which blob each lies.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.mail.store import record
from kerwen.mail.store.record import Card, Head, Listing, More
from kerwen.mail.store.segment import pack, unpack
from kerwen.mail.words import Query, Record

HELD_MAX: Final = 256  # a slot is one byte

LIST: Final = "list"
HEAD: Final = "head"
MORE: Final = "more"
FIND: Final = "find"
WORD: Final = "word"
KINDS: Final = (LIST, HEAD, MORE, FIND, WORD)

_LISTS: Final = msgspec.msgpack.Decoder(list[Listing])
_HEADS: Final = msgspec.msgpack.Decoder(list[Head])
_MORES: Final = msgspec.msgpack.Decoder(list[More])


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where the sealed body of a message is."""

    blob: str
    start: int
    length: int


class Places:
    """The messages of a page in the order of their slots, and where their bodies are."""

    __slots__ = ("_lengths", "_slots", "_starts", "_which", "blobs", "nos")

    def __init__(
        self,
        nos: array[int],
        blobs: list[str],
        which: array[int],
        starts: array[int],
        lengths: array[int],
    ) -> None:
        self.nos = nos
        self.blobs = blobs
        self._which = which
        self._starts = starts
        self._lengths = lengths
        self._slots: dict[int, int] | None = None

    @classmethod
    def of(cls, bodies: Sequence[tuple[int, Place]]) -> Places:
        """Of message numbers and their bodies' places, in the order of the slots."""
        blobs = list(dict.fromkeys(place.blob for _, place in bodies))
        index = {blob: at for at, blob in enumerate(blobs)}
        return cls(
            array("Q", [no for no, _ in bodies]),
            blobs,
            array("I", [index[place.blob] for _, place in bodies]),
            array("Q", [place.start for _, place in bodies]),
            array("I", [place.length for _, place in bodies]),
        )

    def encode(self) -> bytes:
        """As the row keeps it."""
        return record.encode(
            (
                pack("Q", self.nos),
                self.blobs,
                pack("I", self._which),
                pack("Q", self._starts),
                pack("I", self._lengths),
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Places:
        """What `encode` made."""
        nos, blobs, which, starts, lengths = _PLACES.decode(raw)
        return cls(
            unpack("Q", nos), blobs, unpack("I", which), unpack("Q", starts), unpack("I", lengths)
        )

    def slot(self, no: int) -> int | None:
        """The slot of a message; None if it is not here."""
        if self._slots is None:
            self._slots = {known: slot for slot, known in enumerate(self.nos)}
        return self._slots.get(no)

    def blobs_of(self, slots: Iterable[int]) -> list[str]:
        """The blobs in which the bodies of some slots' messages are, slot by slot."""
        blobs, which = self.blobs, self._which
        return [blobs[which[slot]] for slot in slots]

    def place(self, slot: int) -> Place:
        """Where the body of a slot's message is."""
        return Place(self.blobs[self._which[slot]], self._starts[slot], self._lengths[slot])


_PLACES: Final = msgspec.msgpack.Decoder(tuple[bytes, list[str], bytes, bytes, bytes])


class Find(msgspec.Struct, array_like=True, gc=False):
    """The folded field texts of a page's messages, a line each; what was cut of them (a byte of
    CUT and LONG bits); the days that their Date fields name."""

    subject: bytes
    sender: bytes
    to: bytes
    cc: bytes
    bcc: bytes
    cut: bytes
    days: bytes

    def slots(self, field: str, needle: bytes) -> set[int]:
        """The slots whose field holds a folded text."""
        return set(lines_with(getattr(self, field), needle))

    def sent_days(self) -> list[int | None]:
        """The day of each Date field, since 1970."""
        return [None if day == _NO_DAY else day for day in unpack("q", self.days)]


CUT: Final = 1
"""Bit of `Find.cut`: not all words of the body are in the record."""
LONG: Final = {name: 2 << at for at, name in enumerate(("subject", "sender", "to", "cc", "bcc"))}
"""Bits of `Find.cut`: the line of this field may have been cut."""
LINE_LONG: Final = 2_000
_NO_DAY: Final = -(1 << 62)
_FIND: Final = msgspec.msgpack.Decoder(Find)


def lines_with(text: bytes, needle: bytes) -> Iterator[int]:
    """The numbers of the lines that hold a text which has no line end."""
    at = text.find(needle)
    line = start = 0
    while at >= 0:
        line += text.count(b"\n", start, at)
        yield line
        end = text.find(b"\n", at)
        if end < 0:
            return
        line += 1
        start = end + 1
        at = text.find(needle, start)


class Words(msgspec.Struct, array_like=True, gc=False):
    """The words of all messages of a page: each once, and in which slots it occurs."""

    known: bytes  # every word between line ends, sorted
    counts: bytes  # in how many messages each is, less one
    slots: bytes  # those messages' slots, word after word

    def having(self, needle: bytes) -> set[int]:
        """The slots of messages in which a word holds `needle`; with line ends for its borders."""
        known, counts = self.known, self.counts
        found: set[int] = set()
        at = known.find(needle)
        number = since = total = seen = 0
        while at >= 0:
            # the number of the word that begins at or before the hit
            inside = at + 1 if known[at] == 10 else at
            number += known.count(b"\n", since, inside)
            since = inside
            word = number - 1
            total += sum(counts[seen:word]) + word - seen
            seen = word
            found.update(self.slots[total : total + counts[word] + 1])
            end = known.find(b"\n", inside)
            if end < 0:
                break
            at = known.find(needle, end)
        return found

    def may_hold(self, asked: Query) -> set[int] | None:
        """The slots whose words allow what is asked; None: all do."""
        words = [word.encode() for word in asked.words]
        if not words:
            return None
        if len(words) == 1:
            return self.having(words[0])
        found = self.having(words[0] + b"\n") & self.having(b"\n" + words[-1])
        for word in words[1:-1]:
            if not found:
                break
            found &= self.having(b"\n" + word + b"\n")
        return found


_WORDS: Final = msgspec.msgpack.Decoder(Words)
_LINE_ENDS: Final = re.compile(r"[\r\n]")


def words_of(records: Sequence[Record]) -> Words:
    """The words of a page's messages in the order of their slots."""
    where: dict[str, bytearray] = {}
    for slot, one in enumerate(records):
        for word in one.body.split("\n"):
            if word in where:
                where[word].append(slot)
            else:
                where[word] = bytearray((slot,))
    where.pop("", None)
    ordered = sorted(where.items())
    known = "\n".join(word for word, _ in ordered)
    return Words(
        f"\n{known}\n".encode() if ordered else b"",
        bytes(len(slots) - 1 for _, slots in ordered),
        b"".join(slots for _, slots in ordered),
    )


def bodies_of(words: Words, held: int) -> list[str]:
    """The words of each message again, as `Record.body` has them: for a page made of pages."""
    each: list[list[str]] = [[] for _ in range(held)]
    known = words.known.decode().split("\n")[1:-1]
    ends = list(accumulate((count + 1 for count in words.counts), initial=0))
    for number, word in enumerate(known):
        for slot in words.slots[ends[number] : ends[number + 1]]:
            each[slot].append(word)
    return ["\n" + "\n".join(found) + "\n" if found else "" for found in each]


def find_of(records: Sequence[Record], days: Sequence[int | None]) -> Find:
    """The field texts of a page's messages."""

    def column(name: str) -> bytes:
        return "\n".join(_LINE_ENDS.sub(" ", getattr(one, name)) for one in records).encode()

    return Find(
        column("subject"),
        column("sender"),
        column("to"),
        column("cc"),
        column("bcc"),
        bytes(cut_of(one) for one in records),
        pack("q", [_NO_DAY if day is None else day for day in days]),
    )


def cut_of(one: Record) -> int:
    """What was cut of a record."""
    bits = CUT if one.cut else 0
    for name, bit in LONG.items():
        if len(getattr(one, name)) >= LINE_LONG:
            bits |= bit
    return bits


def records_of(found: Find, words: Words, held: int) -> list[Record]:
    """The search records of a page's messages again."""
    subject, sender, to, cc, bcc = (
        text.decode().split("\n")
        for text in (found.subject, found.sender, found.to, found.cc, found.bcc)
    )
    bodies = bodies_of(words, held)
    return [
        Record(
            subject[slot],
            sender[slot],
            to[slot],
            cc[slot],
            bcc[slot],
            bodies[slot],
            bool(found.cut[slot] & CUT),
        )
        for slot in range(held)
    ]


PRESSED_ABOVE: Final = 0.25
"""Lists are pressed where they are more than this part of the bodies: in mailboxes of short
messages. Elsewhere they would save little, and cost a third of a listing's time."""


def encode(
    cards: Sequence[Card | tuple[Listing, Head, More]],
    records: Sequence[Record],
    body_bytes: int = 0,
) -> dict[str, bytes]:
    """The boxes' contents of a page, by kind; `body_bytes` is what its sealed bodies take."""
    rows: list[tuple[Any, Any, Any]] = [
        (card.listing, card.head, card.more) if isinstance(card, Card) else card for card in cards
    ]
    lists = {
        LIST: record.encode([row[0] for row in rows]),
        HEAD: record.encode([row[1] for row in rows]),
        FIND: record.encode(find_of(records, [row[2].sent_day for row in rows])),
    }
    if sum(map(len, lists.values())) > PRESSED_ABOVE * body_bytes:
        boxes = {kind: record.pressed_always(plain) for kind, plain in lists.items()}
    else:
        boxes = {kind: record.PLAIN + plain for kind, plain in lists.items()}
    boxes[MORE] = record.pressed_always(record.encode([row[2] for row in rows]))
    boxes[WORD] = record.pressed_always(record.encode(words_of(records)))
    return boxes


_DECODERS: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    LIST: _LISTS,
    HEAD: _HEADS,
    MORE: _MORES,
    FIND: _FIND,
    WORD: _WORDS,
}


def decode(kind: str, plain: bytes) -> Any:
    """A box's content: a list by slots, `Find` or `Words`. Says `BOX_DAMAGED`."""
    try:
        return _DECODERS[kind].decode(record.unpressed(plain))
    except msgspec.DecodeError:
        raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="form") from None
