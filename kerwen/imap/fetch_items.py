"""What a FETCH must read of each message, and how the answer is made of that.

An answer is made column by column: each attribute gives a piece of one format and the values for
it, so that a listing of thousands costs one formatting a message and no call for each item.
"""

# RFC 9051 §7.5.2

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Any, Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.imap.deeds import Deeds
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.commands import Attribute, Kind
from kerwen.mail import message, section, structure
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.section import Span, What
from kerwen.mail.store import page, tags
from kerwen.mail.store.record import FieldNames
from kerwen.mail.store.segment import Flag

_LISTED: Final = frozenset({Kind.ENVELOPE, Kind.BODYSTRUCTURE, Kind.BODY})
_WHOLE: Final = section.Section()
_LONG: Final = 200  # bytes of a value from which on it is better not copied once more
_RAW: Final = "raw"  # how a message that is read piece by piece is kept for a while
GONE: Final = Refused(Reason.MESSAGE_GONE, "The message is gone")

Names = Callable[[int, int], bytes]
"""Flags as IMAP writes them, of system bits and keyword bits."""
Column = tuple[bytes, list[Sequence[Any]]]
"""A piece of the format, and the values that it takes of every message."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """UIDs of messages that this FETCH marked \\Seen, and their MODSEQ."""

    uids: frozenset[int] = frozenset()
    modseq: int = 0


NOTHING_SEEN: Final = Seen()


class Reading:
    """What was read of some messages of a view: lists side by side."""

    __slots__ = (
        "deeds", "fields", "pieces", "places", "raws", "refused", "seen", "spans", "unlocked",
        "view",
    )  # fmt: skip

    def __init__(
        self,
        deeds: Deeds,
        unlocked: Unlocked,
        view: View,
        places: Sequence[int],
        seen: Seen,
    ) -> None:
        self.deeds = deeds
        self.unlocked = unlocked
        self.view = view
        self.places = places
        self.seen = seen
        self.fields: dict[Attribute, list[bytes | None]] = {}
        self.pieces: dict[str, list[Any]] = {}  # of cards: kind → row by row
        self.raws: list[bytes | None] = []
        self.spans: list[Span | None] = []
        self.refused: list[tuple[int, Refused]] = []  # UIDs of messages that cannot be told

    async def read(self, plan: Plan) -> None:
        """Reads what a plan needs; messages that cannot be read leave `places`."""
        if plan.kinds:
            await self._read_cards(plan.kinds)
        if plan.reads_messages:
            await self._read_messages(self.places, keep=plan.piecemeal)
        for one, names in plan.fields.items():
            self.fields[one] = self._from_heads(names)
        if not plan.reads_messages and any(None in told for told in self.fields.values()):
            await self._read_messages(self._not_in_head(), keep=False)
            for one, names in plan.fields.items():
                self.fields[one] = self._from_heads(names)

    async def _read_cards(self, kinds: tuple[str, ...]) -> None:
        nos = self._nos(self.places)
        found, refused = await self.deeds.records.pieces(self.unlocked, nos, kinds)
        self.pieces = {kind: list(map(found[kind].get, nos)) for kind in kinds}
        first = self.pieces[kinds[0]]
        if None in first:
            self._leave_out(
                [
                    refused.get(no, GONE) if piece is None else piece
                    for no, piece in zip(nos, first, strict=True)
                ]
            )

    def _from_heads(self, names: FieldNames) -> list[bytes | None]:
        return list(map(names.of, self.pieces[page.HEAD]))

    def _not_in_head(self) -> list[int]:
        """The places of messages of which a field is asked for that only they have."""
        rows = zip(self.places, zip(*self.fields.values(), strict=True), strict=True)
        return [at for at, told in rows if None in told]

    async def _read_messages(self, places: Sequence[int], *, keep: bool) -> None:
        nos = self._nos(places)
        raws: dict[int, bytes | Refused] = {}
        if keep:
            raws = {no: raw for no in nos if (raw := self.unlocked.page(no, _RAW)) is not None}
        missing = [no for no in nos if no not in raws]
        if missing:
            read = await self.deeds.records.messages(self.unlocked, missing)
            raws |= read
            if keep:
                for no, raw in read.items():
                    if not isinstance(raw, Refused):
                        self.unlocked.keep(no, _RAW, raw, len(raw))
        wanted = set(places)
        every = zip(self.places, self._nos(self.places), strict=True)
        found: list[Any] = [raws.get(no, GONE) if at in wanted else None for at, no in every]
        self.raws = found
        if any(type(raw) is Refused for raw in found):
            self._leave_out(found)

    def _nos(self, places: Sequence[int]) -> list[int]:
        nos = self.view.nos
        return [nos[at] for at in places]

    def _leave_out(self, read: Sequence[Any]) -> None:
        uids = self.view.uids
        good = [at for at, one in enumerate(read) if type(one) is not Refused]
        self.refused += [
            (uids[at], one)
            for at, one in zip(self.places, read, strict=True)
            if type(one) is Refused
        ]
        self.places = [self.places[at] for at in good]
        self.pieces = {kind: [one[at] for at in good] for kind, one in self.pieces.items()}
        if self.raws:
            self.raws = [self.raws[at] for at in good]

    def span(self, at: int) -> Span:
        """Where the parts of the message of row `at` are."""
        if not self.spans:
            self.spans = [None] * len(self.places)
        found = self.spans[at]
        if found is None:
            mores = self.pieces.get(page.MORE)
            more = mores[at] if mores else None
            raw = self.raws[at]
            assert raw is not None, "the plan says so"
            found = self.spans[at] = more.span if more else section.span_of(message.scan(raw))
        return found


class Plan:
    """The attributes of a FETCH, and what they need."""

    __slots__ = (
        "attributes", "fields", "kinds", "piecemeal", "reads_messages", "sets_seen", "tells_flags",
    )  # fmt: skip

    def __init__(self, attributes: tuple[Attribute, ...]) -> None:
        self.attributes = attributes
        self.fields = {
            one: FieldNames(one.section.names)
            for one in attributes
            if one.section is not None and _from_head(one)
        }
        kinds = []
        if any(one.kind in _LISTED for one in attributes):
            kinds.append(page.LIST)
        if self.fields:
            kinds.append(page.HEAD)
        if any(one.kind is Kind.PREVIEW or _needs_span(one) for one in attributes):
            kinds.append(page.MORE)
        self.kinds = tuple(kinds)
        self.reads_messages = any(
            one.section is not None and one not in self.fields for one in attributes
        )
        # whether reading this marks a message \Seen; whether names of keywords must be known;
        # whether the client reads in pieces, and will want the next one soon
        self.sets_seen = any(not one.peek for one in attributes)
        self.tells_flags = any(one.kind is Kind.FLAGS for one in attributes)
        self.piecemeal = any(one.partial is not None for one in attributes)

    def answers(self, reading: Reading, names: Names) -> bytes:
        """The FETCH answers of what was read. Raises `section.UnknownEncoding`."""
        columns = [self._column(one, reading, names) for one in self.attributes]
        numbers: list[Sequence[Any]] = [[at + 1 for at in reading.places]]
        form, values = b"* %d FETCH (", numbers
        told: list[Sequence[bytes] | bytes] = []
        last = len(columns) - 1
        for at, (piece, some) in enumerate(columns):
            form += piece
            values = values + some
            if piece.endswith(b"%b") and some[-1] and len(some[-1][0]) > _LONG:
                # long values are joined once, not copied into a row first
                *values, long = values
                told += (_formed(form[:-2], values), long)
                form, values = b"", []
            form += b")\r\n" if at == last else b" "
        told.append(_formed(form, values))
        count = len(reading.places)
        rows: list[Iterable[bytes]] = [
            repeat(one, count) if isinstance(one, bytes) else one for one in told
        ]
        return b"".join(chain.from_iterable(zip(*rows, strict=True)))

    def _column(self, one: Attribute, reading: Reading, names: Names) -> Column:
        if one.kind is Kind.FLAGS:
            return _flags(reading, names)
        if one in self.fields:
            return _fields(reading, one)
        if one.section is not None:
            return _OF_SECTION[one.kind](reading, one)
        return _COLUMNS[one.kind](reading)


def _formed(form: bytes, values: list[Sequence[Any]]) -> list[bytes] | bytes:
    """A format with its values, row by row; without any it is the same for all."""
    if not values:
        return form % ()
    return [form % one for one in zip(*values, strict=True)]


@functools.lru_cache(512)
def plan_of(attributes: tuple[Attribute, ...]) -> Plan:
    """A plan; programs ask for the same few things over and over."""
    return Plan(attributes)


def _from_head(one: Attribute) -> bool:
    """Whether it may be answered from the header fields that are kept apart."""
    wanted = one.section
    return (
        one.kind is Kind.SECTION
        and wanted is not None
        and not wanted.path
        and wanted.what is What.FIELDS
    )


def _needs_span(one: Attribute) -> bool:
    return one.section is not None and one.section != _WHOLE and not _from_head(one)


def _picked(column: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    """The values of a view's column at these places."""
    if isinstance(places, range) and places.step == 1:
        return column[places.start : places.stop]
    return [column[at] for at in places]


