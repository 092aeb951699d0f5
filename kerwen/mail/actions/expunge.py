"""Removes messages from a mailbox for good; their bodies go when no mailbox has them."""

# RFC 9051 §6.4.3, §6.4.9; RFC 7162 §3.2.7

from __future__ import annotations

import msgspec

from kerwen.base.clock import Clock, now_ms
from kerwen.mail.actions.copy import split
from kerwen.mail.actions.deliver import count
from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.actions.release import Release
from kerwen.mail.actions.store_flags import rows_of
from kerwen.mail.actions.views import Views
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed, uid_ranges
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import DELETED, Segment
from kerwen.mail.store.uid_ranges import UidRanges, places
from kerwen.storage.database import Database, Kind, Tx, retrying


class Expunged(msgspec.Struct, frozen=True, gc=False):
    """The UIDs that are gone, in rising order. `modseq` 0: none."""

    modseq: int
    uids: list[int]
    nos: list[int]


class Expunge:
    """EXPUNGE and UID EXPUNGE; JMAP's destroy."""

    def __init__(self, db: Database, release: Release, views: Views, clock: Clock = now_ms) -> None:
        self._clock = clock
        self._db = db
        self._release = release
        self._views = views

    async def run(
        self,
        account_no: int,
        mailbox_no: int,
        uids: UidRanges = uid_ranges.EVERY,
        *,
        only_deleted: bool = True,
    ) -> Expunged:
        """Removes those of these messages that have \\Deleted, or all of them.

        Says `UNKNOWN_MAILBOX`.
        """
        done, blobs = await retrying(
            lambda: self._write(account_no, mailbox_no, uids, only_deleted)
        )
        await self._release.remove(blobs)
        return done

    async def _write(
        self, account_no: int, mailbox_no: int, uids: UidRanges, only_deleted: bool
    ) -> tuple[Expunged, list[str]]:
        async with self._db.write() as tx:
            account = await boxes.lock(tx, account_no)
            mailbox = await boxes.one(tx, account_no, mailbox_no)
            if account is None or mailbox is None:
                raise unknown()
            if only_deleted and not mailbox.deleted:
                return Expunged(0, [], []), []
            rows = await rows_of(tx, mailbox, uids)
            if only_deleted:
                uids = _deleted(rows, uids)
            before, modseq = mailbox.modseq, account.modseq + 1
            now_s = self._clock() // 1000
            gone = await take_out(tx, self._release, account, mailbox, rows, uids, modseq, now_s)
            if not len(gone.taken):
                return Expunged(0, [], []), []
            account.next_modseq()
            await boxes.save_mailbox(tx, mailbox)
            await boxes.save(tx, account)
            tx.change(Kind.MAIL, account_no, modseq)
            tx.after(lambda: self._views.changed(before, mailbox, gone.left))
            return Expunged(modseq, list(gone.taken.uids), list(gone.taken.nos)), gone.blobs


class Gone(msgspec.Struct, frozen=True, gc=False):
    """What left a mailbox, the rows as they are now, and the blobs to remove after commit."""

    taken: Segment
    left: list[Row]
    blobs: list[str]


async def take_out(
    tx: Tx,
    release: Release,
    account: Account,
    mailbox: Mailbox,
    rows: list[Row],
    uids: UidRanges,
    modseq: int,
    now_s: int,
) -> Gone:
    """Takes messages of these rows out of a mailbox; whoever calls saves it and the account."""
    taken, left = split(rows, uids)
    if not len(taken):
        return Gone(taken, [], [])
    for row in left:
        row.modseq = modseq
    await placed.put(tx, account.account_no, mailbox.mailbox_no, left)
    await placed.vanish(tx, account.account_no, mailbox.mailbox_no, modseq, taken, now_s)
    count(mailbox, taken, -1)
    mailbox.modseq = modseq
    account.used -= taken.bytes
    account.placed -= len(taken)
    return Gone(taken, left, await release.copies(tx, account, taken.nos))


def _deleted(rows: list[Row], uids: UidRanges) -> UidRanges:
    found: list[int] = []
    for row in rows:
        flags, own = row.segment.flags, row.segment.uids
        found += [own[at] for at in places(own, uids) if flags[at] & DELETED]
    return uid_ranges.of(found)
