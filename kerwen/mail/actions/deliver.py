"""Delivers one message to any number of mailboxes here, in one transaction.

Nobody's vault is opened. What is acknowledged is on disk: bodies that have blobs of their own are
synced before the transaction, the others are rows of it.
"""

# design.md §4, §5; feed.md §8

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import keywords, sealing
from kerwen.mail.actions.mailboxes import INBOX, ensure
from kerwen.mail.actions.sealing import ROW_MAX, EpochKeys, Made, Sealed
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import messages, placed, threads
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.segment import DELETED, SEEN, SYSTEM_ALL, Placed, Segment
from kerwen.mail.store.tags import Tags
from kerwen.mail.store.threads import Tagged
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Kind, Tx, retrying

LOOSE_MANY: Final = 256  # loose messages of an account that are worth a page


class Target(msgspec.Struct, frozen=True, gc=False):
    """A mailbox by name (or by its special use, as `\\junk`), and with which flags the message
    lies there."""

    mailbox: str = INBOX
    flags: int = 0
    keywords: tuple[str, ...] = ()


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """An account, and where the message goes there; a mailbox that is not there is INBOX."""

    account_no: int
    targets: tuple[Target, ...] = (Target(),)


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """What became of one recipient. `refused` None: it is on disk (or was, before: `twice`)."""

    account_no: int
    refused: Reason | None = None
    no: int = 0
    uids: tuple[tuple[int, int], ...] = ()  # (mailbox, UID)
    twice: bool = False
    why: str = ""  # what the recipient says to it, where it is refused


class Deliver:
    """The one way by which mail comes in. `crowded` hears of accounts whose loose messages are
    worth a page.
    """

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        delivery_keys: EpochKeys,
        tags: Tags,
        clock: Clock = now_ms,
        quota: int = limits.MAIL_QUOTA,
        crowded: Callable[[int, int], None] | None = None,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._keys = delivery_keys
        self._tags = tags
        self._clock = clock
        self._quota = quota
        self._crowded = crowded

    async def run(
        self,
        made: Made,
        recipients: Sequence[Recipient],
        *,
        key: bytes | None = None,
        date_s: int | None = None,
    ) -> list[Delivered]:
        """Delivers; the answers stand in the order of the recipients.

        With a `key`, a delivery of the same key to the same account is made once in a week.
        Refusals are answers (MAILBOX_FULL, VAULT_CLOSED, UNKNOWN_RECIPIENT); what is
        `Unavailable` delivers to nobody.
        """
        refused: dict[int, Reason] = {}
        sealed: dict[int, Sealed] = {}
        names: dict[int, str] = {}
        try:
            for one in recipients:
                if one.account_no not in sealed and one.account_no not in refused:
                    await self._seal(made, one.account_no, sealed, refused)
            await self._put_bodies(sealed, names)
            wanted = [one for one in recipients if one.account_no in sealed]
            answers = await retrying(lambda: self._write(made, wanted, sealed, names, key, date_s))
        except BaseException:
            await self._blobs.delete(names.values())
            raise
        unused = [blob for no, blob in names.items() if not answers[no].uids]
        if unused:
            await self._blobs.delete(unused)
        return [
            answers.get(one.account_no) or Delivered(one.account_no, refused[one.account_no])
            for one in recipients
        ]

    async def _seal(
        self, made: Made, account_no: int, sealed: dict[int, Sealed], refused: dict[int, Reason]
    ) -> None:
        no = await self._db.take_id("mail_message")
        try:
            epoch = await self._keys.of(account_no)  # and nothing is waited for before it is used
        except Refused as refusal:
            refused[account_no] = refusal.reason
            return
        sealed[account_no] = await sealing.sealed(made, epoch, no)

    async def _put_bodies(self, sealed: dict[int, Sealed], names: dict[int, str]) -> None:
        """Bodies too large for a row: synced before the rows."""
        large = [no for no, one in sealed.items() if len(one.body) > ROW_MAX]
        for at in range(0, len(large), 8):
            some = large[at : at + 8]
            done = await asyncio.gather(
                *(self._blobs.put_bytes(sealed[no].body) for no in some), return_exceptions=True
            )
            failed = None
            for no, blob in zip(some, done, strict=True):
                if isinstance(blob, BaseException):
                    failed = blob
                else:
                    names[no] = blob.key
            if failed is not None:
                raise failed

    async def _write(
        self,
        made: Made,
        recipients: Sequence[Recipient],
        sealed: dict[int, Sealed],
        names: dict[int, str],
        key: bytes | None,
        date_s: int | None,
    ) -> dict[int, Delivered]:
        async with self._db.write() as tx:
            work = _Delivery(tx, self._tags, made, self._clock(), self._quota, date_s)
            await work.begin(recipients)
            for one in recipients:
                if one.account_no not in work.answers:
                    blob = names.get(one.account_no)
                    await work.deliver(one, sealed[one.account_no], blob, key)
            await work.end()
        if self._crowded is not None:
            for account in work.accounts.values():
                if account.loose >= LOOSE_MANY:
                    self._crowded(account.account_no, account.loose)
        return work.answers


