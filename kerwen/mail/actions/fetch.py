"""Sections of messages and header fields of lists, read with an open vault; nothing is parsed."""

# RFC 9051 §6.4.5

from __future__ import annotations

from collections.abc import Sequence

from kerwen.base.errors import Reason, Refused
from kerwen.mail import message, section
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.section import Partial, Section, Span
from kerwen.mail.store import page
from kerwen.mail.store.record import Card, FieldNames


class Fetch:
    """Reads what IMAP's FETCH and JMAP's Email/get ask for."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def header_fields(
        self, unlocked: Unlocked, nos: Sequence[int], names: FieldNames
    ) -> dict[int, bytes | Refused]:
        """BODY[HEADER.FIELDS (…)] of many messages; those that are gone are not in it."""
        cards = await self._records.cards(unlocked, nos, (page.HEAD,))
        found: dict[int, bytes | Refused] = {}
        rare: list[int] = []
        of = names.of
        for no, card in cards.items():
            if isinstance(card, Refused):
                found[no] = card
                continue
            head = card.head
            fields = of(head) if head is not None else None
            if fields is None:
                rare.append(no)
            else:
                found[no] = fields
        if rare:
            wanted = Section((), section.What.FIELDS, names.names)
            for no, raw in (await self._records.messages(unlocked, rare)).items():
                found[no] = raw if isinstance(raw, Refused) else _of_header(raw, wanted)
        return found

    async def section(
        self,
        unlocked: Unlocked,
        no: int,
        wanted: Section,
        partial: Partial | None = None,
        *,
        span: Span | None = None,
    ) -> bytes | None:
        """BODY[section]<partial>; None where the message has no such part.

        Says `MESSAGE_GONE`, `BOX_DAMAGED`, `VAULT_CLOSED`.
        """
        raw = await self._records.message(unlocked, no)
        if not wanted.path and wanted.what is section.What.WHOLE:
            if partial is None:
                return raw
            return raw[partial.start : partial.start + partial.size]
        return section.extract(raw, span or await self.span(unlocked, no, raw), wanted, partial)

    async def binary(
        self, unlocked: Unlocked, no: int, path: tuple[int, ...], partial: Partial | None = None
    ) -> bytes | None:
        """BINARY[path]<partial>; `section.UnknownEncoding` where it cannot be decoded."""
        raw = await self._records.message(unlocked, no)
        return section.binary(raw, await self.span(unlocked, no, raw), path, partial)

    async def span(self, unlocked: Unlocked, no: int, raw: bytes) -> Span:
        """Where the parts of a message are."""
        card = (await self._records.cards(unlocked, [no], (page.MORE,))).get(no)
        if isinstance(card, Card) and card.more is not None:
            return card.more.span
        if card is None:
            raise Refused(Reason.MESSAGE_GONE, "The message is gone")
        return section.span_of(message.scan(raw))


def _of_header(raw: bytes, wanted: Section) -> bytes:
    return section.extract(raw, section.span_of(message.scan(raw)), wanted) or b"\r\n"
