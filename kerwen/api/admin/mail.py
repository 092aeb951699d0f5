"""What other servers say of our mail, for administrators."""

from __future__ import annotations

from typing import Final

import msgspec

from kerwen.api.admin.table import BASE, AdminRoute, Query
from kerwen.api.http import Request
from kerwen.mail.actions.reports_in import ReportsIn
from kerwen.mail.store.reports import Kept

_TOUCHES: Final = "reports of other servers: numbers, network addresses, no message"


class Sum(msgspec.Struct):
    """One server's reports together. `kind`: dmarc (messages in our name that were proved, and
    others) or tls (sessions that were encrypted as we promise, and others)."""

    kind: str
    reporter: str
    reports: int
    good: int
    bad: int


class MailReports(msgspec.Struct):
    """`next` goes into `before` for the next page; null: this was the last."""

    sums: list[Sum]
    reports: list[Kept]
    next: int | None


class MailReportsApi:
    """One route."""

    def __init__(self, reports: ReportsIn) -> None:
        self._reports = reports

    def lines(self) -> list[AdminRoute]:
        """The table."""
        query = (
            Query("days", "integer", "how far back, 30 if nothing is said"),
            Query("before", "integer", "`next` of the page before"),
            Query("limit", "integer", "how many at most, 200 at most"),
        )
        words = "What other servers report of mail in our name, and of TLS to us"
        path = f"{BASE}/mail_reports"
        line = AdminRoute("GET", path, self.reports, words, _TOUCHES, MailReports, query=query)
        return [line]

    async def reports(self, request: Request) -> MailReports:
        """GET /_kerwen/admin/mail_reports"""
        days = request.int_query("days", 30, 1, 400)
        count = request.int_query("limit", 50, 1, 200)
        found = await self._reports.page(days, request.int_query("before", 2**62, 1, 2**62), count)
        return MailReports(
            [Sum(*row) for row in await self._reports.sums(days)],
            found,
            found[-1].report_no if len(found) == count else None,
        )
