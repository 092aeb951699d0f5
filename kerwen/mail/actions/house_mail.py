"""Mail that the house itself takes: reports of other servers, and what lists send on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kerwen.base.errors import Refused
from kerwen.mail import report_letter
from kerwen.mail.actions.lists import Lists
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.actions.reports_in import ReportsIn

log = logging.getLogger("kerwen.house")


class HouseMail:
    """Called before a message is delivered to anybody else."""

    def __init__(self, reports: ReportsIn, lists: Lists) -> None:
        self._reports = reports
        self._lists = lists

    async def take(
        self, accepted: Sequence[Accepted], raw: bytes, sender: str, trusted: bool, author: bool
    ) -> None:
        """`trusted`: the sender or the author was proved; `author`: the author was. `Refused`
        only where nobody else gets it: others' mail does not fail for a list's sake."""
        names = dict.fromkeys(one.found.house for one in accepted if one.found.house)
        alone = all(one.found.house for one in accepted)
        for name in names:
            try:
                if name in report_letter.NAMES:
                    await self._reports.take(raw, trusted)
                else:
                    await self._lists.take(name, raw, sender, proved=author)
            except Refused as refusal:
                if alone and len(names) == 1:
                    raise
                log.info("not for a list", extra={"why": refusal.public_text})
