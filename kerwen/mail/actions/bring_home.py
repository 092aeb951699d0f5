"""Delivers what is in the queue for our own domain: it never goes over the network."""

# RFC 5321 §3.9

from __future__ import annotations

from kerwen.base.errors import Reason, Refused
from kerwen.mail import fields, submission
from kerwen.mail.actions.arrive import House
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.actions.queue import Addressee, Envelope, Leased, Queue, Result, Verdict
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Found, Recipients
from kerwen.mail.letter import NO_WISHES

_STATUS = {
    Reason.UNKNOWN_RECIPIENT: (Verdict.FAILED, "5.1.1"),
    Reason.MAILBOX_FULL: (Verdict.DEFERRED, "4.2.2"),
    Reason.MAIL_POLICY: (Verdict.FAILED, "5.7.1"),  # a script of its owner refuses it
    Reason.VAULT_CLOSED: (Verdict.DEFERRED, "4.2.1"),  # it waits for the first log-in
}


class BringHome:
    """Delivers to accounts here; what their aliases name elsewhere is queued anew."""

    def __init__(self, recipients: Recipients, receive: Receive, queue: Queue) -> None:
        self._recipients = recipients
        self._receive = receive
        self._queue = queue
        self.house: House | None = None
        """Takes what is for the house itself: what was scheduled, or sent on by a script."""

    def is_home(self, domain: str) -> bool:
        """Whether a domain is ours."""
        return self._recipients.is_local(f"@{domain}")

    async def run(self, leased: Leased, raw: bytes) -> list[Result]:
        """Every recipient of the lease gets a result. A repetition after a crash delivers nothing
        twice to an account."""
        return [
            await self._one(leased, number, to, raw) for number, to in leased.recipients.items()
        ]

    async def _one(self, leased: Leased, number: int, to: Addressee, raw: bytes) -> Result:
        try:
            found = await self._recipients.find(to.address)
            if found.house and self.house is not None:
                await self._to_house(self.house, leased.envelope, to.address, found, raw)
        except Refused as refusal:
            return _refused(number, refusal.reason)
        accounts = [account_no for account_no, _ in found.accounts]
        worst: Reason | None = None
        if accounts:
            key = f"queue {leased.queue_no} {number}".encode()
            at_home = self._receive.at_home
            for one in await at_home(leased.envelope, accounts, to.address, raw, key):
                worst = worst or one.refused
        if worst is not None:
            return _refused(number, worst)
        if found.elsewhere:
            onward = [Addressee(address) for address in found.elsewhere]
            await self._queue.enqueue(leased.envelope, onward, raw)
        return Result(number, Verdict.ARRIVED, "2.1.5")

    async def _to_house(
        self, house: House, envelope: Envelope, address: str, found: Found, raw: bytes
    ) -> None:
        author = await self._is_author_proved(envelope.account_no, raw)
        accepted = [Accepted(address, found, NO_WISHES)]
        await house.take(accepted, raw, envelope.sender, envelope.proved or author, author)

    async def _is_author_proved(self, account_no: int, raw: bytes) -> bool:
        """Whether it was written by whom it is from: one of us, who scheduled it. What a script
        sent on (it has a Delivered-To) may be anybody's."""
        header = raw[: submission.header_end(raw)]
        authors = submission.authors(header)
        if not account_no or not authors or b"delivered-to" in fields.read(header):
            return False
        for author in authors:
            try:
                own = self._recipients.is_local(author) and await self._recipients.find(author)
            except Refused:
                return False
            if not own or account_no not in {no for no, _ in own.accounts}:
                return False
        return True


def _refused(number: int, reason: Reason) -> Result:
    verdict, status = _STATUS.get(reason, (Verdict.DEFERRED, "4.3.0"))
    return Result(number, verdict, status, reason.value.replace("_", " "))
