"""The queue of outgoing mail: durable before it is acknowledged, sealed while it waits, handed out
by destination, and settled so that a sender hears of every failure exactly once.
"""

# RFC 5321 §4.5.4; RFC 3461; design.md §5

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail import retry
from kerwen.mail.dsn import Action, Outcome
from kerwen.mail.store import messages
from kerwen.mail.store import queue as store
from kerwen.mail.store.queue import Queued, Waiting
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Tx, retrying

_log = logging.getLogger("kerwen.mail.queue")

ROW_MAX: Final = 64 * limits.KIB
LEASE_MS: Final = 15 * 60_000
AT_ONCE_PER_DESTINATION: Final = 8
RECIPIENTS_AT_ONCE: Final = 100
_DAMAGED: Final = "(damaged)"
_EVERY: Final = frozenset({"FAILURE", "DELAY"})


class Addressee(msgspec.Struct, frozen=True, array_like=True):
    """A recipient elsewhere. `notify`: NEVER, or some of SUCCESS, FAILURE, DELAY (RFC 3461)."""

    address: str
    notify: frozenset[str] = _EVERY
    original: str | None = None  # ORCPT


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """The envelope of a message on its way out. An empty sender is never told anything."""

    sender: str
    envelope_id: str | None = None  # ENVID
    return_full: bool = False  # RET=FULL
    utf8: bool = False  # SMTPUTF8 is needed
    eight_bit: bool = False  # BODY=8BITMIME
    require_tls: bool = False  # RFC 8689
    account_no: int = 0
    proved: bool = False  # that a sender elsewhere is who it says (SPF): only then it is told


class _Address(msgspec.Struct, array_like=True):
    """What is sealed of a recipient."""

    to: Addressee
    host: str | None = None  # who answered last
    answer: str | None = None
    status: str = "4.0.0"


class Leased(msgspec.Struct, frozen=True):
    """Recipients of one message at one destination, for whoever took them."""

    queue_no: int
    domain: str
    envelope: Envelope
    recipients: dict[int, Addressee]  # by recipient number
    tries: int  # the most that any of them had
    created_ms: int
    destination: int
    size: int = 0


class Verdict(enum.Enum):
    """What became of a recipient."""

    DELIVERED = "delivered"  # accepted by a server that reports itself (RFC 3461)
    RELAYED = "relayed"  # accepted by one that does not
    ARRIVED = "arrived"  # it is in a mailbox here
    DEFERRED = "deferred"
    FAILED = "failed"


class Result(msgspec.Struct, frozen=True):
    """A verdict, with what the other side said."""

    recipient_no: int
    verdict: Verdict
    status: str = "2.0.0"
    answer: str | None = None
    host: str | None = None


class Told(msgspec.Struct, frozen=True):
    """What a sender must be told. `key` is the same when it is told again after a crash."""

    key: bytes
    envelope: Envelope
    arrived_ms: int
    outcomes: tuple[Outcome, ...]
    message: bytes


class Listed(msgspec.Struct, frozen=True):
    """A queued message as the command line shows it."""

    queue_no: int
    account_no: int
    created_ms: int
    size: int
    sender: str
    recipients: tuple[tuple[str, int, int, str], ...]  # address, tries, due (0: held), last answer


Tell = Callable[[Told], Awaitable[None]]
"""Sends a report; when it returns, the report is durable."""


