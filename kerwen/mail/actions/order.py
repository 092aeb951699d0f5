"""Puts messages in order: IMAP's SORT and THREAD, made of the cards and never of the messages."""

# RFC 5256, RFC 5957

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

from kerwen.base.errors import Refused
from kerwen.mail import addresses, encoded_words, fields, threads
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.store import page
from kerwen.mail.store.record import Card
from kerwen.mail.threads import Node, Threaded

_AT_ONCE: Final = 2_000


class By(enum.Enum):
    """What to order by."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"


_FIELDS: Final = {
    By.CC: b"cc",
    By.FROM: b"from",
    By.TO: b"to",
    By.DISPLAYFROM: b"from",
    By.DISPLAYTO: b"to",
}
_CLEAR: Final = frozenset({By.ARRIVAL, By.SIZE})
_Key = Callable[[int], int | str]


class Order:
    """Orders messages of a view by their places."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def sort(
        self,
        unlocked: Unlocked,
        view: View,
        places: Sequence[int],
        criteria: Sequence[tuple[By, bool]],
    ) -> list[int]:
        """The places in order; each criterion with whether it is reversed. What is equal stands
        in the order of the mailbox."""
        asked = {by for by, _ in criteria}
        kinds = []
        if asked & _FIELDS.keys():
            kinds.append(page.HEAD)
        if asked & {By.DATE, By.SUBJECT}:
            kinds.append(page.MORE)
        cards = await self._cards(unlocked, view, places, tuple(kinds))
        found = sorted(places)
        for by, reverse in reversed(criteria):
            found.sort(key=_key(by, view, cards), reverse=reverse)
        return found

    async def thread(
        self, unlocked: Unlocked, view: View, places: Sequence[int], *, references: bool, uid: bool
    ) -> list[Node]:
        """The threads of these messages, by REFERENCES or by ORDEREDSUBJECT; their numbers are
        UIDs or sequence numbers."""
        cards = await self._cards(unlocked, view, places, (page.MORE,))
        dates, uids = view.dates, view.uids
        found = []
        for at in places:
            more = cards[at].more if at in cards else None
            number = uids[at] if uid else at + 1
            sent = more.sent_ms if more is not None else None
            found.append(
                Threaded(
                    number,
                    dates[at] * 1000 if sent is None else sent,
                    more.id if more is not None else None,
                    more.references if more is not None else (),
                    more.subject.casefold() if more is not None else "",
                    more.is_reply if more is not None else False,
                )
            )
        return threads.by_references(found) if references else threads.by_subject(found)

    async def _cards(
        self, unlocked: Unlocked, view: View, places: Sequence[int], kinds: tuple[str, ...]
    ) -> dict[int, Card]:
        """Cards by place; of damaged messages there are none."""
        found: dict[int, Card] = {}
        if not kinds:
            return found
        nos = view.nos
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            cards = await self._records.cards(unlocked, [nos[at] for at in some], kinds)
            for at in some:
                card = cards.get(nos[at])
                if card is not None and not isinstance(card, Refused):
                    found[at] = card
        return found


def _key(by: By, view: View, cards: dict[int, Card]) -> _Key:
    if by is By.ARRIVAL:
        return view.dates.__getitem__
    if by is By.SIZE:
        return view.sizes.__getitem__
    if by is By.DATE:
        dates = view.dates

        def sent(at: int) -> int:
            more = cards[at].more if at in cards else None
            ms = more.sent_ms if more is not None else None
            return dates[at] * 1000 if ms is None else ms

        return sent
    if by is By.SUBJECT:

        def subject(at: int) -> str:
            more = cards[at].more if at in cards else None
            return more.subject.casefold() if more is not None else ""

        return subject
    name, shown = _FIELDS[by], by in (By.DISPLAYFROM, By.DISPLAYTO)
    return lambda at: _address(cards[at], name, shown=shown) if at in cards else ""


def _address(card: Card, name: bytes, *, shown: bool) -> str:
    """The local part of the first address of a field, or the name that stands beside it."""
    if card.head is None:
        return ""
    value = fields.first(fields.read(card.head.core), name)
    first = next(iter(addresses.mailboxes(value)), None) if value else None
    if first is None:
        return ""
    if shown:  # RFC 5957 §3
        told = encoded_words.decode(first.name) if first.name else ""
        return (told or first.address.decode("utf-8", "replace")).casefold()
    return first.local.decode("utf-8", "replace").casefold()
