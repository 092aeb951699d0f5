"""Makes pages: seals the records of many messages together, and packs their bodies into a blob."""

# docs/mail_store.md

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail.actions.sealing import PAGE
from kerwen.mail.store import messages, page
from kerwen.mail.store.page import Place, Places
from kerwen.mail.store.record import Card, Head, Listing, More
from kerwen.mail.words import Record
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Tx
from kerwen.vault.epoch import Epoch
from kerwen.vault.seal import Belonging

PACKED_MAX: Final = 256 * limits.KIB  # a sealed body up to this lies in a pack
PACK_BYTES_MAX: Final = 16 * limits.MIB
_OFF_LOOP: Final = 64  # a page of more messages is made on a thread


class Entry(msgspec.Struct, gc=False):
    """A message on its way into a page. Its body is here, or lies in a blob already."""

    no: int
    copies: int
    card: Card | tuple[Listing, Head, More]
    words: Record
    body: bytes | Place


class NewPage(msgspec.Struct, frozen=True, gc=False):
    """A page whose blobs are on disk and whose rows are not yet written."""

    page_no: int
    places: Places
    copies: list[int]
    boxes: dict[str, bytes]
    packs: dict[str, int]  # the new blobs, and how many bodies are in each


class Pages:
    """Makes pages and their packs."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def make(self, epoch: Epoch, page_no: int, entries: Sequence[Entry]) -> NewPage:
        """A page of these messages. Its packs are synced when this returns."""
        assert 0 < len(entries) <= page.HELD_MAX
        cards, records = [one.card for one in entries], [one.words for one in entries]
        size = sum(
            one.body.length if isinstance(one.body, Place) else len(one.body) for one in entries
        )
        if len(entries) > _OFF_LOOP:
            plain = await asyncio.to_thread(page.encode, cards, records, size)
        else:
            plain = page.encode(cards, records, size)
        account_no = epoch.account_no
        boxes = {
            kind: epoch.seal(Belonging(account_no, page_no, PAGE + kind), content)
            for kind, content in plain.items()
        }
        bodies, packs = await self._pack(entries)
        return NewPage(page_no, Places.of(bodies), [one.copies for one in entries], boxes, packs)

    async def _pack(
        self, entries: Sequence[Entry]
    ) -> tuple[list[tuple[int, Place]], dict[str, int]]:
        places: dict[int, Place] = {}
        packs: dict[str, int] = {}
        try:
            group: list[Entry] = []
            size = 0
            for one in entries:
                if isinstance(one.body, Place):
                    places[one.no] = one.body
                elif len(one.body) > PACKED_MAX:
                    await self._put([one], places, packs)
                else:
                    if size + len(one.body) > PACK_BYTES_MAX:
                        await self._put(group, places, packs)
                        group, size = [], 0
                    group.append(one)
                    size += len(one.body)
            if group:
                await self._put(group, places, packs)
        except BaseException:
            await self._blobs.delete(packs)
            raise
        return [(one.no, places[one.no]) for one in entries], packs

    async def _put(
        self, group: Sequence[Entry], places: dict[int, Place], packs: dict[str, int]
    ) -> None:
        bodies = [one.body for one in group if isinstance(one.body, bytes)]
        blob = await self._blobs.put_bytes(bodies[0] if len(bodies) == 1 else b"".join(bodies))
        packs[blob.key] = len(group)
        at = 0
        for one, body in zip(group, bodies, strict=True):
            places[one.no] = Place(blob.key, at, len(body))
            at += len(body)

    async def write(self, tx: Tx, account_no: int, made: NewPage) -> None:
        """Writes a page's rows."""
        for blob, used in made.packs.items():
            await messages.add_blob(tx, blob, account_no, used)
        await messages.add_page(tx, made.page_no, account_no, made.places, made.copies, made.boxes)

    async def undo(self, made: NewPage) -> None:
        """The page's rows were not written: removes its packs."""
        if made.packs:
            await self._blobs.delete(made.packs)
