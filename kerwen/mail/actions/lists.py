"""Mailing lists: made and looked after by the operator, left by mail, sent on to their members."""

# docs/lists.md

from __future__ import annotations

import hashlib
import logging
from typing import Final

from kerwen.accounts.address import localpart_named
from kerwen.accounts.store import accounts
from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.mail import list_letter, submission
from kerwen.mail.actions.queue import Addressee, Envelope, Queue
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import LEAVE, Recipients
from kerwen.mail.actions.report import Report
from kerwen.mail.list_letter import MailList
from kerwen.mail.store import aliases
from kerwen.mail.store import lists as store
from kerwen.storage.database import Database, retrying

log = logging.getLogger("kerwen.lists")

POSTING: Final = ("members", "owner", "anyone")
_FAILURES: Final = frozenset({"FAILURE"})


class Lists:
    """`report` signs what goes elsewhere."""

    def __init__(
        self, db: Database, recipients: Recipients, receive: Receive, queue: Queue,
        report: Report, clock: Clock,
    ) -> None:  # fmt: skip
        self._db = db
        self._recipients = recipients
        self._receive = receive
        self._queue = queue
        self._report = report
        self._clock = clock
        self.sent = 0

    # --- the operator's

    async def add(self, local: str, owner: str, title: str, posting: str) -> None:
        """Makes a list. `Refused`: BAD_ADDRESS, INVALID_PARAM, USER_IN_USE, CONFLICT,
        NOT_FOUND (the owner)."""
        local, owner = local.strip().lower(), owner.strip().lower()
        if localpart_named(local, self._recipients.domain) is None:
            raise Refused(Reason.BAD_ADDRESS, "This name cannot be given")
        if posting not in POSTING or len(title) > 200 or not title.isprintable():
            raise Refused(Reason.INVALID_PARAM, "posting is members, owner or anyone")
        made = MailList(local, title, owner, posting)

        async def write() -> None:
            async with self._db.write() as tx:
                if await accounts.by_localpart(tx, owner) is None:
                    raise Refused(Reason.NOT_FOUND, "The owner is no account here")
                taken = await accounts.by_localpart(tx, local) is not None
                if taken or await aliases.targets(tx, local):
                    raise Refused(Reason.USER_IN_USE, "An account or an alias has this name")
                if not await store.add(tx, made, self._clock()):
                    raise Refused(Reason.CONFLICT, "There is such a list")

        await retrying(write)

    async def drop(self, local: str) -> None:
        """Removes a list. Says `NOT_FOUND`."""

        async def write() -> bool:
            async with self._db.write() as tx:
                return await store.drop(tx, local.lower())

        if not await retrying(write):
            raise _unknown()

    async def join(self, local: str, address: str) -> None:
        """Makes somebody a member. `Refused`: NOT_FOUND, BAD_ADDRESS, CONFLICT,
        TOO_MANY_RECIPIENTS."""
        local, address = local.lower(), self._whole(address)
        at_list = address.partition("@")[0].partition("+")[0] == local
        if at_list and self._recipients.is_local(address):
            raise Refused(Reason.BAD_ADDRESS, "A list cannot be its own member")

        async def write() -> None:
            async with self._db.write() as tx:
                if await store.one(tx, local) is None:
                    raise _unknown()
                if len(await store.members(tx, local)) >= limits.ALIAS_TARGETS_MAX:
                    raise Refused(Reason.TOO_MANY_RECIPIENTS, "Too many members")
                if not await store.join(tx, local, address, self._clock()):
                    raise Refused(Reason.CONFLICT, "It is a member")

        await retrying(write)

    async def leave(self, local: str, address: str) -> None:
        """Somebody is no member any more. Says `NOT_FOUND`."""
        address = self._whole(address)

        async def write() -> bool:
            async with self._db.write() as tx:
                return await store.leave(tx, local.lower(), address)

        if not await retrying(write):
            raise Refused(Reason.NOT_FOUND, "There is no such member")

    async def listing(self) -> list[tuple[MailList, list[str]]]:
        """Every list with its members."""
        async with self._db.read() as snap:
            found = await store.all_of(snap)
            return [(one, await store.members(snap, one.local)) for one in found]

    def _whole(self, address: str) -> str:
        address = address.strip().lower()
        if "@" not in address:
            address = f"{address}@{self._recipients.domain}"
        local, _, host = address.rpartition("@")
        if not local or not host or any(c.isspace() or c in "<>,;" for c in address):
            raise Refused(Reason.BAD_ADDRESS, "This is no address")
        return address

    # --- what comes to it

    async def take(self, name: str, raw: bytes, sender: str, *, proved: bool) -> None:
        """A message came to a list's address, `name` with its detail; `proved`: its author is who
        it says. `Refused(MAIL_POLICY)`: who wrote it may not, or it is not for lists."""
        local, _, detail = name.partition("+")
        async with self._db.read() as snap:
            of = await store.one(snap, local)
            members = await store.members(snap, local)
        if of is None or not sender:
            return  # gone meanwhile, or a report: lists are told of nothing
        authors = submission.authors(raw[: submission.header_end(raw)])
        author = authors[0].lower() if authors else ""
        known = proved and author in members
        if detail == LEAVE:
            if known:
                await self.leave(local, author)
                log.info("a member left a list by mail")
            return
        owns = proved and author == f"{of.owner}@{self._recipients.domain}"
        if not (of.posting == "anyone" or owns or (of.posting == "members" and known)):
            raise Refused(Reason.MAIL_POLICY, "You may not write to this list")
        try:
            made = list_letter.sent_on(raw, of, self._recipients.domain)
        except list_letter.NotForLists as error:
            raise Refused(Reason.MAIL_POLICY, f"Not for the list: {error}") from None
        await self._send(of, members, made, hashlib.sha256(raw).digest())

    async def _send(self, of: MailList, members: list[str], made: bytes, mark: bytes) -> None:
        """To accounts here once each, and to the others by the queue; also to those here who
        cannot have it now (a full mailbox, no log-in yet): it waits there, or its owner is told."""
        here: dict[int, None] = {}
        elsewhere: dict[str, None] = {}
        for member in members:
            if not self._recipients.is_local(member):
                elsewhere[member] = None
                continue
            try:
                found = await self._recipients.find(member)
            except Refused:
                continue  # an account that is gone
            here.update(dict.fromkeys(no for no, _ in found.accounts))
            elsewhere.update(dict.fromkeys(found.elsewhere))
        envelope = Envelope(
            of.address(self._recipients.domain, "bounces"), eight_bit=not made.isascii()
        )
        if here:
            key = b"list " + of.local.encode() + mark
            address = of.address(self._recipients.domain)
            told = await self._receive.at_home(envelope, list(here), address, made, key)
            refused = [one.account_no for one in told if one.refused is not None]
            async with self._db.read() as snap:
                later = await self._recipients.own_addresses(snap, refused)
            elsewhere.update(dict.fromkeys(later))
        if elsewhere:
            signed = await self._report.signed(made)
            to = [Addressee(address, _FAILURES) for address in elsewhere]
            await self._queue.enqueue(envelope, to, signed)
        self.sent += 1


def _unknown() -> Refused:
    return Refused(Reason.NOT_FOUND, "There is no such list")
