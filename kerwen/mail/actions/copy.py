"""Copies or moves messages into another mailbox of the account: one transaction, one MODSEQ."""

# RFC 9051 §6.4.7, §6.4.8; RFC 8474 §5.1: a copy keeps its EMAILID

from __future__ import annotations

from array import array

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.deliver import count
from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.actions.release import Release
from kerwen.mail.actions.store_flags import rows_of
from kerwen.mail.actions.views import Views
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import Segment
from kerwen.mail.store.uid_ranges import UidRanges, places
from kerwen.storage.database import Database, Kind, Tx, retrying


class Copied(msgspec.Struct, frozen=True, gc=False):
    """What COPYUID says; empty where no message was there. `modseq` 0: nothing happened."""

    modseq: int
    uidvalidity: int
    sources: list[int]
    targets: list[int]
    nos: list[int]


class Copy:
    """COPY and MOVE."""

    def __init__(
        self,
        db: Database,
        release: Release,
        views: Views,
        clock: Clock = now_ms,
        quota: int = limits.MAIL_QUOTA,
    ) -> None:
        self._db = db
        self._release = release
        self._views = views
        self._clock = clock
        self._quota = quota

    async def run(
        self, account_no: int, source_no: int, uids: UidRanges, target: str, *, move: bool = False
    ) -> Copied:
        """Copies or moves to a mailbox by its name; what is gone is passed over.

        `Refused`: UNKNOWN_MAILBOX, OVER_QUOTA (a copy counts as its message does).
        """
        return await retrying(lambda: self._write(account_no, source_no, uids, target, move))

    async def _write(
        self, account_no: int, source_no: int, uids: UidRanges, name: str, move: bool
    ) -> Copied:
        async with self._db.write() as tx:
            account = await boxes.lock(tx, account_no)
            source = await boxes.one(tx, account_no, source_no)
            target = await boxes.named(tx, account_no, name)
            if account is None or source is None or target is None:
                raise unknown()
            if source.mailbox_no == target.mailbox_no:
                target = source
            taken, left = split(await rows_of(tx, source, uids), uids)
            if not len(taken):
                return Copied(0, target.uidvalidity, [], [], [])
            sources = list(taken.uids)
            modseq = account.next_modseq()
            if move:
                before = source.modseq
                await self._take_away(tx, source, taken, left, modseq)
                if target is not source:
                    tx.after(lambda: self._views.changed(before, source, left))
            else:
                await self._count(tx, account, taken)
            added = taken.slice(0, len(taken))
            first = await put_last(tx, target, added, modseq, self._clock() // 1000)
            await boxes.save_mailboxes(tx, [source, target] if move else [target])
            await boxes.save(tx, account)
            tx.change(Kind.MAIL, account_no, modseq)
            targets = list(range(first, first + len(taken)))
            return Copied(modseq, target.uidvalidity, sources, targets, list(taken.nos))

    async def _count(self, tx: Tx, account: Account, taken: Segment) -> None:
        quota = self._quota if account.quota is None else account.quota
        if account.used + taken.bytes > quota:
            raise Refused(Reason.OVER_QUOTA, "The mailbox is full")
        account.used += taken.bytes
        account.placed += len(taken)
        await self._release.add_copies(tx, account.account_no, taken.nos)

    async def _take_away(
        self, tx: Tx, source: Mailbox, taken: Segment, left: list[Row], modseq: int
    ) -> None:
        for row in left:
            row.modseq = modseq
        await placed.put(tx, source.account_no, source.mailbox_no, left)
        now_s = self._clock() // 1000
        await placed.vanish(tx, source.account_no, source.mailbox_no, modseq, taken, now_s)
        count(source, taken, -1)
        source.modseq = modseq


async def put_last(tx: Tx, target: Mailbox, added: Segment, modseq: int, now_s: int) -> int:
    """Puts messages of the account at the end of a mailbox, under new UIDs; the first of them.
    The segment is the mailbox's from now on."""
    many = len(added)
    first = target.uidnext
    added.uids = array("I", range(first, first + many))
    added.modseqs = array("Q", [modseq]) * many
    added.saved = array("q", [now_s]) * many
    await placed.add(tx, target.account_no, target.mailbox_no, added, modseq)
    target.uidnext = first + many
    target.modseq = modseq
    count(target, added, 1)
    return first


def split(rows: list[Row], uids: UidRanges) -> tuple[Segment, list[Row]]:
    """The messages of a set, and the rows as they are without them (only those that change)."""
    taken = Segment()
    left: list[Row] = []
    for row in rows:
        chosen = places(row.segment.uids, uids)
        if not chosen:
            continue
        if len(chosen) == len(row.segment):
            taken.extend(row.segment)
            left.append(Row(row.first_uid, row.modseq, Segment()))
            continue
        taken.extend(row.segment.pick(chosen))
        gone = set(chosen)
        stay = [at for at in range(len(row.segment)) if at not in gone]
        left.append(Row(row.first_uid, row.modseq, row.segment.pick(stay)))
    return taken, left
