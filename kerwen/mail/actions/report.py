"""Sends delivery reports: into the sender's mailbox here, or by the queue to elsewhere."""

# RFC 3461 §6, RFC 3464

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from kerwen.base.clock import Clock, now_ms
from kerwen.mail import dkim, dsn, message, trace
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Deliver, Recipient
from kerwen.mail.actions.queue import Addressee, Envelope, Queue, Told
from kerwen.mail.actions.recipients import Found
from kerwen.mail.dkim_keys import SigningKey


class Finds(Protocol):
    """The part of `Recipients` that reports use."""

    async def find(self, address: str) -> Found:
        """Who gets the mail of an address."""

    def is_local(self, address: str) -> bool:
        """Whether an address is of our domain."""


class Report:
    """Builds and sends reports; each key once."""

    def __init__(
        self,
        host: str,
        recipients: Finds,
        deliver: Deliver,
        queue: Queue,
        draw: Callable[[int], bytes],
        clock: Clock = now_ms,
    ) -> None:
        self._host = host
        self._recipients = recipients
        self._deliver = deliver
        self._queue = queue
        self._draw = draw
        self._clock = clock
        self.keys: Callable[[], Awaitable[Sequence[SigningKey]]] | None = None
        """The keys that sign reports to elsewhere."""
        self.unsaid = 0
        """Reports that were not sent, since nobody had proved who the sender elsewhere is."""

    async def send(self, told: Told) -> None:
        """When this returns, the report is durable. A report about a report is never sent."""
        sender = told.envelope.sender
        if not sender:
            return
        if not self._recipients.is_local(sender) and not told.envelope.proved:
            # who forges a sender must not make us write to it (backscatter)
            self.unsaid += 1
            return
        await self.post(self._build(told), sender, b"report " + told.key)

    async def post(self, raw: bytes, to: str, key: bytes) -> None:
        """Sends what the server itself writes, and of which it is told nothing; once a key to
        accounts here. `UNKNOWN_RECIPIENT` where nobody here has this address."""
        if not self._recipients.is_local(to):
            never = frozenset({"NEVER"})
            raw = await self.signed(raw)
            envelope = Envelope("", eight_bit=not raw.isascii(), utf8=not to.isascii())
            await self._queue.enqueue(envelope, [Addressee(to, never)], raw)
            return
        found = await self._recipients.find(to)
        accounts = [Recipient(account_no) for account_no, _ in found.accounts]
        if accounts:
            made = await sealing.made(trace.return_path("") + raw)
            await self._deliver.run(made, accounts, key=key)

    async def signed(self, raw: bytes) -> bytes:
        """With our domain's signature, where there are keys: others ask for it (DMARC)."""
        if self.keys is None:
            return raw
        end = raw.index(b"\r\n\r\n") + 2
        keys = await self.keys()
        now_s = self._clock() // 1000
        return await asyncio.to_thread(dkim.sign, raw[:end], raw[end + 2 :], keys, now_s) + raw

    def _build(self, told: Told) -> bytes:
        mark = self._draw(12).hex()
        root = message.scan(told.message)
        return dsn.build(
            dsn.Report(
                host=self._host,
                postmaster=f"postmaster@{self._host}",
                sender=told.envelope.sender,
                outcomes=told.outcomes,
                at_ms=self._clock(),
                arrived_ms=told.arrived_ms,
                message_id=f"{mark}@{self._host}",
                boundary=f"report-{mark}",
                envelope_id=told.envelope.envelope_id,
                header=told.message[: root.body],
                message=told.message if told.envelope.return_full else None,
            )
        )
