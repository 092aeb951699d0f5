"""Reads what was sealed: cards and search records of many messages, and messages themselves.

A box that does not open costs the one message: its card is made anew from the message, and only a
message that does not open itself is refused.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail.actions import sealing
from kerwen.mail.actions.sealing import BODY, CARD, OFF_LOOP, PAGE, WORD
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.store import messages, page, record
from kerwen.mail.store.messages import Body
from kerwen.mail.store.record import Card
from kerwen.mail.words import Record
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Snap
from kerwen.vault.epoch import epoch_of
from kerwen.vault.seal import Belonging
from kerwen.vault.store import OpenVault, Vaults

log = logging.getLogger(__name__)

Pieces = dict[str, dict[int, Any]]
"""`Listing`, `Head` or `More` by kind and message."""
LISTED: Final = (page.LIST,)
ALL: Final = (page.LIST, page.HEAD, page.MORE)
LOOSE_TIRING: Final = 64
PAGES_TIRING: Final = 16
_AT_ONCE: Final = 32  # messages that are read before others have their turn
_AT_ONCE_BYTES: Final = 8 * limits.MIB  # theirs; a longer message is read alone
_SPAN_MAX: Final = 8 * 1024 * 1024
_PLACES: Final = "places"
_PLACE_BYTES: Final = 130  # what a message takes of a page's places in memory
_PAGES_NEAR: Final = 4  # that may hold a message, by their first numbers; more are not looked at
_LAST_NO: Final = 1 << 63


class KeysInUse(Protocol):
    """The part of `kerwen.vault.actions.delivery_keys.DeliveryKeys` that readers use."""

    def teach(self, opened: OpenVault, epoch_no: int) -> bool:
        """Gives an open vault the key of an epoch that is in use."""


def parts(sized: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Messages (or whatever stands for them) by their sizes in bytes, in parts: so many may be in
    memory at the same time."""
    some: list[int] = []
    total = 0
    for one, size in sized:
        if some and (len(some) >= _AT_ONCE or total + size > _AT_ONCE_BYTES):
            yield some
            some, total = [], 0
        some.append(one)
        total += size
    if some:
        yield some


