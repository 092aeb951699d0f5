"""The server as a whole, for administrators: numbers, reports, notices, the audit log."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from kerwen.admin.actions.audit import Audit
from kerwen.admin.actions.look import Look
from kerwen.admin.actions.notices import Notices
from kerwen.api.admin.table import BASE, AdminRoute, Nothing, Query
from kerwen.api.http import Cost, Request
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.report import Reports

_COUNTS = "numbers of the whole house"


class Statistics(msgspec.Struct):
    """Sums over the house; sizes in bytes. `active_1d`: accounts with a device seen since.
    `cached_…`: media of other servers, and pictures of links, that are kept here."""

    accounts: int
    accounts_closed: int
    accounts_locked: int
    accounts_suspended: int
    administrators: int
    bots: int
    accounts_new_30d: int
    devices: int
    active_1d: int
    active_7d: int
    active_30d: int
    rooms: int
    events: int
    rooms_encrypted: int
    rooms_published: int
    media_files: int
    media_bytes: int
    cached_files: int
    cached_bytes: int
    quarantined: int
    thumbnail_bytes: int
    reports: int
    removals: int


class Report(msgspec.Struct):
    """What somebody reported (`kind`: room, event or user), with their reason; never the event
    itself."""

    report: int
    kind: str
    reporter: str
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str
    reported_ms: int


class ReportPage(msgspec.Struct):
    """`next` goes into `after` for the next page; null: this was the last."""

    reports: list[Report]
    next: int | None


class NoticeBody(msgspec.Struct):
    """What an account is told in its room of notices."""

    user_id: str
    text: str


class Said(msgspec.Struct):
    event_id: str


class Entry(msgspec.Struct):
    """A deed. `actor` '' is the command line; `outcome` null: the server ended before it did."""

    entry: int
    at_ms: int
    actor: str
    deed: str
    target: str
    detail: dict[str, Any]
    done_ms: int | None
    outcome: str | None


class AuditPage(msgspec.Struct):
    """`next` goes into `before` for the next page; null: this was the last."""

    entries: list[Entry]
    next: int | None


class ServerApi:
    """The routes that are about no account, room or file."""

    def __init__(self, look: Look, reports: Reports, notices: Notices, audit: Audit) -> None:
        self._look = look
        self._reports = reports
        self._notices = notices
        self._audit = audit

    def lines(self) -> list[AdminRoute]:
        """The table."""
        limit = Query("limit", "integer", "how many at most, 1,000 at most")
        after = (Query("after", "integer", "`next` of the page before"), limit)
        before = (Query("before", "integer", "`next` of the page before"), limit)
        reports, line = f"{BASE}/reports", AdminRoute
        told = "reports, with the words of those who report"
        return [
            line(
                "GET",
                f"{BASE}/statistics",
                self.statistics,
                "The house in numbers",
                _COUNTS,
                Statistics,
                cost=Cost.HEAVY,
            ),
            line("GET", reports, self.reports, "Open reports", told, ReportPage, None, after),
            line("DELETE", f"{reports}/{{reportNo}}", self.close, "A report is handled", told),
            line(
                "POST",
                f"{BASE}/notices",
                self.notice,
                "Tells an account something, in its room of notices",
                "a message of the server's own",
                Said,
                NoticeBody,
                tells=("user_id",),
            ),
            line(
                "GET",
                f"{BASE}/audit",
                self.audit,
                "Deeds of administrators, the newest first",
                "the audit log, which holds no content",
                AuditPage,
                query=before,
            ),
        ]

    async def statistics(self, request: Request) -> Statistics:
        """GET /_kerwen/admin/statistics"""
        return Statistics(**await self._look.counts())

    async def reports(self, request: Request) -> ReportPage:
        """GET /_kerwen/admin/reports"""
        count = request.int_query("limit", 100, 1, 1000)
        found = await self._reports.page(request.int_query("after", 0, 0, 2**62), count)
        return ReportPage(
            [Report(*msgspec.structs.astuple(report)) for report in found],
            found[-1].report_no if len(found) == count else None,
        )

    async def close(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/reports/{reportNo}"""
        text = request.params["reportNo"]
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise Refused(Reason.NOT_FOUND, "There is no such report")
        await self._reports.close(int(text))
        return Nothing()

    async def notice(self, request: Request) -> Said:
        """POST /_kerwen/admin/notices"""
        body = request.json(NoticeBody)
        return Said(await self._notices.say(body.user_id, body.text))

    async def audit(self, request: Request) -> AuditPage:
        """GET /_kerwen/admin/audit"""
        count = request.int_query("limit", 100, 1, 1000)
        found = await self._audit.page(request.int_query("before", 2**62, 1, 2**62), count)
        entries = [
            Entry(
                e.entry_no,
                e.at_ms,
                e.actor,
                e.deed,
                e.target,
                orjson.loads(e.detail),
                e.done_ms,
                e.outcome,
            )
            for e in found
        ]
        return AuditPage(entries, found[-1].entry_no if len(found) == count else None)
