"""Changes flags and mailboxes of any Emails at once, or destroys them: one transaction, one MODSEQ.

What IMAP does by STORE, COPY, MOVE and EXPUNGE in one mailbox, JMAP says of Emails wherever they
lie. A message that is not any more where it was seen is left alone, and told as gone.
"""

# RFC 8621 §4.6

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import keywords
from kerwen.mail.actions.account_views import Lying
from kerwen.mail.actions.copy import put_last, split
from kerwen.mail.actions.deliver import count
from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.actions.release import Release
from kerwen.mail.actions.store_flags import rows_of
from kerwen.mail.actions.views import Views
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed, uid_ranges
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import DELETED, SEEN, Placed, Segment
from kerwen.storage.database import Database, Kind, Tx, retrying


class Revision(msgspec.Struct, frozen=True):
    """What becomes of one Email. Mailboxes by number; without any left it is destroyed."""

    email: Lying
    add_flags: int = 0
    less_flags: int = 0
    add_keywords: tuple[str, ...] = ()
    less_keywords: tuple[str, ...] = ()
    into: tuple[int, ...] = ()
    out_of: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not (
            self.add_flags
            or self.less_flags
            or self.add_keywords
            or self.less_keywords
            or self.into
            or self.out_of
        )


class Revised(msgspec.Struct, frozen=True):
    """The MODSEQ of it all (0: nothing changed), and what was refused, by message number."""

    modseq: int
    refused: dict[int, Refused]


