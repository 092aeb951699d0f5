"""MTA-STS policies of other domains: fetched over HTTPS, kept as long as they say, sealed."""

# RFC 8461 §3, §5

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Refused
from kerwen.mail import mta_sts
from kerwen.mail.dns import Dns, Found
from kerwen.mail.mta_sts import BadPolicy, Mode, Policy
from kerwen.mail.store import sts as store
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.net.outgoing import Outgoing, Unanswered
from kerwen.storage.database import Database, retrying

_RENEWED_MS: Final = 24 * 3_600_000  # a policy that is used is fetched again after a day
_FAILED_MS: Final = 5 * 60_000  # how long nobody is asked again who did not answer well
_FAILED_MAX: Final = 10_000

FETCH_ERROR: Final = "sts-policy-fetch-error"
INVALID: Final = "sts-policy-invalid"


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A policy as it is kept."""

    domain: str
    id: str
    policy: Policy
    fetched_ms: int


class Asks(Protocol):
    """The part of the resolver that is used."""

    async def answer(self, question: Dns) -> Found:
        """The answer of the DNS."""


class NoPolicy(Exception):
    """A policy was announced and could not be had; `kind` as RFC 8460 §4.3 has it."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


Fetch = Callable[[str], Awaitable[Policy]]
"""Fetches a domain's policy, or raises `NoPolicy`."""


class StsPolicies:
    """Finds policies. `failed` hears of domains whose policy cannot be had, and why."""

    def __init__(
        self,
        db: Database,
        key: QueueKey,
        tags: Tags,
        resolver: Asks,
        fetch: Fetch,
        failed: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._db = db
        self._key = key
        self._tags = tags
        self._resolver = resolver
        self._fetch = fetch
        self._failed = failed
        self._clock = clock
        self._under_way: dict[str, asyncio.Task[Kept | None]] = {}
        self._let_be: dict[str, int] = {}

    async def find(self, domain: str) -> Policy | None:
        """The policy that counts for a domain now; None: it has none. Never raises for what
        others do: a policy that cannot be had is as none, unless one is kept (§5.1)."""
        found = await self._resolver.answer(Dns("TXT", mta_sts.record_name(domain)))
        policy_id = mta_sts.policy_id(found.texts)
        kept = await self._kept(domain)
        if policy_id is not None and self._is_stale(kept, policy_id):
            kept = await self._renewed(domain, policy_id) or kept
        return kept.policy if kept and kept.policy.mode is not Mode.NONE else None

    async def known(self, domain: str) -> Policy | None:
        """The policy that is kept; nobody is asked."""
        kept = await self._kept(domain)
        return kept.policy if kept is not None else None

    async def sweep(self) -> None:
        """Forgets policies that are over."""
        now = self._clock()

        async def write() -> None:
            async with self._db.write() as tx:
                await store.sweep(tx, now)

        await retrying(write)

    def _is_stale(self, kept: Kept | None, policy_id: str) -> bool:
        if kept is None or kept.id != policy_id:
            return True
        return self._clock() - kept.fetched_ms >= _RENEWED_MS

    async def _kept(self, domain: str) -> Kept | None:
        destination = self._destination(domain)
        async with self._db.read(single=True) as snap:
            box = await store.policy(snap, destination, self._clock())
        if box is None:
            return None
        try:
            return msgspec.msgpack.decode(self._key.open(destination, "sts", box), type=Kept)
        except (Refused, msgspec.DecodeError):
            return None  # damaged: it is fetched again

    def _destination(self, domain: str) -> int:
        return self._tags.tag(0, b"destination", domain.lower().encode())

    async def _renewed(self, domain: str, policy_id: str) -> Kept | None:
        """One fetch at a time for a domain."""
        if self._let_be.get(domain, 0) > self._clock():
            return None
        task = self._under_way.get(domain)
        if task is None:
            task = asyncio.create_task(self._fetched(domain, policy_id))
            self._under_way[domain] = task
            task.add_done_callback(lambda _: self._under_way.pop(domain, None))
        return await asyncio.shield(task)

    async def _fetched(self, domain: str, policy_id: str) -> Kept | None:
        now = self._clock()
        try:
            policy = await self._fetch(domain)
        except NoPolicy as error:
            self._failed(domain, error.kind)
            if len(self._let_be) >= _FAILED_MAX:
                self._let_be.clear()
            self._let_be[domain] = now + _FAILED_MS
            return None
        kept = Kept(domain, policy_id, policy, now)
        destination = self._destination(domain)
        box = self._key.seal(destination, "sts", msgspec.msgpack.encode(kept))

        async def write() -> None:
            async with self._db.write() as tx:
                await store.put_policy(tx, destination, now + policy.max_age_s * 1000, box)

        await retrying(write)
        return kept


class PolicyFiles:
    """Fetches policies. `port` is 443 but for tests."""

    def __init__(self, outgoing: Outgoing, port: int = 443) -> None:
        self._outgoing = outgoing
        self._port = port

    async def fetch(self, domain: str) -> Policy:
        """§3.3: a sound certificate, no redirects, text/plain, 64 KiB. Raises `NoPolicy`."""
        at = "" if self._port == 443 else f":{self._port}"
        url = f"https://{mta_sts.policy_host(domain)}{at}/.well-known/mta-sts.txt"
        try:
            answer = await self._outgoing.ask(
                "GET", url, timeout_ms=limits.STS_FETCH_MS, answer_max=mta_sts.POLICY_MAX
            )
        except Unanswered:
            raise NoPolicy(FETCH_ERROR) from None
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status != 200 or kind != "text/plain":
            raise NoPolicy(FETCH_ERROR)
        try:
            return mta_sts.parse(answer.body)
        except BadPolicy:
            raise NoPolicy(INVALID) from None