class Queue:
    """Puts in, hands out, settles. `chance` gives a number from 0 to 1."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        key: QueueKey,
        tags: Tags,
        chance: Callable[[], float],
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._key = key
        self._tags = tags
        self._chance = chance
        self._clock = clock
        self.tell: Tell | None = None
        self.asked_again: Callable[[], None] = lambda: None
        """Called when somebody wants messages to be tried now."""
        self.news = asyncio.Event()
        """Set when something became due; the sender clears it before it asks."""

    async def enqueue(
        self,
        envelope: Envelope,
        recipients: Sequence[Addressee],
        raw: bytes,
        *,
        due_ms: int = 0,
        also: Callable[[Tx, int], Awaitable[None]] | None = None,
    ) -> int:
        """Takes a message over: when this returns it is on disk. Its number in the queue.

        `due_ms`: nobody tries before. `also` is done in the same transaction, with the number.
        """
        assert recipients
        queue_no = await self._db.take_id("mail_queue")
        first = await self._db.take_id("mail_queue_recipient", len(recipients))
        if len(raw) > limits.MIB:
            box = await asyncio.to_thread(self._key.seal, queue_no, "body", raw)
        else:
            box = self._key.seal(queue_no, "body", raw)
        blob = (await self._blobs.put_bytes(box)).key if len(box) > ROW_MAX else None
        now = max(self._clock(), due_ms)
        queued = Queued(
            queue_no,
            envelope.account_no,
            now,
            now + retry.LIFE_MS,
            len(raw),
            len(recipients),
            blob,
            self._key.seal(queue_no, "head", msgspec.msgpack.encode(envelope)),
            None if blob else box,
        )
        rows = [
            self._row(queue_no, first + at, now, _Address(one)) for at, one in enumerate(recipients)
        ]

        async def write() -> None:
            async with self._db.write() as tx:
                if blob is not None:
                    await messages.add_blob(tx, blob, 0, 1)
                await store.add(tx, queued, rows)
                if also is not None:
                    await also(tx, queue_no)

        try:
            await retrying(write)
        except BaseException:
            if blob is not None:
                await self._blobs.delete([blob])
            raise
        self.news.set()
        return queue_no

    def _row(self, queue_no: int, recipient_no: int, due_ms: int, address: _Address) -> Waiting:
        return Waiting(
            recipient_no,
            queue_no,
            self.destination(_domain(address.to.address)),
            due_ms,
            0,
            0,
            0,
            self._sealed(queue_no, recipient_no, address),
            0,
        )

    def destination(self, domain: str) -> int:
        """The keyed tag that stands for a domain."""
        return self._tags.tag(0, b"destination", domain.lower().encode())

    def _sealed(self, queue_no: int, recipient_no: int, address: _Address) -> bytes:
        plain = msgspec.msgpack.encode(address)
        return self._key.seal(queue_no, f"recipient {recipient_no}", plain)

    def _address(self, one: Waiting) -> _Address:
        plain = self._key.open(one.queue_no, f"recipient {one.recipient_no}", one.address)
        return msgspec.msgpack.decode(plain, type=_Address)

    def _envelope(self, queued: Queued) -> Envelope:
        plain = self._key.open(queued.queue_no, "head", queued.head)
        return msgspec.msgpack.decode(plain, type=Envelope)

    # --- handing out

    async def begin(self) -> int:
        """Ends the leases of a process that is no more; only where no other process sends."""

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.end_leases(tx)

        return await retrying(write)

    async def lease(self) -> Leased | None:
        """The message that has waited longest for a destination that is not busy; None: nothing
        is due. Settle it within `LEASE_MS`, or `renew`. A damaged one is set aside."""
        while True:
            found = await retrying(self._lease)
            if found is None:
                return None
            queued, rows = found
            try:
                return self._leased(queued, rows)
            except Refused:
                _log.error("a queued message is damaged; held", extra={"queue": queued.queue_no})
                await self.hold(queued.queue_no)

    async def _lease(self) -> tuple[Queued, list[Waiting]] | None:
        now = self._clock()
        due = await self.next_due_ms()
        if due is None or due > now:
            return None
        async with self._db.write() as tx:
            busy = {
                to
                for to, count in (await store.leased(tx, now)).items()
                if count >= AT_ONCE_PER_DESTINATION
            }
            found = await store.due(tx, now, busy)
            if found is None:
                return None
            rows = await store.take(tx, *found, now, now + LEASE_MS, RECIPIENTS_AT_ONCE)
            queued = await store.get(tx, found[0])
        return (queued, rows) if rows and queued is not None else None

    def _leased(self, queued: Queued, rows: Sequence[Waiting]) -> Leased:
        recipients = {one.recipient_no: self._address(one).to for one in rows}
        return Leased(
            queued.queue_no,
            _domain(next(iter(recipients.values())).address),
            self._envelope(queued),
            recipients,
            max(one.tries for one in rows),
            queued.created_ms,
            rows[0].destination,
            queued.size,
        )

    async def renew(self, leased: Leased) -> None:
        """Keeps a lease for another `LEASE_MS`."""

        async def write() -> None:
            async with self._db.write() as tx:
                await store.renew(tx, leased.recipients, self._clock() + LEASE_MS)

        await retrying(write)

    async def message(self, queue_no: int) -> bytes:
        """The bytes of a message. Says `NOT_FOUND`, `BOX_DAMAGED`."""
        async with self._db.read(single=True) as snap:
            queued = await store.get(snap, queue_no)
        if queued is None:
            raise Refused(Reason.NOT_FOUND, "There is no such message in the queue")
        return await self._body(queued)

    async def _body(self, queued: Queued) -> bytes:
        if queued.blob is None:
            return self._key.open(queued.queue_no, "body", queued.body or b"")
        # nonce, tag and form around the message
        box = await self._blobs.get(queued.blob, 0, queued.size + 1 + 12 + 16)
        return await asyncio.to_thread(self._key.open, queued.queue_no, "body", box)

    async def next_due_ms(self) -> int | None:
        """When to ask again, if nothing comes in before; None: the queue is empty."""
        now = self._clock()
        async with self._db.read(single=True) as snap:
            return await store.next_due_ms(snap, now)

    # --- settling

    async def settle(self, leased: Leased, results: Sequence[Result]) -> None:
        """Writes down what became of recipients; those of the lease without a result are due
        again at once. Who must be told is told first, under a key that tells them once.
        """
        now = self._clock()
        async with self._db.read() as snap:
            queued = await store.get(snap, leased.queue_no)
            rows = {one.recipient_no: one for one in await store.recipients(snap, leased.queue_no)}
        if queued is None:
            return  # dropped meanwhile
        plan = _Plan(self, queued, leased, now)
        for result in results:
            row = rows.get(result.recipient_no)
            if row is not None:
                plan.add(row, self._address(row), result)
        await self._tell(queued, leased.envelope, plan)
        left = [rows[no] for no in leased.recipients if no in rows and no not in plan.seen]
        blob = await retrying(lambda: self._write(queued.queue_no, plan, left))
        if blob:
            await self._blobs.delete([blob])
        self.news.set()

    async def _write(self, queue_no: int, plan: _Plan, left: Sequence[Waiting]) -> str | None:
        async with self._db.write() as tx:
            queued = await store.lock(tx, queue_no)
            if queued is None:
                return None
            if plan.deferred:
                await store.defer(tx, plan.deferred)
            if left:
                await store.renew(tx, [one.recipient_no for one in left], 0)
            if plan.done and await store.settle(tx, queued, plan.done):
                return await self._drop_blob(tx, queued)
        return None

    async def _drop_blob(self, tx: Tx, queued: Queued) -> str | None:
        if queued.blob is not None:
            await messages.drop_blobs(tx, [queued.blob])
        return queued.blob

    async def _tell(self, queued: Queued, envelope: Envelope, plan: _Plan) -> None:
        if self.tell is None or not plan.told or not envelope.sender:
            return
        try:
            raw = await self._body(queued)
        except Refused:
            raw = b""  # damaged: its sender is told without it
        nos = ",".join(str(no) for no, _ in plan.told)
        kinds = ",".join(outcome.action.value for _, outcome in plan.told)
        key = f"{queued.queue_no} {nos} {kinds}".encode()
        outcomes = tuple(outcome for _, outcome in plan.told)
        await self.tell(Told(key, envelope, queued.created_ms, outcomes, raw))

    def sealed_again(self, row: Waiting, address: _Address) -> bytes:
        """A recipient's box with another answer in it."""
        return self._sealed(row.queue_no, row.recipient_no, address)

    def draw(self) -> float:
        """A number from 0 to 1, for one settlement: what failed together is tried together."""
        return self._chance()

    # --- the command line

    async def listing(self, after: int = 0, most: int = 100) -> list[Listed]:
        """Messages by their numbers, after a number."""
        found = []
        async with self._db.read() as snap:
            for queued in await store.page(snap, after, most):
                rows = await store.recipients(snap, queued.queue_no)
                found.append((queued, rows))
        return [self._listed(queued, rows) for queued, rows in found]

    def _listed(self, queued: Queued, rows: Sequence[Waiting]) -> Listed:
        told = []
        try:
            sender = self._envelope(queued).sender
            for one in rows:
                address = self._address(one)
                due_ms = 0 if one.due_ms >= store.HELD else one.due_ms
                told.append((address.to.address, one.tries, due_ms, address.answer or ""))
        except Refused:
            sender = _DAMAGED
        return Listed(
            queued.queue_no,
            queued.account_no,
            queued.created_ms,
            queued.size,
            sender,
            tuple(told),
        )

    async def retry(self, queue_no: int | None = None) -> int:
        """Makes a message due now, or all that nobody holds; how many recipients that are.
        Says `NOT_FOUND`."""

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.soon(tx, self._clock(), queue_no)

        self.asked_again()
        count = await retrying(write)
        if queue_no is not None and not count:
            raise Refused(Reason.NOT_FOUND, "There is no such message in the queue")
        self.news.set()
        return count

    async def hold(self, queue_no: int) -> int:
        """Lets a message wait until `retry` names it. Says `NOT_FOUND`."""

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.hold(tx, queue_no)

        count = await retrying(write)
        if not count:
            raise Refused(Reason.NOT_FOUND, "There is no such message in the queue")
        return count

    async def drop(self, queue_no: int) -> None:
        """Removes a message; nobody is told. Says `NOT_FOUND`."""

        async def write() -> str | None:
            async with self._db.write() as tx:
                queued = await store.lock(tx, queue_no)
                if queued is None:
                    raise Refused(Reason.NOT_FOUND, "There is no such message in the queue")
                await store.drop(tx, queue_no)
                return await self._drop_blob(tx, queued)

        blob = await retrying(write)
        if blob:
            await self._blobs.delete([blob])

    async def withdraw(self, tx: Tx, queue_no: int) -> tuple[bool, str | None]:
        """Takes a message back that nobody tried to send yet; whether it was so, and the blob to
        `forget` after commit."""
        queued = await store.lock(tx, queue_no)
        if queued is None:
            return False, None
        rows = await store.recipients(tx, queue_no)
        if len(rows) < queued.left_over or any(one.tries or one.lease for one in rows):
            return False, None
        await store.drop(tx, queue_no)
        return True, await self._drop_blob(tx, queued)

    async def forget(self, blob: str | None) -> None:
        """Removes the blob of a message that was withdrawn."""
        if blob:
            await self._blobs.delete([blob])

    async def totals(self) -> tuple[int, int, int | None]:
        """How many messages wait, their bytes, and when the oldest came."""
        async with self._db.read(single=True) as snap:
            return await store.totals(snap)


