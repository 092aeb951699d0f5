"""Takes a message in for the recipients of an envelope: accounts here, and addresses elsewhere to
which it was sent or to which aliases lead.
"""

# RFC 5321 §3.9, §4.5.1

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import trace
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Deliver, Delivered, Recipient, Target
from kerwen.mail.actions.queue import Addressee, Envelope, Queue
from kerwen.mail.actions.recipients import Found, Recipients
from kerwen.mail.store import mailboxes as boxes
from kerwen.storage.database import Database

_INBOX: Final = (Target(),)


class Receive:
    """What SMTP's RCPT and DATA come to. `quota`: bytes, if nothing else is set."""

    def __init__(
        self,
        db: Database,
        recipients: Recipients,
        deliver: Deliver,
        queue: Queue,
        quota: int = limits.MAIL_QUOTA,
    ) -> None:
        self._db = db
        self._recipients = recipients
        self._deliver = deliver
        self._queue = queue
        self._quota = quota

    def is_local(self, address: str) -> bool:
        """Whether an address is of our domain."""
        return self._recipients.is_local(address)

    async def recipient(self, address: str, size: int = 0) -> Found:
        """Who gets the mail of an address, asked at RCPT; `size` as MAIL announced it.

        `Refused`: UNKNOWN_RECIPIENT; MAILBOX_FULL where nobody would have room.
        """
        async with self._db.read() as snap:
            found = await self._recipients.look(snap, address)
            if found.elsewhere:
                return found
            for account_no, _ in found.accounts:
                account = await boxes.account(snap, account_no)
                if account is None:
                    return found
                quota = self._quota if account.quota is None else account.quota
                if account.used + size <= quota and account.used < quota:
                    return found
        raise Refused(Reason.MAILBOX_FULL, "The mailbox is full")

    async def run(
        self,
        envelope: Envelope,
        found: Sequence[Found],
        pieces: Sequence[bytes | memoryview],
        *,
        here: bytes = b"",
        onward: bytes = b"",
        addressees: Sequence[Addressee] = (),
        targets: Mapping[int, tuple[Target, ...]] | None = None,
        date_s: int | None = None,
        mark: bytes = b"",
    ) -> list[Delivered]:
        """Delivers to all accounts once each, and queues for elsewhere; durable on return.

        `pieces` make the message; the first holds the fields that we put before what came. Here
        it gets a Return-Path and the fields `here`; what goes on elsewhere gets the fields
        `onward`, and goes to `addressees` and to whom aliases name. Where it goes elsewhere too,
        the same bytes (and `mark`) of the same sender are delivered here once in a week: should
        the queue fail, the sender repeats all of it. `targets`: where it goes in an account, if
        not to INBOX.
        """
        accounts = dict.fromkeys(no for one in found for no, _ in one.accounts)
        elsewhere = {one.address: one for one in addressees}
        for address in (address for one in found for address in one.elsewhere):
            elsewhere.setdefault(address, Addressee(address))
        key = None
        if elsewhere and accounts:
            digest = hashlib.blake2b(envelope.sender.encode(errors="replace"), digest_size=16)
            digest.update(mark)
            for piece in pieces[1:]:
                digest.update(piece)
            key = digest.digest()
        told: list[Delivered] = []
        if accounts:
            to = [Recipient(no, (targets or {}).get(no, _INBOX)) for no in accounts]
            whole = b"".join((trace.return_path(envelope.sender), here, *pieces))
            made = await sealing.made(whole)
            told = await self._deliver.run(made, to, key=key, date_s=date_s)
        if elsewhere:
            whole = b"".join((onward, *pieces))
            await self._queue.enqueue(envelope, list(elsewhere.values()), whole)
        return told
