"""Sends Emails by JMAP, now or at a time, and remembers it: what waits can be taken back.

A message that is to leave later stands in the queue, signed and sealed, and is due at its time;
its submission is written in the same transaction. So it leaves once, whatever stops in between.
"""

# RFC 8621 §7; RFC 4865 (FUTURERELEASE)

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import ensure
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.actions.queue import Queue
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import EpochKeys, hand
from kerwen.mail.actions.submit import Submit, Writer
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.letter import NO_WISHES, Letter, Peer
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import submissions as store
from kerwen.mail.store.submissions import Status, Submission
from kerwen.storage.database import Database, Kind, Snap, Tx, retrying
from kerwen.vault.seal import Belonging

log = logging.getLogger(__name__)
_KIND: Final = "mail submission"
_AT_ONCE: Final = 100
_LOOK_S: Final = 60.0
_PEER: Final = Peer(address="", helo="", tls="")


class Sending(msgspec.Struct, frozen=True):
    """What is to be sent. `due_ms` 0: now. `facts` are JSON that is kept with it."""

    letter: Letter
    recipients: Sequence[str]
    raw: bytes
    due_ms: int
    facts: dict[str, Any]


class Told(msgspec.Struct, frozen=True):
    """A submission with what was kept of it (None: it does not open)."""

    row: Submission
    facts: dict[str, Any] | None


