"""Changes flags of any number of messages in one transaction, under one MODSEQ."""

# RFC 9051 §6.4.6; RFC 7162 §3.1.3

from __future__ import annotations

import enum
from array import array
from collections.abc import Sequence

import msgspec

from kerwen.mail.actions import keywords
from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.actions.views import Views
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import CLEAR, DELETED, OR, SYSTEM_ALL, Segment
from kerwen.mail.store.uid_ranges import UidRanges, places
from kerwen.storage.database import Database, Kind, Snap, retrying


class How(enum.Enum):
    """What happens to the flags that are named."""

    SET = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A change of flags. With `unchanged_since`, messages changed after it are left alone."""

    how: How
    flags: int = 0
    keywords: tuple[str, ...] = ()
    unchanged_since: int | None = None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """`modseq` is that of the changed messages; 0: none changed."""

    modseq: int
    changed: list[int]  # UIDs
    modified: list[int]  # UIDs that were left alone


class StoreFlags:
    """IMAP's STORE, and what JMAP's Email/set does to keywords."""

    def __init__(self, db: Database, views: Views) -> None:
        self._db = db
        self._views = views

    async def run(
        self, account_no: int, mailbox_no: int, uids: UidRanges, wanted: Wanted
    ) -> Stored:
        """Changes flags. Says `UNKNOWN_MAILBOX`, `BAD_FLAG`; what is gone is passed over."""
        return await retrying(lambda: self._write(account_no, mailbox_no, uids, wanted))

    async def _write(
        self, account_no: int, mailbox_no: int, uids: UidRanges, wanted: Wanted
    ) -> Stored:
        async with self._db.write() as tx:
            account = await boxes.lock(tx, account_no)
            mailbox = await boxes.one(tx, account_no, mailbox_no)
            if account is None or mailbox is None:
                raise unknown()
            before = mailbox.modseq
            add = wanted.how is not How.REMOVE
            bits = await keywords.bits(tx, account_no, wanted.keywords, add=add)
            work = _Work(wanted, bits, account.modseq + 1)
            rows = await rows_of(tx, mailbox, uids)
            changed = [row for row in rows if work.row(row, uids)]
            if not changed:
                return Stored(0, [], work.modified)
            modseq = account.next_modseq()
            mailbox.modseq = modseq
            mailbox.unseen += work.unseen
            mailbox.deleted += work.deleted
            await placed.put(tx, account_no, mailbox_no, changed)
            await boxes.save_mailbox(tx, mailbox)
            await boxes.save(tx, account)
            tx.change(Kind.MAIL, account_no, modseq)
            tx.after(lambda: self._views.changed(before, mailbox, changed))
            return Stored(modseq, work.changed, work.modified)


async def rows_of(tx: Snap, mailbox: Mailbox, uids: UidRanges) -> list[Row]:
    """The segments that may hold these UIDs; few far-apart ones are read one by one."""
    account_no, mailbox_no = mailbox.account_no, mailbox.mailbox_no
    if not uids:
        return []
    if len(uids) > 4:
        return await placed.between(tx, account_no, mailbox_no, uids[0][0], uids[-1][1])
    rows: dict[int, Row] = {}
    for first, last in uids:
        for row in await placed.between(tx, account_no, mailbox_no, first, last):
            rows.setdefault(row.first_uid, row)
    return list(rows.values())


class _Work:
    """What a change does to each segment, and what it adds up to."""

    def __init__(self, wanted: Wanted, bits: int, modseq: int) -> None:
        self._wanted = wanted
        self._bits = bits
        self._modseq = modseq
        flags = int(wanted.flags) & SYSTEM_ALL
        if wanted.how is How.SET:
            self._table = bytes([flags]) * 256
        else:
            self._table = (OR if wanted.how is How.ADD else CLEAR)[flags]
        self._fixed = bytes(value for value in range(256) if self._table[value] == value)
        self.changed: list[int] = []
        self.modified: list[int] = []
        self.unseen = 0
        self.deleted = 0

    def row(self, row: Row, uids: UidRanges) -> bool:
        """Changes a segment that was read for it; false if nothing in it changed."""
        segment = row.segment
        chosen = self._unchanged(segment, places(segment.uids, uids))
        old = segment.flags
        if len(chosen) == len(old):
            new = old.translate(self._table)
        else:
            table = self._table
            fresh = bytearray(old)
            for at in chosen:
                fresh[at] = table[old[at]]
            new = bytes(fresh)
        spoken = self._set_keywords(segment, chosen)
        changed: Sequence[int] = chosen
        if spoken:
            changed = [at for at in chosen if old[at] != new[at] or at in spoken]
        elif old == new:
            return False
        elif len(chosen) < len(old) or old.translate(None, self._fixed) != old:
            changed = [at for at in chosen if old[at] != new[at]]
        unseen, deleted = segment.unseen, segment.having(DELETED)
        segment.flags = new
        self.unseen += segment.unseen - unseen
        self.deleted += segment.having(DELETED) - deleted
        if len(changed) == len(old):
            segment.modseqs = array("Q", [self._modseq]) * len(old)
            self.changed.extend(segment.uids)
        else:
            modseqs, own = segment.modseqs, segment.uids
            for at in changed:
                modseqs[at] = self._modseq
            self.changed += [own[at] for at in changed]
        row.modseq = self._modseq
        return True

    def _unchanged(self, segment: Segment, chosen: Sequence[int]) -> Sequence[int]:
        since = self._wanted.unchanged_since
        if since is None:
            return chosen
        modseqs, uids = segment.modseqs, segment.uids
        self.modified += [uids[at] for at in chosen if modseqs[at] > since]
        return [at for at in chosen if modseqs[at] <= since]

    def _set_keywords(self, segment: Segment, chosen: Sequence[int]) -> set[int]:
        """Changes keywords; the places where any changed."""
        bits, how, known = self._bits, self._wanted.how, segment.keywords
        if known is None and (how is How.REMOVE or not bits):
            return set()
        if not bits and how is not How.SET:
            return set()
        changed = set()
        for at in chosen:
            old = segment.keywords[at] if segment.keywords is not None else 0
            new = old & ~bits if how is How.REMOVE else bits | (old if how is How.ADD else 0)
            if new != old:
                segment.set_keywords(at, new)
                changed.add(at)
        return changed
