"""Runs the scripts of accounts on a message that arrives, and turns what they want into deeds.

The message is in memory and nowhere else. Whatever goes wrong, the message is kept.
"""

# design.md §5; RFC 5228; RFC 5230

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from kerwen.accounts.store import accounts
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Refused
from kerwen.mail import fields, flags, trace
from kerwen.mail.actions.answer import Answer
from kerwen.mail.actions.deliver import Target
from kerwen.mail.actions.filter_rules import FilterRules, Rules
from kerwen.mail.actions.mailboxes import INBOX, Mailboxes, name_of
from kerwen.mail.actions.queue import Envelope
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Facts, Filed, Outcome, Redirect, Reject, Remember, Reply
from kerwen.mail.sieve.run import run
from kerwen.mail.sieve.vacation import plain
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import scripts as store
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database, retrying

log = logging.getLogger(__name__)

OFF_LOOP: Final = 64 * limits.KIB  # longer messages are looked at on a thread
LONG_SCRIPT: Final = 4 * limits.KIB  # longer scripts run on one
_KEPT: Final = Outcome((Filed(),))
_DAY_MS: Final = 86_400_000
_SWEEP_AT_ONCE: Final = 1_000


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """A message for an account. `whole`: with the fields that it gets here; `address`: to which
    it was sent; `usual`: where it goes without a script; `proved`: that its sender is who it
    says."""

    account_no: int
    address: str
    own: tuple[str, ...]  # addresses by which it was meant for this account alone
    envelope: Envelope
    whole: bytes
    usual: tuple[Target, ...]
    junk: bool
    proved: bool


class Onward(msgspec.Struct, frozen=True):
    """A message that goes on to somebody. `header`: its own, None for the one it came with;
    `own`: the address that sends it on, by which it is known should it come back."""

    address: str
    header: bytes | None
    own: str


class Plan(msgspec.Struct, frozen=True):
    """What is to be done for an account. `copies`: where it goes, by the header that it has there
    (None: the one it came with)."""

    came: Came
    copies: dict[bytes | None, tuple[Target, ...]]
    onward: tuple[Onward, ...] = ()
    refused: str | None = None
    reply: Reply | None = None
    remember: tuple[Remember, ...] = ()
    mail: Mail | None = None