class _Delivery:
    """One transaction's work: what can be is done for all recipients in one statement."""

    def __init__(
        self, tx: Tx, tags: Tags, made: Made, now: int, quota: int, date_s: int | None
    ) -> None:
        self._tx = tx
        self._tags = tags
        self._made = made
        self._now = now
        self._quota = quota
        self._date_s = now // 1000 if date_s is None else date_s
        self._rows: list[dict[str, Any]] = []
        self._threads: list[tuple[int, Tagged, int]] = []
        self._boxes: list[Mailbox] = []
        self._inboxes: dict[int, Mailbox] = {}
        self.accounts: dict[int, Account] = {}
        self.answers: dict[int, Delivered] = {}

    async def begin(self, recipients: Sequence[Recipient]) -> None:
        """Locks all accounts, in the order of their numbers."""
        nos = sorted({one.account_no for one in recipients})
        if len(nos) == 1:  # most deliveries: no lists to unpack
            no = nos[0]
            both = await boxes.lock_with_inbox(self._tx, no)
            if both is None:
                await ensure(self._tx, no, self._now // 1000)
                both = await boxes.lock_with_inbox(self._tx, no)
            assert both is not None, "every account has an INBOX"
            self.accounts[no], self._inboxes[no] = both
            return
        found = await boxes.lock_many(self._tx, nos)
        for no in nos:
            if no not in found:
                found[no] = await ensure(self._tx, no, self._now // 1000)
        self._inboxes = await boxes.inboxes(self._tx, nos)
        self.accounts = found

    async def deliver(
        self, to: Recipient, sealed: Sealed, blob: str | None, key: bytes | None
    ) -> None:
        """One recipient."""
        no = to.account_no
        account, size = self.accounts[no], self._made.size
        tag = None if key is None else self._tags.tag(no, b"delivery", key)
        if tag is not None and not await threads.first_delivery(self._tx, no, tag, self._now):
            self.answers[no] = Delivered(no, twice=True)
            return
        mailboxes = await self._mailboxes(to)
        quota = self._quota if account.quota is None else account.quota
        if account.used + size * len(mailboxes) > quota:
            if tag is not None:  # it was not delivered: another time it may be
                await threads.forget_delivery(self._tx, no, tag)
            self.answers[no] = Delivered(no, Reason.MAILBOX_FULL)
            return
        modseq = account.next_modseq()
        tagged = Tagged(self._tags, no, self._made.threading, sealed.no)
        thread = await threads.thread_of(self._tx, no, tagged)
        self._threads.append((no, tagged, thread))
        uids = []
        for mailbox, target in mailboxes:
            bits = await self._bits(no, target.keywords) if target.keywords else 0
            placed_here = Placed(
                mailbox.uidnext,
                sealed.no,
                int(target.flags) & SYSTEM_ALL,
                bits,
                modseq,
                modseq,
                self._date_s,
                self._now // 1000,
                thread,
                size,
            )
            uids.append((mailbox.mailbox_no, mailbox.uidnext))
            await self._place(mailbox, placed_here)
        account.used += size * len(mailboxes)
        account.placed += len(mailboxes)
        account.loose += 1
        self._rows.append(sealing.row_of(sealed, no, len(mailboxes), blob))
        self._tx.change(Kind.MAIL, no, modseq)
        self.answers[no] = Delivered(no, None, sealed.no, tuple(uids))

    async def _bits(self, account_no: int, names: Sequence[str]) -> int:
        try:
            return await keywords.bits(self._tx, account_no, names)
        except Refused:  # mail is not lost for a flag
            return 0

    async def _mailboxes(self, to: Recipient) -> list[tuple[Mailbox, Target]]:
        found: dict[int, tuple[Mailbox, Target]] = {}
        for target in to.targets:
            mailbox = self._inboxes[to.account_no]
            if target.mailbox != INBOX:
                if target.mailbox.startswith("\\"):
                    named = await boxes.special(self._tx, to.account_no, target.mailbox[1:])
                else:
                    named = await boxes.named(self._tx, to.account_no, target.mailbox)
                mailbox = named if named is not None else mailbox
            found.setdefault(mailbox.mailbox_no, (mailbox, target))
        return list(found.values())

    async def _place(self, mailbox: Mailbox, one: Placed) -> None:
        await placed.add_one(self._tx, mailbox.account_no, mailbox.mailbox_no, one)
        mailbox.uidnext += 1
        mailbox.modseq = one.modseq
        mailbox.messages += 1
        mailbox.unseen += not one.flags & SEEN
        mailbox.deleted += bool(one.flags & DELETED)
        mailbox.bytes += one.size
        self._boxes.append(mailbox)

    async def end(self) -> None:
        """Writes what is the same for all recipients."""
        if not self._rows:
            return
        for row in self._rows:
            if row["blob"]:
                await messages.add_blob(self._tx, row["blob"], row["account_no"], 1)
        await messages.add_loose(self._tx, self._rows)
        await threads.remember(self._tx, self._threads)
        await boxes.save_mailboxes(self._tx, self._boxes)
        told = [no for no, answer in self.answers.items() if answer.uids]
        await boxes.save_many(self._tx, [self.accounts[no] for no in told])


def count(mailbox: Mailbox, messages: Segment, sign: int) -> None:
    """Counts messages that came into a mailbox (1) or left it (-1)."""
    mailbox.messages += sign * len(messages)
    mailbox.unseen += sign * messages.unseen
    mailbox.deleted += sign * messages.having(DELETED)
    mailbox.bytes += sign * messages.bytes
