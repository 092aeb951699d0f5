"""What changed in a mailbox since a MODSEQ: for CONDSTORE and QRESYNC. For JMAP:
kerwen/mail/actions/email_changes.py.

Everything is read from one snapshot, with the head in it; so whoever asks again with that head
misses nothing.
"""

# RFC 7162 §3.1, §3.2; feed.md §8

from __future__ import annotations

from array import array

import msgspec

from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed
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