class Filter:
    """Scripts and vacations at delivery."""

    def __init__(
        self,
        db: Database,
        rules: FilterRules,
        mailboxes: Mailboxes,
        recipients: Recipients,
        tags: Tags,
        answer: Answer,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._rules = rules
        self._mailboxes = mailboxes
        self._recipients = recipients
        self._tags = tags
        self._answer = answer
        self._clock = clock
        self._day = 0
        self._sent_on: Counter[int] = Counter()
        self.faults = 0

    def has_nothing(self, accounts: Iterable[int]) -> bool:
        """Whether it is known that none of these accounts has a script: nearly always."""
        return self._rules.are_known_empty(accounts)

    async def rules(self, accounts: Iterable[int]) -> dict[int, Rules]:
        """What those of the accounts have that have something."""
        found = {no: await self._rules.of(no) for no in accounts}
        return {no: rules for no, rules in found.items() if rules is not None}

    async def plan(self, came: Came, rules: Rules) -> Plan:
        """What is to be done. Never raises but for a database that is away."""
        mail = Mail(came.whole, came.envelope.sender, came.address)
        outcome, known = _KEPT, {}
        if rules.script is not None:
            known = await self._known_mailboxes(came.account_no, rules)
            mail, outcome = await self._run(came, rules, known)
        reply = outcome.reply
        if reply is None and outcome.reject is None and (outcome.filed or outcome.redirects):
            reply = rules.vacation.reply(self._clock())
        if outcome.reject is not None:
            return Plan(came, {}, refused=_told(outcome.reject), remember=outcome.remember)
        onward = await self._onward(came, mail, outcome.redirects)
        filed = outcome.filed
        if not filed and len(onward) < len(outcome.redirects):
            filed = (Filed(),)  # what does not go on stays here
        return Plan(
            came,
            await self._copies(came, mail, filed, known),
            onward,
            reply=None if came.junk else reply,
            remember=outcome.remember,
            mail=mail,
        )

    # --- running

    async def _known_mailboxes(self, account_no: int, rules: Rules) -> dict[str, str]:
        asks = rules.script is not None and (
            rules.script.asks_mailboxes
            or {"special-use", "mailbox"} & rules.script.requires
            or any(one.asks_mailboxes for one in rules.others.values())
        )
        if not asks:
            return {}
        async with self._db.read() as snap:
            return {one.name: one.special for one in await boxes.all_of(snap, account_no)}

    async def _run(
        self, came: Came, rules: Rules, mailboxes: dict[str, str]
    ) -> tuple[Mail, Outcome]:
        seen: dict[bytes, bool] = {}
        script = rules.script
        assert script is not None
        for _ in range(limits.SIEVE_DUPLICATES_MAX + 2):
            mail = Mail(came.whole, came.envelope.sender, came.address)
            facts = Facts(self._clock(), mailboxes, dict(seen))
            try:
                if len(came.whole) > OFF_LOOP or rules.size > LONG_SCRIPT:
                    outcome = await asyncio.to_thread(run, script, mail, facts, rules.others)
                else:
                    outcome = run(script, mail, facts, rules.others)
            except Exception:
                log.exception("a script broke")
                break
            if outcome.ask is None:
                if outcome.fault is not None:
                    self.faults += 1
                    log.info("a script went wrong", extra={"why": outcome.fault.text})
                return mail, outcome
            seen[outcome.ask] = await self._seen(came.account_no, outcome.ask)
        self.faults += 1
        return Mail(came.whole, came.envelope.sender, came.address), _KEPT

    async def _seen(self, account_no: int, key: bytes) -> bool:
        tag = self._tags.tag(account_no, b"duplicate", key)
        async with self._db.read(single=True) as snap:
            return bool(await store.seen(snap, account_no, [tag], self._clock()))

    # --- where it goes

    async def _copies(
        self, came: Came, mail: Mail, filed: Sequence[Filed], known: Mapping[str, str]
    ) -> dict[bytes | None, tuple[Target, ...]]:
        found: dict[bytes | None, list[Target]] = {}
        for one in filed:
            header = mail.header(one.header) if one.header else None
            found.setdefault(header, []).extend(await self._targets(came, one, known))
        return {header: tuple(targets) for header, targets in found.items()}

    async def _targets(self, came: Came, one: Filed, known: Mapping[str, str]) -> list[Target]:
        system, keywords = _flags(one.flags)
        if not one.mailbox:
            return [Target(usual.mailbox, system, keywords) for usual in came.usual]
        special = one.special.lower()
        if special and special.removeprefix("\\") in known.values():
            return [Target(special, system, keywords)]
        try:
            name = name_of(one.mailbox)
            if one.create and name not in known and name != INBOX:
                await self._create(came.account_no, name)
        except Refused:  # no such mailbox can be: it lies where it would without a script
            return [Target(usual.mailbox, system, keywords) for usual in came.usual]
        return [Target(name, system, keywords)]

    async def _create(self, account_no: int, name: str) -> None:
        await self._mailboxes.create(account_no, name)
        await self._mailboxes.subscribe(account_no, name)

    async def _onward(
        self, came: Came, mail: Mail, redirects: Sequence[Redirect]
    ) -> tuple[Onward, ...]:
        """Those that it may go to: not junk, not in circles, not to its owner, not too many."""
        if not redirects or came.junk:
            return ()
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, came.account_no)
        if account is None:
            return ()
        own = f"{account.localpart}@{self._recipients.domain}"
        read = {b"delivered-to": [line.value for line in mail.named("delivered-to")]}
        if trace.is_looping(read, own):
            return ()
        found = []
        for one in redirects:
            if plain(one.address) == own or not self._may_send(came.account_no):
                continue
            header = mail.header(one.header) if one.header else None
            if header is not None:
                header = fields.pick(header, frozenset({b"return-path"}), without=True)
            found.append(Onward(one.address, header, own))
        return tuple(found)

    def _may_send(self, account_no: int) -> bool:
        day = self._clock() // _DAY_MS
        if day != self._day:
            self._day = day
            self._sent_on.clear()
        if self._sent_on[account_no] >= limits.SIEVE_REDIRECTS_DAY_MAX:
            return False
        self._sent_on[account_no] += 1
        return True

    # --- afterwards

    async def finish(self, plan: Plan) -> None:
        """Remembers, and answers: once the message is where it should be. Never raises."""
        try:
            no, now = plan.came.account_no, self._clock()
            tags = {
                self._tags.tag(no, b"duplicate", one.key): now + one.seconds * 1000
                for one in plan.remember
            }
            await self._remember(no, tags)
            if plan.reply is not None and plan.came.proved and plan.mail is not None:
                await self._reply(plan, plan.mail, plan.reply)
        except Exception:
            log.exception("what follows a script broke")

    async def _remember(self, account_no: int, tags: Mapping[int, int]) -> None:
        if not tags:
            return

        async def write() -> None:
            async with self._db.write() as tx:
                await store.remember(tx, account_no, tags, limits.SIEVE_REMEMBERED_MAX)

        await retrying(write)

    async def _reply(self, plan: Plan, mail: Mail, reply: Reply) -> None:
        """Answers somebody who was not answered of late."""
        came, now = plan.came, self._clock()
        whom = f"{reply.handle} {plain(mail.sender)}".encode(errors="replace")
        tag = self._tags.tag(came.account_no, b"vacation", whom)
        async with self._db.read(single=True) as snap:
            if await store.seen(snap, came.account_no, [tag], now):
                return
        if await self._answer.run(came.account_no, mail, reply, came.own):
            await self._remember(came.account_no, {tag: now + reply.seconds * 1000})

    async def sweep(self) -> None:
        """Forgets what is over."""
        before = self._clock()

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.sweep(tx, before, _SWEEP_AT_ONCE)

        while await retrying(write):
            pass


def _told(reject: Reject) -> str:
    """A reason on one line of an answer."""
    text = " ".join(reject.reason.split())
    return text[:200] or "The recipient refuses this message"


def _flags(names: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Flags that can be; others are passed over."""
    system = 0
    keywords: list[str] = []
    for name in names:
        try:
            found = flags.parse((name,))
        except Refused:
            continue
        system |= found.system
        keywords += found.keywords
    return int(system), tuple(keywords)
