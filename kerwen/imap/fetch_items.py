"""What a FETCH must read of each message, and how the answer is made of that."""

# RFC 9051 §7.5.2

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kerwen.base.errors import Reason, Refused
from kerwen.imap.deeds import Deeds
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.commands import Attribute, Kind
from kerwen.mail import message, section, structure
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.section import Span, What
from kerwen.mail.store import page, tags
from kerwen.mail.store.record import Card, FieldNames
from kerwen.mail.store.segment import Flag

_LISTED: Final = frozenset({Kind.ENVELOPE, Kind.BODYSTRUCTURE, Kind.BODY})
_WHOLE: Final = section.Section()
_GONE: Final = Refused(Reason.MESSAGE_GONE, "The message is gone")


class Row:
    """One message of an answer: its place and what was read of it."""

    __slots__ = ("at", "card", "email_id", "raw", "refused", "span", "uid")

    def __init__(self, at: int, uid: int) -> None:
        self.at = at
        self.uid = uid
        self.card: Card | None = None
        self.email_id = ""
        self.raw: bytes | None = None
        self.span: Span | None = None
        self.refused: Refused | None = None

    def where(self) -> Span:
        """Where the parts are."""
        if self.span is None:
            more = self.card.more if self.card is not None else None
            assert self.raw is not None, "the plan says so"
            self.span = more.span if more else section.span_of(message.scan(self.raw))
        return self.span


Make = Callable[[Row], bytes]


class Plan:
    """The attributes of a FETCH, and what they need. `seen`: UIDs that this FETCH marks \\Seen."""

    __slots__ = ("attributes", "fields", "kinds", "reads_messages", "seen", "seen_modseq")

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
        self.seen: frozenset[int] = frozenset()
        self.seen_modseq = 0

    @property
    def sets_seen(self) -> bool:
        """Whether reading this marks a message \\Seen."""
        return any(not one.peek for one in self.attributes)

    @property
    def names_messages(self) -> bool:
        """Whether EMAILIDs are asked for."""
        return any(one.kind is Kind.EMAILID for one in self.attributes)

    @property
    def kinds_need_names(self) -> bool:
        """Whether the names of keywords must be known."""
        return any(one.kind is Kind.FLAGS for one in self.attributes)

    def maker(self, view: View, names: Callable[[int, int], bytes]) -> Make:
        """Makes a whole answer of a row."""
        makers = [self._make(one, view, names) for one in self.attributes]
        return lambda row: (
            b"* %d FETCH (%b)\r\n"
            % (
                row.at + 1,
                b" ".join([make(row) for make in makers]),
            )
        )

    def _make(self, one: Attribute, view: View, names: Callable[[int, int], bytes]) -> Make:
        if one.kind is Kind.FLAGS:
            return _flags(view, names, self.seen)
        if one.kind is Kind.MODSEQ:
            return _modseq(view, self.seen, self.seen_modseq)
        if one in self.fields:
            return _fields(one, self.fields[one])
        if one.kind in _OF_VIEW:
            return _OF_VIEW[one.kind](view)
        if one.kind in _OF_CARD:
            return _OF_CARD[one.kind]
        return {Kind.SECTION: _section, Kind.BINARY: _binary, Kind.BINARY_SIZE: _binary_size}[
            one.kind
        ](one)


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


async def read(
    deeds: Deeds, unlocked: Unlocked, view: View, places: Sequence[int], plan: Plan
) -> list[Row]:
    """Reads what a plan needs of messages."""
    uids, nos = view.uids, view.nos
    rows = [Row(at, uids[at]) for at in places]
    if plan.names_messages:
        ids = deeds.email_ids(unlocked.account_no, [nos[at] for at in places])
        for row, email_id in zip(rows, ids, strict=True):
            row.email_id = email_id
    if plan.kinds:
        cards = await deeds.records.cards(unlocked, [nos[at] for at in places], plan.kinds)
        for row in rows:
            card = cards.get(nos[row.at], _GONE)
            if isinstance(card, Refused):
                row.refused = card
            else:
                row.card = card
    needy = rows if plan.reads_messages else _not_in_head(rows, plan)
    if needy:
        wanted = [nos[row.at] for row in needy if row.refused is None]
        messages = await deeds.records.messages(unlocked, wanted)
        for row in needy:
            raw = messages.get(nos[row.at], _GONE)
            if row.refused is not None:
                continue
            if isinstance(raw, Refused):
                row.refused = raw
            else:
                row.raw = raw
    return rows


def _not_in_head(rows: list[Row], plan: Plan) -> list[Row]:
    """Those of which a field is asked for that stands in the message only."""
    if not plan.fields:
        return []
    names = list(plan.fields.values())
    found = []
    for row in rows:
        head = row.card.head if row.card is not None else None
        if head is None or any(one.of(head) is None for one in names):
            found.append(row)
    return found


# --- what stands in the view -------------------------------------------------------------------


