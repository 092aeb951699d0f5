"""SEARCH: keys as nouns, compiled to one predicate over what is known of a message.

A predicate says True, False, or None: "with what you gave me I cannot tell". The store asks
`needs` what to load first (flags and dates are cheap, the record is sealed, the message dear),
and loads the message only of those that are still None.
"""

# RFC 9051 §6.4.4; RFC 5032 (WITHIN), RFC 7162 §3.1.5, RFC 8474 §5.2, RFC 8514

from __future__ import annotations

import bisect
import enum
from collections.abc import Callable
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import encoded_words, fields, words
from kerwen.mail.fields import Fields
from kerwen.mail.flags import BITS, Flags
from kerwen.mail.message import scan
from kerwen.mail.texts import texts

_DAY_MS: Final = 86_400_000


class Op(enum.Enum):
    """How a day is compared."""

    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


class When(enum.Enum):
    """Which date of a message."""

    INTERNAL = "INTERNAL"
    SENT = "SENT"
    SAVED = "SAVED"


class Key(msgspec.Struct, frozen=True, gc=False):
    """A search key; its kinds follow."""


class All(Key, frozen=True, gc=False):
    """Every message."""


class And(Key, frozen=True):
    """All of these."""

    keys: tuple[Key, ...]


class Or(Key, frozen=True):
    """One of two."""

    left: Key
    right: Key


class Not(Key, frozen=True):
    """Not this."""

    key: Key


class Numbers(Key, frozen=True, gc=False):
    """Sequence numbers or UIDs, as sorted ranges that do not touch; `*` is resolved already."""

    ranges: tuple[tuple[int, int], ...]
    uid: bool


class Flagged(Key, frozen=True, gc=False):
    """SEEN, UNSEEN, KEYWORD x …: a flag is set, or is not."""

    flag: str
    is_set: bool = True


class Day(Key, frozen=True, gc=False):
    """BEFORE, SENTON, SAVEDSINCE …; `day` counts from 1970, without clock or zone."""

    when: When
    op: Op
    day: int


class Size(Key, frozen=True, gc=False):
    """LARGER (more than) or SMALLER (less than)."""

    size: int
    larger: bool


class Within(Key, frozen=True, gc=False):
    """YOUNGER or OLDER than so many seconds."""

    seconds: int
    younger: bool


class Changed(Key, frozen=True, gc=False):
    """MODSEQ: changed at this or later."""

    modseq: int


class Id(Key, frozen=True, gc=False):
    """EMAILID or THREADID."""

    id: str
    thread: bool


class Header(Key, frozen=True, gc=False):
    """HEADER, and SUBJECT, FROM, TO, CC, BCC, which are headers by name."""

    name: bytes  # in small letters
    text: str


class Body(Key, frozen=True, gc=False):
    """A text in the body."""

    text: str


class Text(Key, frozen=True, gc=False):
    """A text in the header or the body."""

    text: str


class Candidate(msgspec.Struct):
    """What is known of one message. What is None was not loaded."""

    number: int
    uid: int
    flags: Flags
    internal_ms: int
    size: int
    modseq: int = 0
    saved_ms: int | None = None
    email_id: str = ""
    thread_id: str = ""
    sent_day: int | None = None  # None also where the message has no date
    words: words.Record | None = None
    header: bytes | None = None
    message: bytes | None = None
    proof: str | None = None  # made of the message when first asked for


class Needs(enum.IntFlag):
    """What a search has to look at, cheapest first."""

    NOTHING = 0
    RECORD = 1  # `words`, `sent_day`
    HEADER = 2
    MESSAGE = 4  # only where a predicate said None


Predicate = Callable[[Candidate], bool | None]


