"""Sends each day's report of how TLS went to the domains that ask for one, and forgets the day."""

# RFC 8460 §4, §5

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from kerwen.base.clock import Clock
from kerwen.mail import mta_sts, tls_report
from kerwen.mail.actions.queue import Addressee, Envelope, Queue
from kerwen.mail.actions.sts import Asks, StsPolicies
from kerwen.mail.actions.tls_results import Happened, TlsResults
from kerwen.mail.dns import Dns, Status
from kerwen.mail.tls_report import Line, Report
from kerwen.net.outgoing import Outgoing, Unanswered

_log = logging.getLogger("kerwen.mail.reports")

_TIMEOUT_MS: Final = 60_000
_NEVER: Final = frozenset({"NEVER"})

Signed = Callable[[bytes], Awaitable[bytes]]
"""A message with our domain's signature."""


class TlsReports:
    """Makes reports of days that are over; a day's counts go when its domain has been told."""

    def __init__(
        self,
        host: str,
        results: TlsResults,
        policies: StsPolicies,
        resolver: Asks,
        queue: Queue,
        outgoing: Outgoing,
        signed: Signed,
        clock: Clock,
    ) -> None:
        self._host = host
        self._results = results
        self._policies = policies
        self._resolver = resolver
        self._queue = queue
        self._outgoing = outgoing
        self._signed = signed
        self._clock = clock
        self.sent = 0

    async def run(self) -> int:
        """Everything that is due; how many reports went out. Where the DNS or a URL does not
        answer, the day is kept for the next time."""
        before = self.sent
        for day in await self._results.over():
            by_domain: dict[str, list[tuple[Happened, int]]] = {}
            for happened, count in await self._results.of_day(day):
                by_domain.setdefault(happened.domain, []).append((happened, count))
            for domain, counted in by_domain.items():
                if await self._report(day, domain, counted):
                    await self._results.forget(day, [happened for happened, _ in counted])
        return self.sent - before

    async def _report(self, day: int, domain: str, counted: list[tuple[Happened, int]]) -> bool:
        """Whether a domain needs no more word of this day."""
        found = await self._resolver.answer(Dns("TXT", tls_report.record_name(domain)))
        if found.status is Status.FAILED:
            return False
        places = tls_report.destinations(found.texts)
        if not places:
            return True
        policy = await self._policies.known(domain)
        report = Report(
            host=self._host,
            domain=domain,
            day=day,
            lines=[Line(one.policy, one.host, one.result, n) for one, n in counted],
            sts_policy=mta_sts.lines(policy) if policy is not None else (),
        )
        body = await asyncio.to_thread(tls_report.pressed, report)
        sent = [await self._send(report, place, body) for place in places]
        self.sent += any(sent)
        return any(sent)

    async def _send(self, report: Report, place: str, body: bytes) -> bool:
        if place.lower().startswith("https:"):
            return await self._post(place, body)
        raw = await self._signed(tls_report.letter(report, place, body, self._clock()))
        await self._queue.enqueue(Envelope(""), [Addressee(place, _NEVER)], raw)
        return True

    async def _post(self, url: str, body: bytes) -> bool:
        headers = {"Content-Type": "application/tlsrpt+gzip"}
        try:
            answer = await self._outgoing.ask(
                "POST", url, headers=headers, body=body, timeout_ms=_TIMEOUT_MS
            )
        except Unanswered as error:
            _log.info("a report was not taken", extra={"why": error.why.value})
            return False
        return answer.good