class Submissions:
    """EmailSubmission: create, list, take back."""

    def __init__(
        self,
        db: Database,
        submit: Submit,
        queue: Queue,
        records: Records,
        keys: EpochKeys,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._submit = submit
        self._queue = queue
        self._records = records
        self._keys = keys
        self._clock = clock
        self._news = asyncio.Event()

    async def accepted(
        self, recipients: Sequence[str], size: int
    ) -> tuple[list[Accepted], list[str]]:
        """The recipients, and those to whom nobody delivers."""
        good: list[Accepted] = []
        bad: list[str] = []
        for address in recipients:
            try:
                good.append(await self._submit.recipient(address, NO_WISHES, size))
            except Refused:
                bad.append(address)
        return good, bad

    async def send(
        self, writer: Writer, sending: Sending, accepted: Sequence[Accepted]
    ) -> Submission:
        """Sends it, or lets it wait. `Refused`: SENDER_NOT_YOURS, MALFORMED_MESSAGE, OVER_QUOTA
        (too many wait), and what deliveries refuse."""
        await self._submit.check_sender(writer, sending.letter.sender)
        account_no, now = writer.account_no, self._clock()
        no = await self._db.take_id("mail_submission")
        facts = {
            **sending.facts,
            "here": [bool(one.found.accounts) and not one.found.elsewhere for one in accepted],
        }
        with hand(await self._keys.of(account_no), 1) as epoch:
            box = epoch.seal(Belonging(account_no, no, _KIND), orjson.dumps(facts))
        made = Submission(no, 0, 0, 0, Status.FINAL, now, 0, box)
        if sending.due_ms <= now:
            await self._submit.run(writer, _PEER, sending.letter, accepted, sending.raw)

            async def write() -> None:
                async with self._db.write() as tx:
                    await self._add(tx, account_no, made)

            await retrying(write)
            return made
        made.status, made.send_ms = Status.PENDING, sending.due_ms

        async def also(tx: Tx, queue_no: int) -> None:
            made.queue_no = queue_no
            await self._add(tx, account_no, made)

        await self._submit.later(
            writer, _PEER, sending.letter, accepted, sending.raw, sending.due_ms, also
        )
        self._news.set()
        return made

    async def _add(self, tx: Tx, account_no: int, made: Submission) -> None:
        account = await ensure(tx, account_no, self._clock() // 1000)
        if made.status == Status.PENDING:
            waiting = await store.waiting(tx, account_no)
            if waiting >= limits.JMAP_SCHEDULED_MAX:
                raise Refused(Reason.OVER_QUOTA, "Too many messages wait to be sent")
        made.created = made.changed = account.next_modseq()
        await store.put(tx, account_no, made)
        await boxes.save(tx, account)
        tx.change(Kind.MAIL, account_no, account.modseq)

    async def cancel(self, account_no: int, submission_no: int) -> None:
        """Takes a message back. `Refused`: NOT_FOUND; CONFLICT where it is too late."""
        blob: list[str | None] = []

        async def write() -> None:
            blob.clear()
            async with self._db.write() as tx:
                account = await ensure(tx, account_no, self._clock() // 1000)
                found = await store.get(tx, account_no, submission_no)
                if found is None:
                    raise Refused(Reason.NOT_FOUND, "There is no such submission")
                if found.status == Status.CANCELED:
                    return
                done, freed = False, None
                if found.status == Status.PENDING:
                    done, freed = await self._queue.withdraw(tx, found.queue_no)
                if not done:
                    raise Refused(Reason.CONFLICT, "It is sent already")
                blob.append(freed)
                found.status = Status.CANCELED
                found.changed = account.next_modseq()
                await store.put(tx, account_no, found)
                await boxes.save(tx, account)
                tx.change(Kind.MAIL, account_no, account.modseq)

        await retrying(write)
        for one in blob:
            await self._queue.forget(one)

    async def destroy(self, account_no: int, submission_no: int) -> None:
        """Forgets a submission; what waits is sent all the same. Says `NOT_FOUND`."""

        async def write() -> None:
            async with self._db.write() as tx:
                now_s = self._clock() // 1000
                account = await ensure(tx, account_no, now_s)
                found = await store.get(tx, account_no, submission_no)
                if found is None:
                    raise Refused(Reason.NOT_FOUND, "There is no such submission")
                found.gone, found.box, found.status = now_s, None, max(found.status, Status.FINAL)
                found.changed = account.next_modseq()
                await store.put(tx, account_no, found)
                await boxes.save(tx, account)
                tx.change(Kind.MAIL, account_no, account.modseq)

        await retrying(write)

    async def all_of(self, unlocked: Unlocked) -> tuple[int, list[Told]]:
        """The newest MODSEQ, and all that are there."""
        async with self._db.read() as snap:
            head = await store.head(snap, unlocked.account_no)
            rows = await store.all_of(snap, unlocked.account_no)
            return head, [Told(row, await self._facts(snap, unlocked, row)) for row in rows]

    async def changes(self, account_no: int, since: int) -> tuple[int, list[Submission]] | None:
        """The newest MODSEQ, and what changed after one; None: it is not known."""
        async with self._db.read() as snap:
            head = await store.head(snap, account_no)
            if since > head:
                return None
            return head, await store.since(snap, account_no, since)

    async def _facts(
        self, snap: Snap, unlocked: Unlocked, row: Submission
    ) -> dict[str, Any] | None:
        try:
            plain = await self._records.open(
                snap, unlocked, row.submission_no, _KIND, row.box or b""
            )
            facts: dict[str, Any] = orjson.loads(plain)
        except Refused as refusal:
            log.warning("a submission is damaged", extra=refusal.private)
            return None
        return facts

    # --- the worker: what was sent can no longer be taken back, and clients are told

    async def work(self) -> None:
        """Follows the clock."""
        while True:
            self._news.clear()
            await self.settle()
            async with self._db.read(single=True) as snap:
                following = await store.next_ms(snap)
            wait_s = _LOOK_S
            if following is not None:
                wait_s = min(max((following - self._clock()) / 1000, 0.05), _LOOK_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def settle(self) -> int:
        """Marks as final whose time has come; how many."""
        async with self._db.read() as snap:
            due = await store.due(snap, self._clock(), _AT_ONCE)
        for account_no, submission_no in due:

            async def write(account_no: int = account_no, no: int = submission_no) -> None:
                async with self._db.write() as tx:
                    account = await ensure(tx, account_no, self._clock() // 1000)
                    found = await store.get(tx, account_no, no)
                    if found is None or found.status != Status.PENDING:
                        return
                    found.status = Status.FINAL
                    found.changed = account.next_modseq()
                    await store.put(tx, account_no, found)
                    await boxes.save(tx, account)
                    tx.change(Kind.MAIL, account_no, account.modseq)

            await retrying(write)
        return len(due)