# --- what stands in the view -------------------------------------------------------------------


def _flags(reading: Reading, names: Names) -> Column:
    view, places, seen = reading.view, reading.places, reading.seen.uids
    masks = _picked(view.flags, places)
    if seen:
        uids = view.uids
        masks = [
            mask | Flag.SEEN if uids[at] in seen else mask
            for at, mask in zip(places, masks, strict=True)
        ]
    if view.keywords is None:
        told = {mask: names(mask, 0) for mask in set(masks)}
        return b"FLAGS (%b)", [[told[mask] for mask in masks]]
    bits = _picked(view.keywords, places)
    return b"FLAGS (%b)", [list(map(names, masks, bits))]


def _modseq(reading: Reading) -> Column:
    view, places, seen = reading.view, reading.places, reading.seen.uids
    values = _picked(view.modseqs, places)
    if seen:
        uids = view.uids
        values = [
            max(reading.seen.modseq, modseq) if uids[at] in seen else modseq
            for at, modseq in zip(places, values, strict=True)
        ]
    return b"MODSEQ (%d)", [values]


def _uid(reading: Reading) -> Column:
    return b"UID %d", [_picked(reading.view.uids, reading.places)]


def _size(reading: Reading) -> Column:
    return b"RFC822.SIZE %d", [_picked(reading.view.sizes, reading.places)]


