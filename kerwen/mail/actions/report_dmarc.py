"""Counts what comes in the name of other domains, and tells those that ask, once a day."""

# RFC 9990

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kerwen.base.clock import Clock
from kerwen.mail import dmarc_report
from kerwen.mail.actions.day_counts import DayCounts
from kerwen.mail.actions.queue import Addressee, Envelope, Queue
from kerwen.mail.actions.sts import Asks
from kerwen.mail.dmarc_report import Came
from kerwen.mail.dns import Dns, Status
from kerwen.mail.junk import Seen, Verdict

_NEVER = frozenset({"NEVER"})


class DmarcReports:
    """`notice` is told of every message that was checked; `run` sends what is due."""

    def __init__(
        self,
        host: str,
        counts: DayCounts[Came],
        resolver: Asks,
        queue: Queue,
        signed: Callable[[bytes], Awaitable[bytes]],
        clock: Clock,
    ) -> None:
        self._host = host
        self._counts = counts
        self._resolver = resolver
        self._queue = queue
        self._signed = signed
        self._clock = clock
        self.sent = 0

    def notice(self, seen: Seen, verdict: Verdict, source: str, sender: str) -> None:
        """A message was checked. `source`: who brought it; `sender`: the envelope's."""
        found = dmarc_report.came(seen, verdict, source, sender)
        if found is not None and found.domain != self._host:
            self._counts.add(found)

    async def run(self) -> int:
        """Reports every day that is over; how many reports went out. Where the DNS does not
        answer, the day is kept for the next time."""
        before = self.sent
        for day in await self._counts.over():
            by_domain: dict[str, list[tuple[Came, int]]] = {}
            for one, count in await self._counts.of_day(day):
                by_domain.setdefault(one.domain, []).append((one, count))
            for domain, rows in by_domain.items():
                if await self._report(day, domain, rows):
                    await self._counts.forget(day, [one for one, _ in rows])
        return self.sent - before

    async def _report(self, day: int, domain: str, rows: list[tuple[Came, int]]) -> bool:
        """Whether a domain needs no more word of this day. The policy of its last row counts."""
        wanted = []
        for place in rows[-1][0].places:
            consent = await self._consent(rows[-1][0], place)
            if consent is None:
                return False
            if consent:
                wanted.append(place)
        if wanted:
            file = await asyncio.to_thread(dmarc_report.pressed, self._host, domain, day, rows)
            for place in wanted:
                raw = dmarc_report.letter(self._host, domain, day, place, file, self._clock())
                to = [Addressee(place, _NEVER)]
                await self._queue.enqueue(Envelope(""), to, await self._signed(raw))
                self.sent += 1
        return True

    async def _consent(self, one: Came, place: str) -> bool | None:
        """Whether an address wants the reports; None: it cannot be learned now."""
        name = dmarc_report.consent_name(one.domain, one.organization, place)
        if name is None:
            return True
        found = await self._resolver.answer(Dns("TXT", name))
        if found.status is Status.FAILED:
            return None
        return dmarc_report.consents(found.texts)
