"""Where a search reads words: a page's boxes (`Sheet`), or the records of loose messages (`Pile`).

A source knows its messages by slots and where each stands in the view. Answers are sets of slots;
None means: a box is damaged, ask the messages themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kerwen.base.errors import Refused
from kerwen.mail import words
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import CARD, WORD
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.store import messages, page, record
from kerwen.mail.store.page import Find, Places, Words
from kerwen.mail.store.record import Card, Head
from kerwen.mail.words import Query, Record
from kerwen.storage.database import Snap

_ASCII_WORD: Final = re.compile(r"[a-z0-9]+")
_PLACES: Final = "places"
_NOWHERE: Final = (-1,)
HEADS_PLAIN: Final = "heads, as bytes"
"""What `Sheet.content` holds for `in_heads`: bytes that are looked through, and rarely decoded."""


class Source:
    """Some messages of a view. `_places` are their places by slot; -1: not in the view."""

    def __init__(self, places: Sequence[int], everywhere: set[int] | None = None) -> None:
        self._places = places
        if everywhere is None:
            everywhere = {place for place in places if place >= 0}
        self._everywhere = everywhere

    def everywhere(self) -> set[int]:
        """All places of it."""
        return self._everywhere

    def holds(self, among: set[int]) -> bool:
        """Whether any of these places is here."""
        return not self._everywhere.isdisjoint(among)

    def at(self, slots: Iterable[int]) -> set[int]:
        """The places of slots."""
        places = self._places
        return {place for slot in slots if (place := places[slot]) >= 0}

    def in_line(self, field: str, line: str) -> set[int] | None:
        """Slots whose field holds a folded text."""
        raise NotImplementedError

    def in_words(self, asked: Query) -> set[int] | None:
        """Slots whose body's words allow what is asked."""
        raise NotImplementedError

    def in_heads(self, asked: Query) -> set[int]:
        """Slots in whose other header fields the longest word that is asked stands."""
        raise NotImplementedError

    def cut(self, bit: int) -> set[int]:
        """Slots of which something was cut."""
        raise NotImplementedError

    def sent_days(self) -> list[int | None] | None:
        """The days of the Date fields by slot."""
        raise NotImplementedError

    def heads(self) -> Sequence[Head | None] | None:
        """The heads by slot."""
        raise NotImplementedError


class Sheet(Source):
    """A page; `content` holds what was read of it, by kind."""

    def __init__(
        self, page_no: int, places: Sequence[int], everywhere: set[int] | None = None
    ) -> None:
        super().__init__(places, everywhere)
        self.page_no = page_no
        self.content: dict[str, Any] = {}

    def _find(self) -> Find | None:
        found = self.content.get(page.FIND)
        return found if isinstance(found, Find) else None

    def in_line(self, field: str, line: str) -> set[int] | None:
        found = self._find()
        return found.slots(field, line.encode()) if found is not None else None

    def in_words(self, asked: Query) -> set[int] | None:
        found = self.content.get(page.WORD)
        return found.may_hold(asked) if isinstance(found, Words) else None

    def in_heads(self, asked: Query) -> set[int]:
        needle = _needle(asked)
        if needle is None:
            return set()
        plain = self.content.get(HEADS_PLAIN)
        if not isinstance(plain, bytes):
            return set(range(len(self._places)))
        if needle not in plain.lower():
            return set()
        return _in_heads(page.decode(page.HEAD, record.PLAIN + plain), needle)

    def cut(self, bit: int) -> set[int]:
        found = self._find()
        if found is None or not any(found.cut):
            return set()
        return {slot for slot, bits in enumerate(found.cut) if bits & bit}

    def sent_days(self) -> list[int | None] | None:
        found = self._find()
        return found.sent_days() if found is not None else None

    def heads(self) -> Sequence[Head | None] | None:
        found = self.content.get(page.HEAD)
        return found if isinstance(found, list) else None


class Pile(Source):
    """Loose messages. A record that is damaged is None: the message itself is asked."""

    def __init__(
        self,
        places: Sequence[int],
        records: Sequence[Record | None],
        cards: Sequence[Card | None],
    ) -> None:
        super().__init__(places)
        self._records = records
        self._cards = cards

    def in_line(self, field: str, line: str) -> set[int] | None:
        return {
            slot
            for slot, one in enumerate(self._records)
            if one is not None and line in getattr(one, field)
        }

    def in_words(self, asked: Query) -> set[int] | None:
        may_hold = words.may_hold
        return {
            slot
            for slot, one in enumerate(self._records)
            if one is not None and may_hold(one.body, asked)
        }

    def in_heads(self, asked: Query) -> set[int]:
        needle = _needle(asked)
        if needle is None:
            return set()
        return _in_heads(self.heads() or (), needle)

    def cut(self, bit: int) -> set[int]:
        return {
            slot for slot, one in enumerate(self._records) if one is None or page.cut_of(one) & bit
        }

    def sent_days(self) -> list[int | None] | None:
        days: list[int | None] = []
        for card in self._cards:
            if card is None or card.more is None:
                return None
            days.append(card.more.sent_day)
        return days

    def heads(self) -> Sequence[Head | None] | None:
        return [card.head if card is not None else None for card in self._cards]


