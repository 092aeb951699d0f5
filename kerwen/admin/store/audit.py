"""The audit log as rows. Rows are added and read: no statement changes or removes one."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A deed. `actor` '' is the command line; `outcome` None: the server ended before it did."""

    entry_no: int
    at_ms: int
    actor: str
    deed: str
    target: str
    detail: str
    done_ms: int | None = None
    outcome: str | None = None


_ADD = sql(
    "insert into audit_log (entry_no, at_ms, actor, deed, target, detail)"
    " values (:entry_no, :at_ms, :actor, :deed, :target, :detail)"
)
_END = sql(
    "insert into audit_outcomes (entry_no, at_ms, outcome) values (:entry_no, :at_ms, :outcome)"
)
_PAGE = sql(
    "select l.entry_no, l.at_ms, l.actor, l.deed, l.target, l.detail, o.at_ms, o.outcome"
    " from audit_log l left join audit_outcomes o on o.entry_no = l.entry_no"
    " where l.entry_no < :before order by l.entry_no desc limit :count"
)


async def add(tx: Tx, entry: Entry) -> None:
    """Writes down what is about to be done."""
    await tx.run(
        _ADD,
        entry_no=entry.entry_no,
        at_ms=entry.at_ms,
        actor=entry.actor,
        deed=entry.deed,
        target=entry.target,
        detail=entry.detail,
    )


async def end(tx: Tx, entry_no: int, at_ms: int, outcome: str) -> None:
    """Writes down how it ended."""
    await tx.run(_END, entry_no=entry_no, at_ms=at_ms, outcome=outcome)


async def page(snap: Snap, before: int, count: int) -> list[Entry]:
    """Entries before one, the newest first."""
    return [Entry(*row) for row in await snap.all(_PAGE, before=before, count=count)]
