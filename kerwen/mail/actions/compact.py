"""Moves loose messages into pages and packs, and makes new pages of small and of hollow ones.

Two occasions: an account got many messages within one epoch, whose key is in memory anyway; or its
owner's vault is open, and a listing met many loose ones. A message is moved at most three times:
loose, page, merged page; and again only when half of its neighbours are gone.
"""

# docs/mail_store.md

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import sealing
from kerwen.mail.actions.pages import Entry, NewPage, Pages
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import CARD, WORD, EpochKeys
from kerwen.mail.actions.unlock import Lease, OpenVaults, Unlocked
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import messages, page, record
from kerwen.mail.store.messages import Loose, Page
from kerwen.mail.store.page import Place
from kerwen.mail.store.record import Card
from kerwen.mail.words import Record
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Tx, retrying
from kerwen.vault.epoch import Epoch, epoch_of, unseal_with
from kerwen.vault.seal import Belonging

log = logging.getLogger(__name__)

PAGE_LEAST: Final = 64  # fewer loose messages are left as they are
_STEP: Final = 64  # more loose ones since the last try that made no page
_SMALL: Final = page.HELD_MAX // 2
_AT_ONCE: Final = 4 * page.HELD_MAX
_WAITING_MAX: Final = 10_000
QUIET_S: Final = 1.0  # nobody read or delivered for so long: the account's pages are made
PATIENCE_S: Final = 30.0  # it is never quiet: they are made all the same


class _Wish(msgspec.Struct):
    """An account whose pages are wanted. Times of `time.monotonic`."""

    lease: Lease | None
    first_s: float
    last_s: float

    def due_s(self) -> float:
        """When its turn comes."""
        used = self.lease.unlocked.used_s if self.lease is not None else 0.0
        return min(max(self.last_s, used) + QUIET_S, self.first_s + PATIENCE_S)