class Records:
    """The reader of sealed mail."""

    def __init__(
        self, db: Database, blobs: Blobs, vaults: Vaults, keys: KeysInUse | None = None
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._vaults = vaults
        self._keys = keys
        self.tired: Callable[[Unlocked], None] | None = None
        """Hears of vaults with many loose messages, or small pages."""

    async def cards(
        self, unlocked: Unlocked, nos: Sequence[int], kinds: tuple[str, ...] = ALL
    ) -> dict[int, Card | Refused]:
        """The cards of messages, with the pieces of these kinds.

        A message that is not there is not in the answer (it was expunged meanwhile).
        """
        found, refused = await self.pieces(unlocked, nos, kinds)
        there = found[kinds[0]]
        columns = [found.get(kind, {}) for kind in ALL]
        cards: dict[int, Card | Refused] = {
            no: Card(*[column.get(no) for column in columns]) for no in nos if no in there
        }
        return cards | refused

    async def pieces(
        self, unlocked: Unlocked, nos: Sequence[int], kinds: tuple[str, ...]
    ) -> tuple[Pieces, dict[int, Refused]]:
        """What cards hold, kind by kind and by the numbers of messages (also of such as lie
        beside them); and why of some nothing can be told. Who is in neither is gone.
        """
        found: Pieces = {kind: {} for kind in kinds}
        refused: dict[int, Refused] = {}
        if nos:
            async with self._db.read() as snap:
                await self._pieces_in(snap, unlocked, nos, found, refused)
        for no, why in list(refused.items()):
            if why.reason is Reason.BOX_DAMAGED:
                made = await self._remade(unlocked, no, why)
                if isinstance(made, Refused):
                    refused[no] = made
                else:
                    del refused[no]
                    _put(found, no, made)
        return found, refused

    async def _pieces_in(
        self,
        snap: Snap,
        unlocked: Unlocked,
        nos: Sequence[int],
        found: Pieces,
        refused: dict[int, Refused],
    ) -> None:
        account_no = unlocked.account_no
        left = set(nos)
        loose = 0
        for no, box in await messages.cards(snap, account_no, nos):
            if no in left:
                left.discard(no)
                loose += 1
                card = await self._card(snap, unlocked, no, box)
                if isinstance(card, Refused):
                    refused[no] = card
                else:
                    _put(found, no, card)
        if loose >= LOOSE_TIRING and self.tired is not None:
            self.tired(unlocked)
        if not left:
            return
        pages = await messages.pages(snap, account_no, min(left), max(left))
        hit = [p for p in pages if not left.isdisjoint(p.places.nos)]
        numbers = [p.page_no for p in hit]
        content = {kind: await self.boxes(snap, unlocked, numbers, kind) for kind in found}
        small = len(hit) >= PAGES_TIRING and len(hit) * page.HELD_MAX > 3 * len(left)
        if small and self.tired is not None:
            self.tired(unlocked)
        for one in hit:
            boxes = {kind: of.get(one.page_no, _NO_BOX) for kind, of in content.items()}
            bad = next((box for box in boxes.values() if isinstance(box, Refused)), None)
            if bad is not None:
                live = (no for slot, no in enumerate(one.places.nos) if one.copies[slot])
                refused |= dict.fromkeys(left.intersection(live), bad)
            elif one.live == one.held:
                for kind, box in boxes.items():
                    found[kind].update(zip(one.places.nos, box, strict=True))
            else:
                slots = [slot for slot in range(one.held) if one.copies[slot]]
                for kind, box in boxes.items():
                    found[kind].update((one.places.nos[slot], box[slot]) for slot in slots)

    async def words(self, unlocked: Unlocked, nos: Sequence[int]) -> dict[int, Record]:
        """The search records of messages, as far as they are there and open."""
        found: dict[int, Record] = {}
        if not nos:
            return found
        async with self._db.read() as snap:
            for no, box in await messages.words(snap, unlocked.account_no, nos):
                try:
                    found[no] = record.decode_words(
                        await self.open(snap, unlocked, no, WORD, bytes(box))
                    )
                except Refused:
                    continue
            left = set(nos).difference(found)
            pages = []
            if left:
                every = await messages.pages(snap, unlocked.account_no, min(left), max(left))
                pages = [one for one in every if not left.isdisjoint(one.places.nos)]
            for one in pages:
                content = [
                    (await self.boxes(snap, unlocked, [one.page_no], kind)).get(one.page_no)
                    for kind in (page.FIND, page.WORD)
                ]
                if isinstance(content[0], page.Find) and isinstance(content[1], page.Words):
                    records = page.records_of(content[0], content[1], one.held)
                    nos_here = enumerate(one.places.nos)
                    found |= {no: records[slot] for slot, no in nos_here if no in left}
        return found

    async def _card(self, snap: Snap, unlocked: Unlocked, no: int, box: bytes) -> Card | Refused:
        try:
            return record.decode_card(await self.open(snap, unlocked, no, CARD, box))
        except Refused as refusal:
            return refusal

    async def open(
        self, snap: Snap, unlocked: Unlocked, thing: int | str, kind: str, box: bytes
    ) -> bytes:
        """What is in a box. Says `BOX_DAMAGED`, `VAULT_CLOSED`."""
        belonging = Belonging(unlocked.account_no, thing, kind)
        vault, epoch_no = unlocked.vault, epoch_of(box)
        if vault.knows(epoch_no) or (self._keys is not None and self._keys.teach(vault, epoch_no)):
            return vault.unseal(belonging, box)
        return await self._vaults.unseal(snap, unlocked.vault, belonging, bytes(box))

    async def boxes(
        self, snap: Snap, unlocked: Unlocked, page_nos: Sequence[int], kind: str
    ) -> dict[int, Any]:
        """The content of pages' boxes of one kind, or why it cannot be read."""
        found: dict[int, Any] = {}
        missing = []
        for page_no in page_nos:
            content = unlocked.page(page_no, kind)
            if content is None:
                missing.append(page_no)
            else:
                found[page_no] = content
        if missing:
            for page_no, box in (await messages.boxes(snap, missing, kind)).items():
                try:
                    plain = await self.open(snap, unlocked, page_no, PAGE + kind, box)
                    found[page_no] = content = page.decode(kind, plain)
                    size = len(plain) * (8 if plain[:1] == record.DEFLATED else 2)
                    unlocked.keep(page_no, kind, content, size)
                except Refused as refusal:
                    found[page_no] = refusal
        return found

    async def plain(
        self, snap: Snap, unlocked: Unlocked, page_nos: Sequence[int], kind: str
    ) -> dict[int, bytes | Refused]:
        """Pages' boxes of one kind as bytes, to be looked through; nothing of it is kept."""
        found: dict[int, bytes | Refused] = {}
        for page_no, box in (await messages.boxes(snap, page_nos, kind)).items():
            try:
                sealed = await self.open(snap, unlocked, page_no, PAGE + kind, box)
                found[page_no] = record.unpressed(sealed)
            except Refused as refusal:
                found[page_no] = refusal
        return found

    async def _remade(self, unlocked: Unlocked, no: int, refusal: Refused) -> Card | Refused:
        """A card made of the message, since its own does not open."""
        log.warning("a record is damaged", extra={"thing": no, **refusal.private})
        try:
            raw = await self.message(unlocked, no)
        except Refused as worse:
            return worse
        made = await sealing.made(raw)
        return Card(*made.pieces)

    async def message(self, unlocked: Unlocked, no: int) -> bytes:
        """A message's bytes. Says `MESSAGE_GONE`, `BOX_DAMAGED`, `VAULT_CLOSED`."""
        found = (await self.messages(unlocked, [no])).get(no)
        if found is None:
            raise Refused(Reason.MESSAGE_GONE, "The message is gone")
        return _whole(found)

    async def messages(self, unlocked: Unlocked, nos: Sequence[int]) -> dict[int, bytes | Refused]:
        """The bytes of messages; those that are gone are not in the answer."""
        found = await self._messages(unlocked, nos)
        lost = [
            no
            for no, one in found.items()
            if isinstance(one, Refused) and one.reason is Reason.NOT_FOUND
        ]
        if lost:  # its body moved into another pack since its place was read
            again = await self._messages(unlocked, lost, fresh=True)
            for no in lost:
                one = again.get(no)
                if one is None:
                    del found[no]
                else:
                    found[no] = _as_damage(one)
        return found

    async def _messages(
        self, unlocked: Unlocked, nos: Sequence[int], *, fresh: bool = False
    ) -> dict[int, bytes | Refused]:
        """`fresh`: their places are read anew."""
        found: dict[int, bytes | Refused] = {}
        away: dict[str, list[tuple[int, Body]]] = {}
        left: list[int] = []
        for no in nos:
            body = None if fresh else _kept_place(unlocked, no)
            if body is None:
                left.append(no)
            else:
                away.setdefault(body.blob, []).append((no, body))
        if left:
            async with self._db.read() as snap:
                bodies, met = await messages.bodies(snap, unlocked.account_no, left)
                for no, body in bodies.items():
                    if body.box is None:
                        away.setdefault(body.blob, []).append((no, body))
                    else:
                        found[no] = await self._message(snap, unlocked, no, body.box)
            for one in met:
                unlocked.keep(one.page_no, _PLACES, one.places, _PLACE_BYTES * one.held)
                mark = (min(one.places.nos), max(one.places.nos), one.page_no)
                at = bisect_right(unlocked.ranges, mark)
                if unlocked.ranges[at - 1 : at] != [mark]:
                    unlocked.ranges.insert(at, mark)
        if away:
            for blob, wanted in away.items():
                for no, box in await self._from_blob(blob, wanted):
                    if isinstance(box, Refused):
                        found[no] = box
                        continue
                    if unlocked.vault.knows(_epoch_of(box)):
                        found[no] = await self._message(None, unlocked, no, box)
                        continue
                    async with self._db.read() as snap:
                        found[no] = await self._message(snap, unlocked, no, box)
        return found

    async def _message(
        self, snap: Snap | None, unlocked: Unlocked, no: int, box: bytes
    ) -> bytes | Refused:
        """`snap` may be None where the vault knows the box's epoch."""
        try:
            if snap is None or (len(box) > OFF_LOOP and unlocked.vault.knows(epoch_of(box))):
                belonging = Belonging(unlocked.account_no, no, BODY)
                if len(box) > OFF_LOOP:
                    plain = await asyncio.to_thread(unlocked.vault.unseal, belonging, box)
                else:
                    plain = unlocked.vault.unseal(belonging, box)
            else:
                plain = await self.open(snap, unlocked, no, BODY, box)
            return record.unpressed(plain)
        except Refused as refusal:
            return refusal

    async def _from_blob(
        self, blob: str, wanted: list[tuple[int, Body]]
    ) -> list[tuple[int, bytes | Refused]]:
        """Sealed bodies out of a blob: in one piece where they lie close together."""
        first = min(body.start for _, body in wanted)
        end = max(body.start + body.length for _, body in wanted)
        needed = sum(body.length for _, body in wanted)
        if len(wanted) > 1 and end - first <= min(_SPAN_MAX, 2 * needed):
            try:
                data = await self._blobs.get(blob, first, end)
                return [
                    (no, data[body.start - first : body.start - first + body.length])
                    for no, body in wanted
                ]
            except (Refused, Unavailable) as error:
                # it was cut, perhaps: one by one those before the cut are read all the same
                log.warning("a pack cannot be read in one piece: %r", error)
        found: list[tuple[int, bytes | Refused]] = []
        for no, body in wanted:
            try:
                found.append(
                    (no, await self._blobs.get(blob, body.start, body.start + body.length))
                )
            except Refused as refusal:
                found.append((no, refusal))
            except Unavailable as error:
                if error.reason is not Unready.DISK_FAULT:
                    raise
                found.append((no, _damaged(str(error.private.get("cause")))))
        return found


def _kept_place(unlocked: Unlocked, no: int) -> Body | None:
    """Where a message's body is, as far as it was met before. It may have moved since: then its
    blob is gone, or holds it still."""
    ranges = unlocked.ranges
    at = bisect_right(ranges, (no, _LAST_NO, 0))
    for near in range(at - 1, max(at - 1 - _PAGES_NEAR, -1), -1):
        _, last, page_no = ranges[near]
        if no <= last:
            places = unlocked.page(page_no, _PLACES)
            if places is None:
                del ranges[near]
            elif (slot := places.slot(no)) is not None:
                place = places.place(slot)
                return Body(None, place.blob, place.start, place.length)
    return None


def _put(found: Pieces, no: int, card: Card) -> None:
    """The pieces of one card."""
    pieces = {page.LIST: card.listing, page.HEAD: card.head, page.MORE: card.more}
    for kind, column in found.items():
        column[no] = pieces[kind]


def _epoch_of(box: bytes) -> int:
    """The epoch of what may be no box at all; 0: of none."""
    try:
        return epoch_of(box)
    except Refused:
        return 0


def _whole(found: bytes | Refused) -> bytes:
    if isinstance(found, Refused):
        raise found
    return found


def _damaged(why: str) -> Refused:
    return Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why=why)


_NO_BOX: Final = _damaged("no box")


def _as_damage(one: bytes | Refused) -> bytes | Refused:
    if isinstance(one, Refused) and one.reason is Reason.NOT_FOUND:
        return _damaged("no blob")
    return one