def _needle(asked: Query) -> bytes | None:
    """The longest ASCII word of what is asked: how header fields are looked through."""
    found = _ASCII_WORD.findall(asked.line)
    return max(found, key=len).encode() if found else None


def _in_heads(heads: Sequence[Head | None], needle: bytes) -> set[int]:
    every = b"\n".join([piece for head in heads if head for piece in (head.core, head.rest)])
    found = {slot for slot, head in enumerate(heads) if head is None}
    if needle in every.lower():
        for slot, head in enumerate(heads):
            if head and (needle in head.core.lower() or needle in head.rest.lower()):
                found.add(slot)
    return found


async def sources_of(snap: Snap, records: Records, unlocked: Unlocked, view: View) -> list[Source]:
    """Where the words of a view's messages are."""
    account_no, nos = unlocked.account_no, view.nos
    where = view.index
    if len(where) < len(nos):  # a message lies here twice
        return [*await _of_copies(snap, records, unlocked, view)]
    first, last = min(nos), max(nos)
    found: list[Source] = []
    rows = await messages.loose_between(snap, account_no, first, last)
    rows = [row for row in rows if row[0] in where]
    if rows:
        at = [where[row[0]][0] for row in rows]
        found.append(await _pile(snap, records, unlocked, rows, at))
    if len(rows) < len(nos):
        mark = f"at {view.mailbox.mailbox_no}"
        for page_no, places in await _sheets(snap, unlocked, first, last):
            kept = unlocked.page(page_no, mark)
            if kept is None or kept[0] != view.modseq:
                here = [where.get(no, _NOWHERE)[0] for no in places.nos]
                kept = (view.modseq, here, {place for place in here if place >= 0})
                unlocked.keep(page_no, mark, kept, 96 * len(here))
            found.append(Sheet(page_no, kept[1], kept[2]))
    return found


async def _of_copies(snap: Snap, records: Records, unlocked: Unlocked, view: View) -> list[Source]:
    """The same where a message lies in the mailbox more than once: one source a layer."""
    layers: list[dict[int, int]] = []
    for place, no in enumerate(view.nos):
        for layer in layers:
            if no not in layer:
                layer[no] = place
                break
        else:
            layers.append({no: place})
    account_no = unlocked.account_no
    first, last = min(view.nos), max(view.nos)
    rows = await messages.loose_between(snap, account_no, first, last)
    sheets = await _sheets(snap, unlocked, first, last)
    found: list[Source] = []
    for layer in layers:
        own = [row for row in rows if row[0] in layer]
        if own:
            at = [layer[row[0]] for row in own]
            found.append(await _pile(snap, records, unlocked, own, at))
        found += [
            Sheet(page_no, [layer.get(no, -1) for no in places.nos]) for page_no, places in sheets
        ]
    return found


async def _sheets(
    snap: Snap, unlocked: Unlocked, first: int, last: int
) -> list[tuple[int, Places]]:
    """The pages between two message numbers; what is in them is kept like their boxes."""
    page_nos = await messages.page_numbers(snap, unlocked.account_no, first, last)
    found: dict[int, Places] = {}
    missing = []
    for page_no in page_nos:
        kept = unlocked.page(page_no, _PLACES)
        if kept is None:
            missing.append(page_no)
        else:
            found[page_no] = kept
    if missing:
        for one in await messages.some_pages(snap, unlocked.account_no, missing):
            found[one.page_no] = one.places
            unlocked.keep(one.page_no, _PLACES, one.places, 64 * one.held)
    return [(page_no, found[page_no]) for page_no in page_nos if page_no in found]


async def _pile(
    snap: Snap,
    records: Records,
    unlocked: Unlocked,
    rows: Sequence[tuple[int, bytes, bytes]],
    places: Sequence[int],
) -> Pile:
    read: list[Record | None] = []
    cards: list[Card | None] = []
    for no, card, word in rows:
        try:
            read.append(record.decode_words(await records.open(snap, unlocked, no, WORD, word)))
        except Refused:
            read.append(None)
        try:
            cards.append(record.decode_card(await records.open(snap, unlocked, no, CARD, card)))
        except Refused:
            cards.append(None)
    return Pile(places, read, cards)