def _flags(view: View, names: Callable[[int, int], bytes], seen: frozenset[int]) -> Make:
    flags, keywords = view.flags, view.keywords

    def make(row: Row) -> bytes:
        at = row.at
        mask = flags[at] | Flag.SEEN if row.uid in seen else flags[at]
        return b"FLAGS (%b)" % names(mask, keywords[at] if keywords is not None else 0)

    return make


def _modseq(view: View, seen: frozenset[int], seen_modseq: int) -> Make:
    modseqs = view.modseqs
    return lambda row: (
        b"MODSEQ (%d)" % (max(seen_modseq, modseqs[row.at]) if row.uid in seen else modseqs[row.at])
    )


def _uid(view: View) -> Make:
    return lambda row: b"UID %d" % row.uid


def _size(view: View) -> Make:
    sizes = view.sizes
    return lambda row: b"RFC822.SIZE %d" % sizes[row.at]


def _internal_date(view: View) -> Make:
    dates = view.dates
    return lambda row: b"INTERNALDATE " + responses.internal_date(dates[row.at] * 1000)


def _save_date(view: View) -> Make:
    saved = view.saved
    return lambda row: b"SAVEDATE " + responses.internal_date(saved[row.at] * 1000)


def _email_id(row: Row) -> bytes:
    return b"EMAILID (%b)" % row.email_id.encode()


def _thread_id(view: View) -> Make:
    threads = view.threads
    return lambda row: b"THREADID (%b)" % tags.thread_id(threads[row.at]).encode()


_OF_VIEW: Final[dict[Kind, Callable[[View], Make]]] = {
    Kind.UID: _uid,
    Kind.SIZE: _size,
    Kind.INTERNALDATE: _internal_date,
    Kind.SAVEDATE: _save_date,
    Kind.EMAILID: lambda view: _email_id,
    Kind.THREADID: _thread_id,
}


# --- what stands in the card -------------------------------------------------------------------


def _envelope(row: Row) -> bytes:
    assert row.card is not None
    assert row.card.listing is not None
    return b"ENVELOPE " + row.card.listing[0]


def _bodystructure(row: Row) -> bytes:
    assert row.card is not None
    assert row.card.listing is not None
    return b"BODYSTRUCTURE " + row.card.listing[1]


def _body(row: Row) -> bytes:
    assert row.card is not None
    assert row.card.listing is not None
    return b"BODY " + structure.without_extensions(row.card.listing[1])


def _preview(row: Row) -> bytes:
    assert row.card is not None
    assert row.card.more is not None
    return b"PREVIEW " + responses.string(row.card.more.preview.encode("utf-8", "replace"))


_OF_CARD: Final[dict[Kind, Make]] = {
    Kind.ENVELOPE: _envelope,
    Kind.BODYSTRUCTURE: _bodystructure,
    Kind.BODY: _body,
    Kind.PREVIEW: _preview,
}


# --- what stands in the message ----------------------------------------------------------------


def _fields(one: Attribute, names: FieldNames) -> Make:
    """BODY[HEADER.FIELDS (…)]."""
    label, part = one.label, one.partial
    wanted = one.section
    assert wanted is not None

    def make(row: Row) -> bytes:
        head = row.card.head if row.card is not None else None
        data = names.of(head) if head is not None else None
        if data is None:
            assert row.raw is not None, "it was read"
            data = section.extract(row.raw, row.where(), wanted) or b""
        if part is not None:
            data = data[part.start : part.start + part.size]
        return b"%b {%d}\r\n%b" % (label, len(data), data)

    return make


def _section(one: Attribute) -> Make:
    """BODY[…]<…>, RFC822 and its kin."""
    label, part, wanted = one.label, one.partial, one.section
    assert wanted is not None

    def make(row: Row) -> bytes:
        assert row.raw is not None, "the plan says so"
        if wanted == _WHOLE:
            data: bytes | None = row.raw
            if part is not None:
                data = row.raw[part.start : part.start + part.size]
        else:
            data = section.extract(row.raw, row.where(), wanted, part)
        if data is None:
            return label + b" NIL"
        return b"%b {%d}\r\n%b" % (label, len(data), data)

    return make


def _binary(one: Attribute) -> Make:
    """BINARY[…]<…>; raises `UnknownEncoding`."""
    label, part, wanted = one.label, one.partial, one.section
    assert wanted is not None

    def make(row: Row) -> bytes:
        assert row.raw is not None, "the plan says so"
        data = section.binary(row.raw, row.where(), wanted.path, part)
        return label + b" " + (b"NIL" if data is None else responses.literal8(data))

    return make


def _binary_size(one: Attribute) -> Make:
    """BINARY.SIZE[…]."""
    label, wanted = one.label, one.section
    assert wanted is not None

    def make(row: Row) -> bytes:
        assert row.raw is not None, "the plan says so"
        data = section.binary(row.raw, row.where(), wanted.path)
        return b"%b %d" % (label, len(data) if data is not None else 0)

    return make