class _Plan:
    """What a settlement writes, and whom it tells."""

    def __init__(self, queue: Queue, queued: Queued, leased: Leased, now: int) -> None:
        self._queue = queue
        self._queued = queued
        self._now = now
        self._chance = queue.draw()
        self.seen: set[int] = set()
        self.done: list[int] = []
        self.deferred: list[Waiting] = []
        self.told: list[tuple[int, Outcome]] = []

    def add(self, row: Waiting, address: _Address, result: Result) -> None:
        """One recipient's result."""
        self.seen.add(row.recipient_no)
        notify = address.to.notify
        if result.verdict is Verdict.DEFERRED:
            due = self._due_ms(row, notify)
            if due is not None:
                self._defer(row, address, result, due)
                return
        self.done.append(row.recipient_no)
        if result.verdict is Verdict.DELIVERED:
            return  # whoever took it over reports it
        if result.verdict is Verdict.RELAYED:
            if "SUCCESS" in notify:
                self._tell(row, address, result, Action.RELAYED)
        elif result.verdict is Verdict.ARRIVED:
            if "SUCCESS" in notify:
                self._tell(row, address, result, Action.DELIVERED)
        elif "NEVER" not in notify and "FAILURE" in notify:
            self._tell(row, address, result, Action.FAILED)

    def _due_ms(self, row: Waiting, notify: frozenset[str]) -> int | None:
        """The next attempt; one of them is made when the sender is to be told of the delay."""
        created = self._queued.created_ms
        due = retry.next_attempt_ms(created, self._now, row.tries + 1, self._chance)
        if due is None or row.delayed or "DELAY" not in notify:
            return due
        moment = retry.delayed_report_ms(created, self._now + 1)
        return due if moment is None else min(due, moment)

    def _defer(self, row: Waiting, address: _Address, result: Result, due: int) -> None:
        late = self._now - self._queued.created_ms >= retry.DELAYED_AFTER_MS
        if late and not row.delayed and "DELAY" in address.to.notify:
            self._tell(row, address, result, Action.DELAYED)
            row.delayed = 1
        row.due_ms = due
        row.last_ms = self._now
        address.host, address.answer, address.status = result.host, result.answer, result.status
        row.address = self._queue.sealed_again(row, address)
        self.deferred.append(row)

    def _tell(self, row: Waiting, address: _Address, result: Result, action: Action) -> None:
        status = result.status
        if action is Action.FAILED and status.startswith("4"):
            status = "5.4.7" if status == "4.4.7" else f"5{status[1:]}"
        self.told.append(
            (
                row.recipient_no,
                Outcome(
                    recipient=address.to.address,
                    action=action,
                    status=status,
                    original=address.to.original,
                    host=result.host,
                    answer=result.answer,
                    attempted_ms=self._now,
                    until_ms=self._queued.expires_ms,
                ),
            )
        )


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
