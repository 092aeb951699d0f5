"""Reports of bad content, as rows."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Report(msgspec.Struct, frozen=True, gc=False):
    """One report. `kind`: room, event or user; `user_id` is who is reported, if anybody."""

    report_no: int
    kind: str
    reporter: str
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str
    reported_ms: int


_COLUMNS = "report_no, kind, reporter, room_id, event_id, user_id, reason, reported_ms"
_ADD = sql(
    f"insert into reports ({_COLUMNS}) values (:report_no, :kind, :reporter, :room_id, :event_id,"
    " :user_id, :reason, :reported_ms)"
)
_LIST = sql(
    f"select {_COLUMNS} from reports where report_no > :after order by report_no limit :count"
)
_DROP = sql("delete from reports where report_no = :report_no")
_COUNT = sql("select count(*) from reports where reporter = :reporter and reported_ms > :since")


async def add(tx: Tx, report: Report) -> None:
    """Writes a report."""
    await tx.run(_ADD, **msgspec.structs.asdict(report))


async def since(snap: Snap, reporter: str, since_ms: int) -> int:
    """How many reports somebody made after a time."""
    row = await snap.one(_COUNT, reporter=reporter, since=since_ms)
    return int(row[0]) if row else 0


async def page(snap: Snap, after: int, count: int) -> list[Report]:
    """Reports in the order in which they came."""
    return [Report(*row) for row in await snap.all(_LIST, after=after, count=count)]


async def drop(tx: Tx, report_no: int) -> bool:
    """Removes a report."""
    return await tx.run(_DROP, report_no=report_no) > 0