def _internal_date(reading: Reading) -> Column:
    dates = _picked(reading.view.dates, reading.places)
    return b"INTERNALDATE %b", [responses.internal_dates(dates)]


def _save_date(reading: Reading) -> Column:
    dates = _picked(reading.view.saved, reading.places)
    return b"SAVEDATE %b", [responses.internal_dates(dates)]


def _email_id(reading: Reading) -> Column:
    nos = list(_picked(reading.view.nos, reading.places))
    ids = reading.deeds.email_ids(reading.unlocked.account_no, nos)
    return b"EMAILID (%b)", [[one.encode() for one in ids]]


def _thread_id(reading: Reading) -> Column:
    threads = _picked(reading.view.threads, reading.places)
    return b"THREADID (%b)", [[tags.thread_id(one).encode() for one in threads]]


# --- what stands in the cards ------------------------------------------------------------------


def _listing(reading: Reading, which: int) -> list[bytes]:
    return [one[which] for one in reading.pieces[page.LIST]]


def _envelope(reading: Reading) -> Column:
    return b"ENVELOPE %b", [_listing(reading, 0)]


def _bodystructure(reading: Reading) -> Column:
    return b"BODYSTRUCTURE %b", [_listing(reading, 1)]


def _body(reading: Reading) -> Column:
    return b"BODY %b", [list(map(structure.without_extensions, _listing(reading, 1)))]


def _preview(reading: Reading) -> Column:
    mores = reading.pieces[page.MORE]
    found = [responses.string(one.preview.encode("utf-8", "replace")) for one in mores]
    return b"PREVIEW %b", [found]


_COLUMNS: Final[dict[Kind, Callable[[Reading], Column]]] = {
    Kind.UID: _uid,
    Kind.MODSEQ: _modseq,
    Kind.SIZE: _size,
    Kind.INTERNALDATE: _internal_date,
    Kind.SAVEDATE: _save_date,
    Kind.EMAILID: _email_id,
    Kind.THREADID: _thread_id,
    Kind.ENVELOPE: _envelope,
    Kind.BODYSTRUCTURE: _bodystructure,
    Kind.BODY: _body,
    Kind.PREVIEW: _preview,
}


# --- what stands in the messages ---------------------------------------------------------------


def _literals(label: bytes, found: list[bytes]) -> Column:
    """Each as a literal: they may hold anything."""
    return label.replace(b"%", b"%%") + b" {%d}\r\n%b", [list(map(len, found)), found]


def _fields(reading: Reading, one: Attribute) -> Column:
    """BODY[HEADER.FIELDS (…)]."""
    part, wanted = one.partial, one.section
    assert wanted is not None
    found = reading.fields[one]
    if None in found:
        for at, data in enumerate(found):
            raw = reading.raws[at] if reading.raws else None
            if data is None and raw is not None:
                found[at] = section.extract(raw, reading.span(at), wanted) or b""
    told = [data or b"" for data in found]
    if part is not None:
        told = [data[part.start : part.start + part.size] for data in told]
    return _literals(one.label, told)


def _section(reading: Reading, one: Attribute) -> Column:
    """BODY[…]<…>, RFC822 and its kin."""
    part, wanted = one.partial, one.section
    assert wanted is not None
    found: list[bytes | None] = []
    for at, raw in enumerate(reading.raws):
        assert raw is not None, "the plan says so"
        if wanted != _WHOLE:
            found.append(section.extract(raw, reading.span(at), wanted, part))
        elif part is None:
            found.append(raw)
        else:
            found.append(raw[part.start : part.start + part.size])
    if None not in found:
        return _literals(one.label, found)  # type: ignore[arg-type]
    told = [b"NIL" if data is None else responses.literal(data) for data in found]
    return one.label.replace(b"%", b"%%") + b" %b", [told]


def _binary(reading: Reading, one: Attribute) -> Column:
    """BINARY[…]<…>."""
    told = [b"NIL" if data is None else responses.literal8(data) for data in _decoded(reading, one)]
    return one.label + b" %b", [told]


def _binary_size(reading: Reading, one: Attribute) -> Column:
    """BINARY.SIZE[…]."""
    return one.label + b" %d", [[len(data or b"") for data in _decoded(reading, one)]]


def _decoded(reading: Reading, one: Attribute) -> list[bytes | None]:
    part, wanted = one.partial, one.section
    assert wanted is not None
    found = []
    for at, raw in enumerate(reading.raws):
        assert raw is not None, "the plan says so"
        found.append(section.binary(raw, reading.span(at), wanted.path, part))
    return found


_OF_SECTION: Final[dict[Kind, Callable[[Reading, Attribute], Column]]] = {
    Kind.SECTION: _section,
    Kind.BINARY: _binary,
    Kind.BINARY_SIZE: _binary_size,
}
