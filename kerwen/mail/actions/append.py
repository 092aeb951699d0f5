"""Puts messages into a mailbox as their owner wishes: all of them or none.

Many at once (MULTIAPPEND, an import) become pages at once: one blob, and no row a message.
"""

# RFC 9051 §6.3.12; RFC 3502

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import keywords, sealing
from kerwen.mail.actions.deliver import count
from kerwen.mail.actions.expunge import take_out
from kerwen.mail.actions.mailboxes import ensure, name_of, unknown
from kerwen.mail.actions.pages import Entry, NewPage, Pages
from kerwen.mail.actions.release import Release
from kerwen.mail.actions.sealing import BODY, ROW_MAX, EpochKeys, Made
from kerwen.mail.actions.store_flags import rows_of
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import messages, page, placed, threads
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.segment import SYSTEM_ALL, Placed, Segment
from kerwen.mail.store.tags import Tags
from kerwen.mail.store.threads import Tagged
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Kind, Tx, retrying
from kerwen.vault.epoch import Epoch
from kerwen.vault.seal import Belonging

PAGED: Final = 24  # so many at once become a page
_CHECKED_EARLY: Final = 64 * limits.KIB  # less is sealed in the time that a look takes


class Item(msgspec.Struct, frozen=True, gc=False):
    """A message to append. `date_s` None: now."""

    made: Made
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date_s: int | None = None


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What APPENDUID says."""

    mailbox_no: int
    uidvalidity: int
    uids: list[int]
    nos: list[int]
    modseq: int
    special: str = ""  # the mailbox's use


class Append:
    """APPEND, MULTIAPPEND, JMAP's create and import."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        delivery_keys: EpochKeys,
        tags: Tags,
        release: Release,
        clock: Clock = now_ms,
        quota: int = limits.MAIL_QUOTA,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._keys = delivery_keys
        self._tags = tags
        self._release = release
        self._clock = clock
        self._quota = quota
        self._pages = Pages(blobs)

    async def run(
        self,
        account_no: int,
        mailbox: str,
        items: Sequence[Item],
        *,
        instead: tuple[int, int] | None = None,
        also: Callable[[Tx], Awaitable[None]] | None = None,
    ) -> Appended:
        """Appends in order. `instead`: (mailbox, UID) of a message that goes for them in the same
        transaction; `also` writes what must stand or fall with them. `Refused`: UNKNOWN_MAILBOX,
        OVER_QUOTA, BAD_FLAG, VAULT_CLOSED, TOO_LARGE (too many at once), MESSAGE_GONE."""
        name = name_of(mailbox)
        if not 0 < len(items) <= limits.APPENDS_AT_ONCE:
            raise Refused(Reason.TOO_LARGE, f"At most {limits.APPENDS_AT_ONCE} messages at once")
        size = sum(item.made.size for item in items)
        if size > _CHECKED_EARLY and instead is None:
            await self.check(account_no, name, size)
        first_no = await self._db.take_id("mail_message", len(items))
        work = _Sealed(account_no, first_no, items)
        try:
            await self._seal(work)
            done, blobs = await retrying(lambda: self._write(name, work, instead, also))
        except BaseException:
            await self._blobs.delete(work.blobs())
            raise
        await self._release.remove(blobs)
        return done

    async def check(self, account_no: int, mailbox: str, size: int) -> None:
        """Refuses early what would be refused anyway: before a message is sent, or sealed."""
        async with self._db.read() as snap:
            account = await boxes.account(snap, account_no)
            found = await boxes.named(snap, account_no, name_of(mailbox))
        if account is None:
            return  # it will be made
        if found is None:
            raise unknown()
        self._check_quota(account, size)

    def _check_quota(self, account: Account, size: int) -> None:
        quota = self._quota if account.quota is None else account.quota
        if account.used + size > quota:
            raise Refused(Reason.OVER_QUOTA, "The mailbox is full")

    async def _seal(self, work: _Sealed) -> None:
        items, no = work.items, work.first_no
        if len(items) < PAGED:
            for at, item in enumerate(items):
                epoch = await self._keys.of(work.account_no)
                sealed = await sealing.sealed(item.made, epoch, no + at)
                blob = None
                if len(sealed.body) > ROW_MAX:
                    blob = (await self._blobs.put_bytes(sealed.body)).key
                work.rows.append(sealing.row_of(sealed, work.account_no, 1, blob))
            return
        # in pages of equal size, so that the last one is not a small one
        count = -(-len(items) // page.HELD_MAX)
        size = -(-len(items) // count)
        for start in range(0, len(items), size):
            some = items[start : start + size]
            page_no = await self._db.take_id("mail_page")
            for _ in some[1:]:
                await self._keys.of(work.account_no)  # each message counts
            epoch = await self._keys.of(work.account_no)
            with sealing.hand(epoch, len(some) + len(page.KINDS)) as own:
                entries = [_entry(item.made, own, no + start + at) for at, item in enumerate(some)]
                work.pages.append(await self._pages.make(own, page_no, entries))

    async def _write(
        self,
        name: str,
        work: _Sealed,
        instead: tuple[int, int] | None,
        also: Callable[[Tx], Awaitable[None]] | None,
    ) -> tuple[Appended, list[str]]:
        account_no, now_s = work.account_no, self._clock() // 1000
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, now_s)
            mailbox = await boxes.named(tx, account_no, name)
            if mailbox is None:
                raise unknown()
            modseq = account.next_modseq()
            changed = [mailbox]
            blobs: list[str] = []
            if instead is not None:
                other, blobs = await self._take_out(tx, account, mailbox, *instead)
                changed = [mailbox] if other is mailbox else [mailbox, other]
            self._check_quota(account, sum(item.made.size for item in work.items))
            first_uid = mailbox.uidnext
            added = await self._segment(tx, mailbox, work, modseq, now_s)
            await placed.add(tx, account_no, mailbox.mailbox_no, added, modseq)
            await self._write_messages(tx, work)
            mailbox.uidnext += len(added)
            mailbox.modseq = modseq
            count(mailbox, added, 1)
            account.used += added.bytes
            account.placed += len(added)
            account.loose += len(work.rows)
            await boxes.save_mailboxes(tx, changed)
            await boxes.save(tx, account)
            if also is not None:
                await also(tx)
            tx.change(Kind.MAIL, account_no, modseq)
            uids = list(range(first_uid, mailbox.uidnext))
            nos = list(added.nos)
            done = Appended(
                mailbox.mailbox_no, mailbox.uidvalidity, uids, nos, modseq, mailbox.special
            )
            return done, blobs

    async def _take_out(
        self, tx: Tx, account: Account, target: Mailbox, mailbox_no: int, uid: int
    ) -> tuple[Mailbox, list[str]]:
        """Takes out the message that is replaced; its mailbox, and blobs to remove."""
        source: Mailbox | None = target
        if mailbox_no != target.mailbox_no:
            source = await boxes.one(tx, account.account_no, mailbox_no)
        if source is None:
            raise unknown()
        uids = ((uid, uid),)
        rows = await rows_of(tx, source, uids)
        now_s = self._clock() // 1000
        gone = await take_out(tx, self._release, account, source, rows, uids, account.modseq, now_s)
        if not len(gone.taken):
            raise Refused(Reason.MESSAGE_GONE, "There is no such message")
        return source, gone.blobs

    async def _segment(
        self, tx: Tx, mailbox: Mailbox, work: _Sealed, modseq: int, now_s: int
    ) -> Segment:
        added = Segment()
        tagged: list[tuple[int, Tagged, int]] = []
        known: dict[int, int] = {}  # threads of the messages before
        bits: dict[tuple[str, ...], int] = {(): 0}
        for at, item in enumerate(work.items):
            no = work.first_no + at
            own = Tagged(self._tags, work.account_no, item.made.threading, no)
            thread = next((known[tag] for tag in reversed(own.named) if tag in known), 0)
            thread = thread or await threads.thread_of(tx, work.account_no, own)
            known[own.own] = thread
            tagged.append((work.account_no, own, thread))
            if item.keywords not in bits:
                bits[item.keywords] = await keywords.bits(tx, work.account_no, item.keywords)
            added.append(
                Placed(
                    mailbox.uidnext + at,
                    no,
                    item.flags & SYSTEM_ALL,
                    bits[item.keywords],
                    modseq,
                    modseq,
                    now_s if item.date_s is None else item.date_s,
                    now_s,
                    thread,
                    item.made.size,
                )
            )
        await threads.remember(tx, tagged)
        return added

    async def _write_messages(self, tx: Tx, work: _Sealed) -> None:
        for made in work.pages:
            await self._pages.write(tx, work.account_no, made)
        for row in work.rows:
            if row["blob"]:
                await messages.add_blob(tx, row["blob"], work.account_no, 1)
        if work.rows:
            await messages.add_loose(tx, work.rows)


class _Sealed:
    """Messages that are sealed, and whose rows are not yet written."""

    def __init__(self, account_no: int, first_no: int, items: Sequence[Item]) -> None:
        self.account_no = account_no
        self.first_no = first_no
        self.items = items
        self.rows: list[dict[str, Any]] = []
        self.pages: list[NewPage] = []

    def blobs(self) -> list[str]:
        """The blobs that were written for them."""
        own = [str(row["blob"]) for row in self.rows if row["blob"]]
        return own + [blob for made in self.pages for blob in made.packs]


def _entry(made: Made, epoch: Epoch, no: int) -> Entry:
    return Entry(
        no,
        1,
        made.pieces,
        made.rendered.words,
        epoch.seal(Belonging(epoch.account_no, no, BODY), made.body),
    )