def needs(key: Key) -> Needs:
    """What to load before the predicate is asked."""
    if isinstance(key, And):
        found = Needs.NOTHING
        for inner in key.keys:
            found |= needs(inner)
        return found
    if isinstance(key, Or):
        return needs(key.left) | needs(key.right)
    if isinstance(key, Not):
        return needs(key.key)
    if isinstance(key, Header):
        return Needs.RECORD | Needs.HEADER if key.name in _RECORDED else Needs.HEADER
    if isinstance(key, Text):
        return Needs.RECORD | Needs.HEADER | Needs.MESSAGE
    if isinstance(key, Body):
        return Needs.RECORD | Needs.MESSAGE
    if isinstance(key, Day) and key.when is When.SENT:
        return Needs.RECORD
    return Needs.NOTHING


def predicate(key: Key, now_ms: int) -> Predicate:
    """A key as one function. Of an AND, the cheap keys are asked first."""
    return _MAKERS[type(key)](key, now_ms)


# --- logic with an unknown ----------------------------------------------------------------------


def _all(key: Key, now_ms: int) -> Predicate:
    return lambda candidate: True


def _and(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, And)
    ordered = sorted(key.keys, key=needs)
    inner = [predicate(one, now_ms) for one in ordered]

    def decide(candidate: Candidate) -> bool | None:
        verdict: bool | None = True
        for ask in inner:
            said = ask(candidate)
            if said is False:
                return False
            if said is None:
                verdict = None
        return verdict

    return inner[0] if len(inner) == 1 else decide


def _or(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Or)
    left, right = predicate(key.left, now_ms), predicate(key.right, now_ms)

    def decide(candidate: Candidate) -> bool | None:
        first = left(candidate)
        if first is True:
            return True
        second = right(candidate)
        if second is True:
            return True
        return None if first is None or second is None else False

    return decide


def _not(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Not)
    inner = predicate(key.key, now_ms)

    def decide(candidate: Candidate) -> bool | None:
        said = inner(candidate)
        return None if said is None else not said

    return decide


# --- what stands in clear -----------------------------------------------------------------------


def _numbers(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Numbers)
    starts = [low for low, _ in key.ranges]
    ends = [high for _, high in key.ranges]

    def within(number: int) -> bool:
        place = bisect.bisect_right(starts, number) - 1
        return place >= 0 and number <= ends[place]

    if key.uid:
        return lambda candidate: within(candidate.uid)
    return lambda candidate: within(candidate.number)


def _flagged(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Flagged)
    wanted = key.is_set
    bit = BITS.get(key.flag.lower())
    if bit is not None:
        mask = int(bit)
        return lambda candidate: bool(candidate.flags.system & mask) == wanted
    flag = key.flag
    return lambda candidate: candidate.flags.has(flag) == wanted


