"""Takes a message in for the recipients of an envelope: accounts here, and addresses elsewhere to
which it was sent or to which aliases lead.
"""

# RFC 5321 §3.9, §4.5.1

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail import submission, trace
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Deliver, Delivered, Recipient, Target
from kerwen.mail.actions.filter import Came, Filter, Plan
from kerwen.mail.actions.queue import Addressee, Envelope, Queue
from kerwen.mail.actions.recipients import Found, Recipients
from kerwen.mail.store import mailboxes as boxes
from kerwen.storage.database import Database, Snap, Tx

_INBOX: Final = (Target(),)
_OPENED_IN_MS: Final = 3_600_000  # who knows when somebody logs in for the first time


class Sealers(Protocol):
    """The part of `kerwen.vault.actions.delivery_keys.DeliveryKeys` that is asked at RCPT."""

    async def can_seal(self, snap: Snap, account_no: int) -> bool:
        """Whether an account has a vault."""


class Receive:
    """What SMTP's RCPT and DATA come to. `quota`: bytes, if nothing else is set."""

    def __init__(
        self,
        db: Database,
        recipients: Recipients,
        deliver: Deliver,
        queue: Queue,
        delivery_keys: Sealers,
        quota: int = limits.MAIL_QUOTA,
    ) -> None:
        self._db = db
        self._recipients = recipients
        self._deliver = deliver
        self._queue = queue
        self._keys = delivery_keys
        self._quota = quota
        self.filter: Filter | None = None
        """Runs the scripts of accounts that have some."""

    def is_local(self, address: str) -> bool:
        """Whether an address is of our domain."""
        return self._recipients.is_local(address)

    async def recipient(self, address: str, size: int = 0, *, ours: bool = False) -> Found:
        """Who gets the mail of an address, asked at RCPT; `size` as MAIL announced it.

        An imported account has no vault before its first log-in, so nothing can be sealed for it.
        What others send it stays with them (`Unavailable`: NOT_YET_OPENED); what one of us sends
        (`ours`), and its copy of what a group gets, waits in our queue.

        `Refused`: UNKNOWN_RECIPIENT; MAILBOX_FULL where nobody would have room.
        """
        async with self._db.read() as snap:
            found = await self._recipients.look(snap, address)
            shut = [no for no, _ in found.accounts if not await self._keys.can_seal(snap, no)]
            if shut:
                return await self._waiting(snap, address, found, shut, ours=ours)
            if found.elsewhere or found.house:
                return found
            for account_no, _ in found.accounts:
                account = await boxes.account(snap, account_no)
                if account is None:
                    return found
                quota = self._quota if account.quota is None else account.quota
                if account.used + size <= quota and account.used < quota:
                    return found
        raise Refused(Reason.MAILBOX_FULL, "The mailbox is full")

    async def later(
        self,
        envelope: Envelope,
        addressees: Sequence[Addressee],
        raw: bytes,
        due_ms: int,
        also: Callable[[Tx, int], Awaitable[None]],
    ) -> int:
        """Queues a message for everybody, also for people here, that nobody sends before a time.
        `also` is done in the same transaction. Its number in the queue."""
        return await self._queue.enqueue(envelope, addressees, raw, due_ms=due_ms, also=also)

    async def _waiting(
        self, snap: Snap, address: str, found: Found, shut: Sequence[int], *, ours: bool
    ) -> Found:
        """Those who can have it now, and the others by way of the queue."""
        others = tuple(one for one in found.accounts if one[0] not in shut)
        if not others and not found.elsewhere:
            if not ours:
                raise Unavailable(Unready.NOT_YET_OPENED, _OPENED_IN_MS)
            if len(shut) == 1 and "@" in address:
                return Found((), (address,))
        home = await self._recipients.own_addresses(snap, shut)
        return Found(others, (*found.elsewhere, *home), found.house)

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
        addresses: Sequence[str] = (),
        seal: Callable[[], Awaitable[bytes]] | None = None,
        key: bytes | None = None,
    ) -> list[Delivered]:
        """Delivers to all accounts once each, and queues for elsewhere; durable on return.

        `pieces` make the message; the first holds the fields that we put before what came. Here
        it gets a Return-Path and the fields `here`; what goes on elsewhere gets the fields
        `onward`, and goes to `addressees` and to whom aliases name. Where it goes elsewhere too,
        the same bytes (and `mark`) of the same sender are delivered here once in a week: should
        the queue fail, the sender repeats all of it. `targets`: where it goes in an account, if
        not to INBOX: to Junk. For scripts: `addresses` to which each of `found` was sent, and
        `seal`, which makes the fields by which we answer for what they send on. With a `key` it is
        delivered once in a week whatever it is.
        """
        accounts = dict.fromkeys(no for one in found for no, _ in one.accounts)
        elsewhere = {one.address: one for one in addressees}
        for address in (address for one in found for address in one.elsewhere):
            elsewhere.setdefault(address, Addressee(address))
        plans: dict[int, Plan] = {}
        whole = b""
        if accounts:
            whole = b"".join((trace.return_path(envelope.sender), here, *pieces))
            if self.filter is not None and not self.filter.has_nothing(accounts):
                plans = await self._plans(envelope, found, addresses, whole, targets or {})
        if key is None and accounts and (elsewhere or any(one.onward for one in plans.values())):
            key = _key(envelope, pieces, mark)
        told: list[Delivered] = []
        if accounts:
            to = [
                Recipient(no, (targets or {}).get(no, _INBOX)) for no in accounts if no not in plans
            ]
            made = await sealing.made(whole)
            if not plans:
                told = await self._deliver.run(made, to, key=key, date_s=date_s)
            else:
                again = key or _key(envelope, pieces, mark)
                told = await self._deliver_planned(made, whole, to, plans, key, again)
        if elsewhere:
            onwards = b"".join((onward, *pieces))
            await self._queue.enqueue(envelope, list(elsewhere.values()), onwards)
        if plans:
            refused = {one.account_no for one in told if one.refused is not None}
            done = [one for no, one in plans.items() if no not in refused or one.refused]
            await self._finish(done, envelope, pieces, seal)
        return told

    async def at_home(
        self, envelope: Envelope, nos: Sequence[int], address: str, raw: bytes, key: bytes
    ) -> list[Delivered]:
        """Delivers what did not come by a door (from a list, from our own queue) to accounts here,
        through their scripts; once a key."""
        end = submission.header_end(raw)
        found = Found(tuple((no, "") for no in nos))
        pieces = (raw[:end], memoryview(raw)[end:])
        return await self.run(envelope, [found], pieces, addresses=[address], key=key)

    # --- scripts

    async def _plans(
        self,
        envelope: Envelope,
        found: Sequence[Found],
        addresses: Sequence[str],
        whole: bytes,
        targets: Mapping[int, tuple[Target, ...]],
    ) -> dict[int, Plan]:
        """What the scripts of accounts want; accounts without one are not in it."""
        assert self.filter is not None
        rules = await self.filter.rules({no for one in found for no, _ in one.accounts})
        plans: dict[int, Plan] = {}
        for at, one in enumerate(found if rules else ()):
            address = addresses[at] if at < len(addresses) else ""
            alone = len(one.accounts) == 1 and not one.elsewhere and bool(address)
            for no, _ in one.accounts:
                if no not in rules or no in plans:
                    continue
                came = Came(
                    account_no=no,
                    address=address,
                    own=(address,) if alone else (),
                    envelope=envelope,
                    whole=whole,
                    usual=targets.get(no, _INBOX),
                    junk=no in targets,
                    proved=envelope.proved or bool(envelope.account_no),
                )
                plans[no] = await self.filter.plan(came, rules[no])
        return plans

    async def _deliver_planned(
        self,
        made: sealing.Made,
        whole: bytes,
        others: Sequence[Recipient],
        plans: Mapping[int, Plan],
        key: bytes | None,
        again: bytes,
    ) -> list[Delivered]:
        """Copies with a changed header are messages of their own; should a later one fail, the
        sender repeats all of them, and `again` tells which were delivered."""
        groups: dict[bytes | None, list[Recipient]] = {None: list(others)}
        answers = {no: _answer(no, plan) for no, plan in plans.items()}
        for no, plan in plans.items():
            for header, targets in plan.copies.items():
                groups.setdefault(header, []).append(Recipient(no, targets))
        body = submission.header_end(whole)
        groups = {header: to for header, to in groups.items() if to}
        for header, to in groups.items():
            one = made if header is None else await sealing.made(header + whole[body:])
            known = again + (header or b"") if len(groups) > 1 else key
            for told in await self._deliver.run(one, to, key=known):
                before = answers.get(told.account_no)
                if before is None or before.refused is None:
                    answers[told.account_no] = told
        return list(answers.values())

    async def _finish(
        self,
        plans: Sequence[Plan],
        envelope: Envelope,
        pieces: Sequence[bytes | memoryview],
        seal: Callable[[], Awaitable[bytes]] | None,
    ) -> None:
        """Queues what goes on, then lets the scripts remember and answer."""
        assert self.filter is not None
        sealed = await seal() if seal is not None and any(one.onward for one in plans) else b""
        for plan in plans:
            for one in plan.onward:
                head = trace.delivered_to(one.own) + sealed
                if one.header is None:
                    raw = b"".join((head, *pieces))
                else:
                    raw = head + one.header + bytes(pieces[-1])
                sender = msgspec.structs.replace(
                    envelope,
                    envelope_id=None,
                    eight_bit=not raw.isascii(),
                    account_no=plan.came.account_no,
                )
                await self._queue.enqueue(sender, [Addressee(one.address)], raw)
            await self.filter.finish(plan)


def _key(envelope: Envelope, pieces: Sequence[bytes | memoryview], mark: bytes) -> bytes:
    """By which a message is known that is sent again."""
    digest = hashlib.blake2b(envelope.sender.encode(errors="replace"), digest_size=16)
    digest.update(mark)
    for piece in pieces[1:]:
        digest.update(piece)
    return digest.digest()


def _answer(account_no: int, plan: Plan) -> Delivered:
    """What becomes of a message of which a script keeps no copy."""
    if plan.refused is None:
        return Delivered(account_no)
    return Delivered(account_no, Reason.MAIL_POLICY, why=plan.refused)
