"""Delivers what is in the queue for our own domain: it never goes over the network."""

# RFC 5321 §3.9

from __future__ import annotations

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.queue import Addressee, Leased, Queue, Result, Verdict
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Recipients

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


def _refused(number: int, reason: Reason) -> Result:
    verdict, status = _STATUS.get(reason, (Verdict.DEFERRED, "4.3.0"))
    return Result(number, verdict, status, reason.value.replace("_", " "))