class Compact:
    """Makes pages of what is loose, one account at a time, behind everything else."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        delivery_keys: EpochKeys,
        records: Records,
        vaults: OpenVaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._keys = delivery_keys
        self._records = records
        self._vaults = vaults
        self._clock = clock
        self._pages = Pages(blobs)
        self._wanted: dict[int, _Wish] = {}
        self._tried: dict[int, int] = {}  # account → loose messages when no page could be made
        self._news = asyncio.Event()

    def crowded(self, account_no: int, loose: int) -> None:
        """A delivery saw many loose messages."""
        wish = self._wanted.get(account_no)
        if wish is not None:
            wish.last_s = monotonic()
        elif loose >= self._tried.get(account_no, 0) + _STEP:
            self._want(account_no, None)

    def met(self, unlocked: Unlocked) -> None:
        """A reader met many loose messages, or small pages, and its vault is open."""
        wish = self._wanted.get(unlocked.account_no)
        if wish is None:
            self._want(unlocked.account_no, self._vaults.share(unlocked))
        elif wish.lease is None:
            wish.lease = self._vaults.share(unlocked)

    def _want(self, account_no: int, lease: Lease | None) -> None:
        if len(self._wanted) < _WAITING_MAX:
            now = monotonic()
            self._wanted[account_no] = _Wish(lease, now, now)
            self._news.set()
        elif lease is not None:
            lease.close()

    async def work(self) -> None:
        """Runs until it is cancelled. An account's turn comes when it is quiet."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._wanted:
                due_s, account_no = min((w.due_s(), no) for no, w in self._wanted.items())
                left = due_s - monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                    continue
                try:
                    await self._fulfil(account_no)
                except Exception:
                    log.exception("a page could not be made")

    async def drain(self) -> None:
        """Does all that is wanted now."""
        while self._wanted:
            await self._fulfil(next(iter(self._wanted)))

    async def _fulfil(self, account_no: int) -> None:
        lease = self._wanted.pop(account_no).lease
        try:
            await self.run(account_no, lease.unlocked if lease is not None else None)
        finally:
            if lease is not None:
                lease.close()

    def close(self) -> None:
        """Gives all leases back."""
        for wish in self._wanted.values():
            if wish.lease is not None:
                wish.lease.close()
        self._wanted.clear()

    async def run(self, account_no: int, unlocked: Unlocked | None = None) -> int:
        """Makes pages of an account's loose messages, and new ones of pages where that helps;
        returns how many were made.
        """
        made = 0
        while found := await self._loose(account_no, unlocked):
            made += found
        if unlocked is not None:
            while found := await self._merge(unlocked):
                made += found
        return made

    # --- loose messages

    async def _loose(self, account_no: int, unlocked: Unlocked | None) -> int:
        async with self._db.read(long=True) as snap:
            rows = await messages.loose(snap, account_no, _AT_ONCE)
        epoch = await self._keys.of(account_no)
        pages = -(-len(rows) // page.HELD_MAX) + 1
        with sealing.hand(epoch, pages * len(page.KINDS)) as own:
            return await self._loose_rows(account_no, rows, own, unlocked)

    async def _loose_rows(
        self, account_no: int, rows: Sequence[Loose], epoch: Epoch, unlocked: Unlocked | None
    ) -> int:
        entries = await self._opened(rows, epoch, unlocked)
        if len(entries) < PAGE_LEAST:
            self._tried[account_no] = len(rows)
            return 0
        self._tried.pop(account_no, None)
        count = -(-len(entries) // page.HELD_MAX)
        size = -(-len(entries) // count)
        for start in range(0, len(entries), size):
            await self._page_of(account_no, epoch, entries[start : start + size])
            await asyncio.sleep(0)
        return count

    async def _opened(
        self, rows: Sequence[Loose], epoch: Epoch, unlocked: Unlocked | None
    ) -> list[Entry]:
        """Those of the rows that can be opened; their bodies are not read yet."""
        entries = []
        for at, row in enumerate(rows):
            try:
                card = await self._open(row, CARD, row.card, epoch, unlocked)
                words = await self._open(row, WORD, row.word, epoch, unlocked)
            except Refused:
                continue  # damaged, or of another vault: it stays as it is
            if card is None or words is None:
                continue
            body = Place(row.blob, 0, row.length) if row.blob else b""
            entries.append(
                Entry(
                    row.no,
                    row.copies,
                    record.decode_card(card),
                    record.decode_words(words),
                    body,
                )
            )
            if at % 64 == 63:
                await asyncio.sleep(0)
        return entries

    async def _open(
        self, row: Loose, kind: str, box: bytes, epoch: Epoch, unlocked: Unlocked | None
    ) -> bytes | None:
        if epoch_of(box) == epoch.epoch_no:
            return unseal_with(epoch.key, Belonging(epoch.account_no, row.no, kind), box)
        if unlocked is None:
            return None
        async with self._db.read() as snap:
            return await self._records.open(snap, unlocked, row.no, kind, box)

    async def _page_of(self, account_no: int, epoch: Epoch, entries: list[Entry]) -> None:
        near = [one.no for one in entries if isinstance(one.body, bytes)]
        async with self._db.read(long=True) as snap:
            bodies, _ = await messages.bodies(snap, account_no, near)
        for one in entries:
            if isinstance(one.body, bytes):
                found = bodies.get(one.no)
                if found is not None and found.box is not None:
                    one.body = found.box
        entries = [one for one in entries if one.body]
        if not entries:
            return
        page_no = await self._db.take_id("mail_page")
        made = await self._pages.make(epoch, page_no, entries)
        try:
            await retrying(lambda: self._replace(account_no, made))
        except BaseException:
            await self._pages.undo(made)
            raise

    async def _replace(self, account_no: int, made: NewPage) -> None:
        async with self._db.write() as tx:
            account = await boxes.lock(tx, account_no)
            if account is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            nos = list(made.places.nos)
            now = await messages.copies(tx, account_no, nos)
            copies = [now[no][0] if no in now else 0 for no in nos]
            gone = [slot for slot, count in enumerate(copies) if not count]
            if len(gone) == len(nos):
                raise Refused(Reason.MESSAGE_GONE, "All of it was expunged meanwhile")
            await messages.drop_loose(tx, list(now))
            await self._write(tx, account_no, made, copies, gone)
            account.loose -= len(now)
            await boxes.save(tx, account)

    async def _write(
        self, tx: Tx, account_no: int, made: NewPage, copies: list[int], gone: list[int]
    ) -> None:
        """Writes a page, some of whose messages are gone by now."""
        packs = Counter(made.packs)
        packs.subtract(
            blob for slot in gone if (blob := made.places.place(slot).blob) in made.packs
        )
        named = {blob: used for blob, used in packs.items() if used}  # the rest is swept
        now = NewPage(made.page_no, made.places, copies, made.boxes, named)
        await self._pages.write(tx, account_no, now)

    # --- pages

    async def _merge(self, unlocked: Unlocked) -> int:
        """Makes one page of neighbours that are small, or of one that is half empty."""
        account_no = unlocked.account_no
        async with self._db.read(long=True) as snap:
            sizes = await messages.page_sizes(snap, account_no)
            wanted = _worth_it(sizes)
            if not wanted:
                return 0
            pages = await messages.some_pages(snap, account_no, wanted)
            entries = await self._entries(snap, unlocked, pages)
        if not entries:
            return 0
        old = await self._repacked(account_no, entries, pages)
        page_no = await self._db.take_id("mail_page")
        with sealing.hand(await self._keys.of(account_no), len(page.KINDS)) as own:
            made = await self._pages.make(own, page_no, entries)
        try:
            await retrying(lambda: self._swap(account_no, made, pages, old))
        except BaseException:
            await self._pages.undo(made)
            raise
        for one in pages:
            unlocked.drop(one.page_no)
        await asyncio.sleep(0)
        return 1

    async def _entries(self, snap: Any, unlocked: Unlocked, pages: Sequence[Page]) -> list[Entry]:
        nos = [one.page_no for one in pages]
        found = {kind: await self._records.boxes(snap, unlocked, nos, kind) for kind in page.KINDS}
        entries: list[Entry] = []
        for one in pages:
            content: dict[str, Any] = {k: found[k].get(one.page_no) for k in page.KINDS}
            if any(each is None or isinstance(each, Refused) for each in content.values()):
                mended = await self._mended(unlocked, one)
                if mended is None:
                    return []  # what cannot be mended is left as it is
                entries += mended
                continue
            words = page.records_of(content[page.FIND], content[page.WORD], one.held)
            entries += [
                Entry(
                    no,
                    one.copies[slot],
                    Card(
                        content[page.LIST][slot],
                        content[page.HEAD][slot],
                        content[page.MORE][slot],
                    ),
                    words[slot],
                    one.places.place(slot),
                )
                for slot, no in enumerate(one.places.nos)
                if one.copies[slot]
            ]
        return entries

    async def _mended(self, unlocked: Unlocked, one: Page) -> list[Entry] | None:
        """A damaged page's records made anew of its messages; None if one of those is damaged."""
        slots = [slot for slot in range(one.held) if one.copies[slot]]
        nos = [one.places.nos[slot] for slot in slots]
        raws = await self._records.messages(unlocked, nos)
        entries = []
        for slot, no in zip(slots, nos, strict=True):
            raw = raws.get(no)
            if raw is None or isinstance(raw, Refused):
                return None
            made = await sealing.made(raw)
            place = one.places.place(slot)
            entries.append(Entry(no, one.copies[slot], made.pieces, made.rendered.words, place))
        return entries

    async def _repacked(
        self, account_no: int, entries: Sequence[Entry], pages: Sequence[Page]
    ) -> dict[int, str]:
        """Reads the bodies that lie in packs which are half empty, so that they are packed anew;
        which message came from which blob.
        """
        whole: Counter[str] = Counter()
        for one in pages:
            for slot in range(one.held):
                place = one.places.place(slot)
                whole[place.blob] = max(whole[place.blob], place.start + place.length)
        live: Counter[str] = Counter()
        for entry in entries:
            if isinstance(entry.body, Place):
                live[entry.body.blob] += entry.body.length
        hollow = {blob for blob, size in whole.items() if 2 * live[blob] < size}
        moved: dict[int, str] = {}
        for entry in entries:
            body: bytes | Place | Record = entry.body
            if isinstance(body, Place) and body.blob in hollow:
                entry.body = await self._blobs.get(body.blob, body.start, body.start + body.length)
                moved[entry.no] = body.blob
        return moved

    async def _swap(
        self, account_no: int, made: NewPage, pages: Sequence[Page], moved: dict[int, str]
    ) -> None:
        """Puts a page in the place of others; packs that nobody needs any more are retired."""
        async with self._db.write() as tx:
            if await boxes.lock(tx, account_no) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            old = [one.page_no for one in pages]
            now: dict[int, int] = {}
            for one in await messages.some_pages(tx, account_no, old):
                now.update(zip(one.places.nos, one.copies, strict=True))
            copies = [now.get(no, 0) for no in made.places.nos]
            gone = [slot for slot, count in enumerate(copies) if not count]
            if len(gone) == len(copies):
                raise Refused(Reason.MESSAGE_GONE, "All of it was expunged meanwhile")
            await messages.drop_pages(tx, old)
            await self._write(tx, account_no, made, copies, gone)
            # those that were expunged meanwhile have let go of their old blobs already
            less = Counter(
                moved[no] for slot, no in enumerate(made.places.nos) if no in moved and copies[slot]
            )
            blobs = [
                blob for blob, count in less.items() if await messages.use_less(tx, blob, count)
            ]
            if blobs:
                await messages.retire_blobs(tx, blobs, self._clock())


def _worth_it(sizes: Sequence[tuple[int, int, int]]) -> list[int]:
    """Pages that are better made anew as one: half empty, or several small neighbours."""
    for page_no, held, live in sizes:
        if 2 * live < held and held >= PAGE_LEAST:
            return [page_no]
    run: list[int] = []
    total = 0
    for page_no, _, live in sizes:
        if live <= _SMALL and total + live <= page.HELD_MAX:
            run.append(page_no)
            total += live
            continue
        if len(run) >= 2 and total >= PAGE_LEAST:
            return run
        run, total = ([page_no], live) if live <= _SMALL else ([], 0)
    return run if len(run) >= 2 and total >= PAGE_LEAST else []
