"""Reporting rooms, events and people to those who run the server (CS #reporting-content)."""

from __future__ import annotations

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.store import events, members, reports
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.reports import Report
from kerwen.storage.database import Database

REASON_MAX = 4_096
_DAY_MS = 86_400_000
_A_DAY_MAX = 1_000  # reports of one person


class Reports:
    """Takes reports, and lists them for administrators."""

    def __init__(self, db: Database, names: Names, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._clock = clock

    async def room(self, who: Who, room_id: str, reason: str) -> None:
        """Anybody may report any room."""
        async with self._db.read() as snap:
            if await self._names.room(snap, room_id) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room")
        await self._add(who, "room", reason, room_id)

    async def event(self, who: Who, room_id: str, event_id: str, reason: str) -> None:
        """An event of a room in which the reporter is."""
        gone = Refused(Reason.NOT_FOUND, "There is no such event, or you are not in its room")
        async with self._db.read() as snap:
            room_no = await self._names.room(snap, room_id)
            if room_no is None:
                raise gone
            member = await members.member(snap, room_no, who.user_no)
            event = await events.event_by_id(snap, event_id)
            if member is None or member.membership != "join":
                raise gone
            if event is None or event.room_no != room_no or event.seq is None:
                raise gone
            if not (await visible_events(snap, room_no, who.user_id)).sees(event.seq):
                raise gone
        await self._add(who, "event", reason, room_id, event_id, event.sender)

    async def user(self, who: Who, user_id: str, reason: str) -> None:
        """Anybody may report anybody."""
        async with self._db.read() as snap:
            if await self._names.user(snap, user_id) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such user")
        await self._add(who, "user", reason, user_id=user_id)

    async def _add(
        self,
        who: Who,
        kind: str,
        reason: str,
        room_id: str | None = None,
        event_id: str | None = None,
        user_id: str | None = None,
    ) -> None:
        if len(reason) > REASON_MAX:
            raise Refused(Reason.TOO_LARGE, "The reason is too long")
        now = self._clock()
        report_no = await self._db.take_id("report")
        async with self._db.write() as tx:
            if await reports.since(tx, who.user_id, now - _DAY_MS) >= _A_DAY_MAX:
                raise Refused(
                    Reason.LIMIT_EXCEEDED,
                    "Too many reports",
                    extra={"retry_after_ms": _DAY_MS // 24},
                )
            await reports.add(
                tx, Report(report_no, kind, who.user_id, room_id, event_id, user_id, reason, now)
            )

    async def page(self, after: int = 0, count: int = 100) -> list[Report]:
        """Reports for administrators, oldest first, `after` the number of the last one seen."""
        async with self._db.read() as snap:
            return await reports.page(snap, after, min(max(count, 1), 1_000))

    async def close(self, report_no: int) -> None:
        """An administrator is done with a report: it is forgotten."""
        async with self._db.write() as tx:
            if not await reports.drop(tx, report_no):
                raise Refused(Reason.NOT_FOUND, "There is no such report")
