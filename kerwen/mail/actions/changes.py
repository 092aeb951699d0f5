"""What changed since a MODSEQ: for CONDSTORE, QRESYNC and JMAP's /changes.

Everything is read from one snapshot, with the head in it; so whoever asks again with that head
misses nothing.
"""

# RFC 7162 §3.1, §3.2; RFC 8620 §5.2; feed.md §8

from __future__ import annotations

from array import array

import msgspec

from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import messages, placed
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.segment import Placed
from kerwen.storage.database import Database


class MailboxChanges(msgspec.Struct, frozen=True, gc=False):
    """What happened in a mailbox after `since`. `whole`: what vanished is not known singly any
    more; then `vanished` is empty, and whatever is not in the mailbox has vanished.
    """

    mailbox: Mailbox
    changed: list[Placed]
    vanished: array[int]
    whole: bool = True


class AccountChanges(msgspec.Struct, frozen=True, gc=False):
    """What happened to an account's messages (by number) and mailboxes. None of it is known if
    `known` is false: the client must start over."""

    head: int
    known: bool
    created: list[int]
    updated: list[int]
    destroyed: list[int]
    mailboxes_created: list[int]
    mailboxes_updated: list[int]
    mailboxes_counted: list[int]  # only their counts changed
    mailboxes_destroyed: list[int]


class Changes:
    """Reads what changed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def mailbox(self, account_no: int, mailbox_no: int, since: int) -> MailboxChanges:
        """In one mailbox. Says `UNKNOWN_MAILBOX`."""
        async with self._db.read() as snap:
            found = await boxes.with_head(snap, account_no, mailbox_no)
            if found is None:
                raise unknown()
            mailbox, _, forgot = found
            if mailbox.modseq <= since:
                return MailboxChanges(mailbox, [], array("I"))
            rows = await placed.since(snap, account_no, mailbox_no, since)
            changed = [
                row.segment[at]
                for row in rows
                for at, modseq in enumerate(row.segment.modseqs)
                if modseq > since
            ]
            if since < forgot:
                return MailboxChanges(mailbox, changed, array("I"), whole=False)
            vanished = await placed.vanished(snap, account_no, mailbox_no, since)
            return MailboxChanges(mailbox, changed, vanished)

    async def account(self, account_no: int, since: int) -> AccountChanges:
        """In a whole account."""
        async with self._db.read() as snap:
            account = await boxes.account(snap, account_no)
            head = account.modseq if account is not None else 0
            if account is None or since > head or (since < account.forgot):
                return AccountChanges(head, False, [], [], [], [], [], [], [])
            every = await boxes.all_of(snap, account_no)
            destroyed_boxes = await boxes.gone_since(snap, account_no, since)
            created: dict[int, None] = {}
            updated: dict[int, None] = {}
            for _, segment in await placed.anywhere_since(snap, account_no, since):
                for at, modseq in enumerate(segment.modseqs):
                    if modseq > since:
                        no = segment.nos[at]
                        (created if segment.borns[at] > since else updated)[no] = None
            left = set(await placed.vanished_anywhere(snap, account_no, since))
            left -= created.keys()
            there = await messages.there(snap, account_no, list(left)) if left else set()
            for no in left & there:
                updated[no] = None
            destroyed = sorted(left - there)
        return AccountChanges(
            head,
            True,
            list(created),
            [no for no in updated if no not in created],
            destroyed,
            [one.mailbox_no for one in every if one.created > since],
            [one.mailbox_no for one in every if one.created <= since < one.changed],
            [
                one.mailbox_no
                for one in every
                if one.created <= since and one.changed <= since < one.modseq
            ],
            destroyed_boxes,
        )
