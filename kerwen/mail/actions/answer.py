"""Sends the answer of somebody who is away."""

# RFC 5230 §5; RFC 3834

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerwen.accounts.store import accounts
from kerwen.base.clock import Clock, now_ms
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.actions.report import Report
from kerwen.mail.sieve import vacation
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Reply
from kerwen.mail.sieve.vacation import Sending
from kerwen.storage.database import Database


class Answer:
    """`post` sends what the server itself says."""

    def __init__(
        self,
        db: Database,
        recipients: Recipients,
        report: Report,
        draw: Callable[[int], bytes],
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._recipients = recipients
        self._report = report
        self._draw = draw
        self._clock = clock

    async def run(self, account_no: int, mail: Mail, reply: Reply, own: Sequence[str]) -> bool:
        """Answers, if the message is one that may be answered; whether it did."""
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
        if account is None:
            return False
        domain = self._recipients.domain
        address = f"{account.localpart}@{domain}"
        if not vacation.may_answer(mail, (address, *own, *reply.addresses)):
            return False
        shown = f"<{address}>"
        told = vacation.author(reply.sender) if reply.sender else None
        if told is not None and await self._recipients.owns(account_no, account.localpart, told[0]):
            shown = told[1]
        mark = self._draw(12).hex()
        sending = Sending(
            sender=shown, to=mail.sender, message_id=f"{mark}@{domain}", at_ms=self._clock()
        )
        await self._report.post(vacation.build(mail, reply, sending), mail.sender, mark.encode())
        return True
