"""Takes reports that other servers send about our domain, and shows what they say together."""

# docs/mail.md

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from kerwen.base.clock import Clock
from kerwen.storage.database import Database, retrying

if TYPE_CHECKING:
    from kerwen.mail.reports_read import Report
    from kerwen.mail.store.reports import Kept

log = logging.getLogger("kerwen.reports")

DAY_MS: Final = 86_400_000
KEPT_DAYS: Final = 400
_A_DAY: Final = 1_000  # reports that are taken in a day: strangers may send what they like


class ReportsIn:
    """`domain`: ours; reports about others are passed over."""

    def __init__(self, db: Database, domain: str, clock: Clock) -> None:
        self._db = db
        self._domain = domain
        self._clock = clock
        self.taken = 0

    async def take(self, raw: bytes, proved: bool) -> int:
        """Keeps what is in a message; how many reports were new. Never refuses: whoever sends
        reports reads no answers."""
        from kerwen.mail.reports_read import Unreadable, read  # with the first report

        try:
            found = await asyncio.to_thread(read, raw)
        except Unreadable as error:
            log.info("a report that cannot be read", extra={"why": str(error)})
            return 0
        ours = [one for one in found if self._is_ours(one)]
        if not ours:
            return 0
        new = await retrying(lambda: self._keep(ours, proved))
        self.taken += new
        return new

    async def _keep(self, found: list[Report], proved: bool) -> int:
        from kerwen.mail.store import reports

        now = self._clock()
        async with self._db.read() as snap:
            if await reports.count_since(snap, now - DAY_MS) >= _A_DAY:
                log.warning("too many reports came today")
                return 0
        first = await self._db.take_id("mail_report", len(found))
        async with self._db.write() as tx:
            new = 0
            for at, one in enumerate(found):
                new += await reports.add(tx, first + at, one, proved, now)
            await reports.sweep(tx, now - KEPT_DAYS * DAY_MS)
        return new

    def _is_ours(self, one: Report) -> bool:
        return one.domain == self._domain or one.domain.endswith("." + self._domain)

    async def page(self, days: int, before_no: int, most: int) -> list[Kept]:
        """The newest reports first."""
        from kerwen.mail.store import reports

        async with self._db.read() as snap:
            return await reports.page(snap, self._clock() - days * DAY_MS, before_no, most)

    async def sums(self, days: int) -> list[tuple[str, str, int, int, int]]:
        """(kind, reporter, reports, good, bad) of the last days."""
        from kerwen.mail.store import reports

        async with self._db.read() as snap:
            return await reports.sums(snap, self._clock() - days * DAY_MS)
