"""Reports of other servers that were read."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.mail.reports_read import Report, Row
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD = sql(
    "insert into mail_reports"
    " (report_no, kind, reporter, name, begin_s, end_s, at_ms, proved, good, bad, detail) values"
    " (:report_no, :kind, :reporter, :name, :begin_s, :end_s, :at_ms, :proved, :good, :bad,"
    " :detail) on conflict do nothing"
)
_SINCE = sql("select count(*) from mail_reports where at_ms > :since")
_SWEEP = sql("delete from mail_reports where at_ms < :before")
_PAGE = sql(
    "select report_no, kind, reporter, name, begin_s, end_s, proved, good, bad, detail"
    " from mail_reports where at_ms > :since and report_no < :before"
    " order by report_no desc limit :most"
)
_SUMS = sql(
    "select kind, reporter, count(*), sum(good), sum(bad) from mail_reports where at_ms > :since"
    " group by kind, reporter order by kind, sum(good) + sum(bad) desc limit 1000"
)


class Kept(msgspec.Struct, frozen=True):
    """A report as it is shown."""

    report_no: int
    kind: str
    reporter: str
    name: str
    begin_s: int
    end_s: int
    proved: bool
    good: int
    bad: int
    rows: list[Row]


async def add(tx: Tx, report_no: int, one: Report, proved: bool, now_ms: int) -> bool:
    """Keeps a report; false if it is here already."""
    values = {
        "kind": one.kind, "reporter": one.reporter, "name": one.name, "begin_s": one.begin_s,
        "end_s": one.end_s, "good": one.good, "bad": one.bad,
    }  # fmt: skip
    detail = msgspec.json.encode(one.rows)
    done = await tx.run(
        _ADD, report_no=report_no, at_ms=now_ms, proved=int(proved), detail=detail, **values
    )
    return done == 1


async def count_since(snap: Snap, since_ms: int) -> int:
    """How many came since."""
    row = await snap.one(_SINCE, since=since_ms)
    return int(row[0]) if row is not None else 0


async def sweep(tx: Tx, before_ms: int) -> None:
    """Removes what is too old."""
    await tx.run(_SWEEP, before=before_ms)


async def page(snap: Snap, since_ms: int, before_no: int, most: int) -> list[Kept]:
    """The newest first."""
    rows = await snap.all(_PAGE, since=since_ms, before=before_no, most=most)
    return [_kept(*row) for row in rows]


async def sums(snap: Snap, since_ms: int) -> list[tuple[str, str, int, int, int]]:
    """(kind, reporter, reports, good, bad)."""
    return [
        (row[0], row[1], int(row[2]), int(row[3]), int(row[4]))
        for row in await snap.all(_SUMS, since=since_ms)
    ]


def _kept(*row: Any) -> Kept:
    no, kind, reporter, name, begin_s, end_s, proved, good, bad, detail = row
    rows = msgspec.json.decode(detail, type=list[Row])
    return Kept(no, kind, reporter, name, begin_s, end_s, bool(proved), good, bad, rows)