def _day(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Day)
    compare = _COMPARE[key.op]
    day = key.day
    if key.when is When.INTERNAL:
        return lambda candidate: compare(candidate.internal_ms // _DAY_MS, day)
    if key.when is When.SAVED:

        def saved(candidate: Candidate) -> bool:
            # RFC 8514 §4.3: without a save date the internal date counts
            ms = candidate.internal_ms if candidate.saved_ms is None else candidate.saved_ms
            return compare(ms // _DAY_MS, day)

        return saved

    def sent(candidate: Candidate) -> bool:
        return candidate.sent_day is not None and compare(candidate.sent_day, day)

    return sent


_COMPARE: Final[dict[Op, Callable[[int, int], bool]]] = {
    Op.BEFORE: lambda day, other: day < other,
    Op.ON: lambda day, other: day == other,
    Op.SINCE: lambda day, other: day >= other,
}


def _size(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Size)
    size = key.size
    if key.larger:
        return lambda candidate: candidate.size > size
    return lambda candidate: candidate.size < size


def _within(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Within)
    edge = now_ms - key.seconds * 1000
    if key.younger:
        return lambda candidate: candidate.internal_ms >= edge
    return lambda candidate: candidate.internal_ms <= edge


def _changed(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Changed)
    modseq = key.modseq
    return lambda candidate: candidate.modseq >= modseq


def _id(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Id)
    wanted = key.id
    if key.thread:
        return lambda candidate: candidate.thread_id == wanted
    return lambda candidate: candidate.email_id == wanted


# --- texts --------------------------------------------------------------------------------------

_RECORDED: Final[dict[bytes, Callable[[words.Record], str]]] = {
    b"subject": lambda record: record.subject,
    b"from": lambda record: record.sender,
    b"to": lambda record: record.to,
    b"cc": lambda record: record.cc,
    b"bcc": lambda record: record.bcc,
}


def _header(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Header)
    asked = words.query(key.text)
    name = key.name
    recorded = _RECORDED.get(name)
    plain = key.text.lower().encode() if key.text.isascii() and " " not in key.text else b""

    def decide(candidate: Candidate) -> bool | None:
        record = candidate.words
        if record is not None and recorded is not None and asked.line:
            line = recorded(record)
            if asked.line in line:
                if asked.exact:
                    return True
            elif not record.cut:
                return False
        header = candidate.header
        if header is None:
            return None
        if plain and b"=?" not in header and header.isascii() and plain not in header.lower():
            return False
        return _in_header(fields.read(header), name, asked.proof)

    return decide


def _in_header(header: Fields, name: bytes, proof: str) -> bool:
    values = header.get(name)
    if not values:
        return False
    # RFC 9051 §6.4.4: an empty text asks only whether the field is there
    return any(proof in words.proving(encoded_words.decode(value)) for value in values)


def _body(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Body)
    asked = words.query(key.text)

    def decide(candidate: Candidate) -> bool | None:
        if not asked.proof:
            return True
        record = candidate.words
        if record is not None and asked.words:
            if words.may_hold(record.body, asked):
                if asked.exact:
                    return True
            elif not record.cut:
                return False
        return asked.proof in _proof(candidate) if candidate.message is not None else None

    return decide


def _text(key: Key, now_ms: int) -> Predicate:
    assert isinstance(key, Text)
    asked = words.query(key.text)
    in_body = _body(Body(key.text), now_ms)

    def decide(candidate: Candidate) -> bool | None:
        record = candidate.words
        if asked.exact and record is not None and _in_lines(record, asked.line):
            return True
        said = in_body(candidate)
        if said is True:
            return True
        header = candidate.header
        if header is None:
            return None
        if asked.proof in _header_proof(header):
            return True
        return said

    return decide


def _in_lines(record: words.Record, line: str) -> bool:
    return (
        line in record.subject
        or line in record.sender
        or line in record.to
        or line in record.cc
        or line in record.bcc
    )


def _header_proof(header: bytes) -> str:
    """Every field with its name, as text."""
    if b"=?" not in header and header.isascii():
        return " ".join(header.decode("ascii").lower().split())
    lines = []
    for name, values in fields.read(header).items():
        told = name.decode("latin-1")
        lines += [f"{told}: {encoded_words.decode(value)}" for value in values]
    return words.proving("\n".join(lines))


def _proof(candidate: Candidate) -> str:
    """All text of a message, folded, with every sign."""
    if candidate.proof is None:
        raw = candidate.message
        assert raw is not None
        found = texts(
            raw, scan(raw), bytes_max=limits.MESSAGE_BYTES_MAX, parts_max=limits.MIME_PARTS_MAX
        )
        candidate.proof = "\n".join(
            map(words.proving, (*found.plain, *found.html, *found.attached))
        )
    return candidate.proof


_MAKERS: Final[dict[type[Key], Callable[[Key, int], Predicate]]] = {
    All: _all,
    And: _and,
    Or: _or,
    Not: _not,
    Numbers: _numbers,
    Flagged: _flagged,
    Day: _day,
    Size: _size,
    Within: _within,
    Changed: _changed,
    Id: _id,
    Header: _header,
    Body: _body,
    Text: _text,
}