class Revise:
    """Email/set's update and destroy."""

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

    async def run(self, account_no: int, revisions: Sequence[Revision]) -> Revised:
        """Carries out what can be; each revision wholly or not at all. Says `BAD_FLAG` for
        keywords of which there are too many."""
        done, blobs = await retrying(lambda: self._write(account_no, revisions))
        await self._release.remove(blobs)
        return done

    async def _write(
        self, account_no: int, revisions: Sequence[Revision]
    ) -> tuple[Revised, list[str]]:
        async with self._db.write() as tx:
            account = await boxes.lock(tx, account_no)
            if account is None:
                raise unknown()
            every = {one.mailbox_no: one for one in await boxes.all_of(tx, account_no)}
            quota = self._quota if account.quota is None else account.quota
            work = _Work(account, every, quota, self._clock() // 1000)
            await work.read(tx, revisions)
            for one in revisions:
                bits = await keywords.bits(tx, account_no, one.add_keywords)
                less = await keywords.bits(tx, account_no, one.less_keywords, add=False)
                work.add(one, bits, less)
            if not work.touched:
                return Revised(0, work.refused), []
            account.next_modseq()
            blobs = await work.write(tx, self._release)
            await boxes.save_mailboxes(tx, list(work.touched.values()))
            await boxes.save(tx, account)
            tx.change(Kind.MAIL, account_no, account.modseq)
            for mailbox, before, rows in work.told():
                tx.after(partial(self._views.changed, before, mailbox, rows))
            return Revised(account.modseq, work.refused), blobs


class _Work:
    """One transaction's work: rows are read once, changed in memory, and written once."""

    def __init__(self, account: Account, every: dict[int, Mailbox], quota: int, now_s: int) -> None:
        self._account = account
        self._every = every
        self._room = quota - account.used
        self._now_s = now_s
        self._modseq = account.modseq + 1
        self._rows: dict[int, list[Row]] = {}
        self._at: dict[tuple[int, int], tuple[Row, int]] = {}  # (mailbox, UID): row, place
        self._before = {no: one.modseq for no, one in every.items()}
        self._changed: dict[int, set[int]] = {}  # mailbox: first UIDs of changed rows
        self._out: dict[int, list[int]] = {}  # mailbox: UIDs
        self._in: dict[int, list[Placed]] = {}
        self.touched: dict[int, Mailbox] = {}
        self.refused: dict[int, Refused] = {}
        self._left: dict[int, list[Row]] = {}

    async def read(self, tx: Tx, revisions: Iterable[Revision]) -> None:
        """Reads the rows in which the Emails lay when they were seen."""
        uids: dict[int, list[int]] = {}
        for one in revisions:
            for view, place in one.email.at:
                uids.setdefault(view.mailbox.mailbox_no, []).append(view.uids[place])
        for number, wanted in uids.items():
            if number not in self._every:
                continue
            rows = await rows_of(tx, self._every[number], uid_ranges.of(wanted))
            self._rows[number] = rows
            sought = set(wanted)
            for row in rows:
                for at, uid in enumerate(row.segment.uids):
                    if uid in sought:
                        self._at[number, uid] = (row, at)

    def add(self, one: Revision, bits: int, less_bits: int) -> None:
        """Plans one revision."""
        no = one.email.no
        found: list[tuple[int, int, Row, int]] = []
        for view, place in one.email.at:
            number, uid = view.mailbox.mailbox_no, view.uids[place]
            row, at = self._at.get((number, uid), (None, 0))
            if row is not None and row.segment.nos[at] == no:
                found.append((number, uid, row, at))
        if not found:
            self.refused[no] = Refused(Reason.MESSAGE_GONE, "The Email is gone")
            return
        if any(number not in self._every for number in one.into):
            self.refused[no] = unknown()
            return
        leaving = [entry for entry in found if entry[0] in one.out_of]
        size = one.email.size * (len(one.into) - len(leaving))
        if size > 0 and size > self._room:
            self.refused[no] = Refused(Reason.OVER_QUOTA, "The mailbox is full")
            return
        self._room -= size
        for number, _, row, at in found:
            if number not in one.out_of or one.into:
                self._flag(one, number, row, at, bits, less_bits)
        _, _, row, at = found[0]
        for number in one.into:
            self._in.setdefault(number, []).append(row.segment[at])
            self.touched[number] = self._every[number]
        for number, uid, _, _ in leaving:
            self._out.setdefault(number, []).append(uid)
            self.touched[number] = self._every[number]

    def _flag(
        self, one: Revision, number: int, row: Row, at: int, bits: int, less_bits: int
    ) -> None:
        segment = row.segment
        old = segment.flags[at]
        new = old & ~one.less_flags | one.add_flags
        known = segment.keywords[at] if segment.keywords is not None else 0
        wanted = known & ~less_bits | bits
        if new == old and wanted == known:
            return
        if new != old:
            segment.flags = segment.flags[:at] + bytes((new,)) + segment.flags[at + 1 :]
        if wanted != known:
            segment.set_keywords(at, wanted)
        segment.modseqs[at] = self._modseq
        row.modseq = self._modseq
        mailbox = self.touched[number] = self._every[number]
        mailbox.unseen += (not new & SEEN) - (not old & SEEN)
        mailbox.deleted += bool(new & DELETED) - bool(old & DELETED)
        self._changed.setdefault(number, set()).add(row.first_uid)

    async def write(self, tx: Tx, release: Release) -> list[str]:
        """Writes it all; the blobs to remove after commit."""
        account, modseq = self._account, self._modseq
        more: list[int] = []
        less: list[int] = []
        for number, uids in self._out.items():
            mailbox = self._every[number]
            taken, left = split(self._rows[number], uid_ranges.of(uids))
            for row in left:
                row.modseq = modseq
            self._left[number] = left
            await placed.vanish(tx, account.account_no, number, modseq, taken, self._now_s)
            count(mailbox, taken, -1)
            account.used -= taken.bytes
            account.placed -= len(taken)
            less += taken.nos
        for number in self._changed.keys() | self._out.keys():
            await placed.put(tx, account.account_no, number, self._to_put(number))
        for number, some in self._in.items():
            more += await self._append(tx, self._every[number], some)
        for mailbox in self.touched.values():
            mailbox.modseq = modseq
        if more:
            await release.add_copies(tx, account.account_no, more)
        return await release.copies(tx, account, less) if less else []

    def _to_put(self, number: int) -> list[Row]:
        """The rows of a mailbox as they are now; those of which something left come last."""
        left = {row.first_uid: row for row in self._left.get(number, ())}
        changed = self._changed.get(number, set())
        rows = [row for row in self._rows[number] if row.first_uid in changed]
        return [*(row for row in rows if row.first_uid not in left), *left.values()]

    async def _append(self, tx: Tx, mailbox: Mailbox, some: list[Placed]) -> list[int]:
        added = Segment()
        for one in some:
            added.append(one)
        await put_last(tx, mailbox, added, self._modseq, self._now_s)
        self._account.used += added.bytes
        self._account.placed += len(added)
        return list(added.nos)

    def told(self) -> Iterable[tuple[Mailbox, int, list[Row]]]:
        """Mailboxes of which views can be made without reading: nothing came into them."""
        for number, mailbox in self.touched.items():
            if number not in self._in:
                yield mailbox, self._before[number], self._to_put(number)
