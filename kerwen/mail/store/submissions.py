"""What was sent by JMAP, or waits to be sent."""

from __future__ import annotations

import enum

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_COLUMNS = "submission_no, created, changed, gone, status, send_ms, queue_no, box"
_PUT = sql(
    f"insert into mail_submissions (account_no, {_COLUMNS}) values (:account_no, :submission_no,"
    " :created, :changed, :gone, :status, :send_ms, :queue_no, :box)"
    " on conflict (account_no, submission_no) do update set changed = excluded.changed,"
    " gone = excluded.gone, status = excluded.status, box = excluded.box"
)
_ALL = sql(
    f"select {_COLUMNS} from mail_submissions where account_no = :account_no and gone = 0"
    " order by submission_no"
)
_ONE = sql(
    f"select {_COLUMNS} from mail_submissions where account_no = :account_no"
    " and submission_no = :submission_no and gone = 0"
)
_SINCE = sql(
    f"select {_COLUMNS} from mail_submissions where account_no = :account_no"
    " and changed > :since order by changed, submission_no"
)
_HEAD = sql("select coalesce(max(changed), 0) from mail_submissions where account_no = :account_no")
_DUE = sql(
    "select account_no, submission_no from mail_submissions where status = 0"
    " and send_ms <= :now order by send_ms limit :most"
)
_NEXT = sql("select min(send_ms) from mail_submissions where status = 0")
_COUNT = sql(
    "select count(*) from mail_submissions where account_no = :account_no and status = 0"
    " and gone = 0"
)
_SWEEP = sql("delete from mail_submissions where gone > 0 and gone < :before and status <> 0")


class Status(enum.IntEnum):
    """What became of it. # RFC 8621 §7: undoStatus"""

    PENDING = 0
    FINAL = 1
    CANCELED = 2


class Submission(msgspec.Struct, gc=False):
    """A row of `mail_submissions`."""

    submission_no: int
    created: int
    changed: int
    gone: int
    status: int
    send_ms: int
    queue_no: int
    box: bytes | None


async def put(tx: Tx, account_no: int, one: Submission) -> None:
    """Writes a row anew."""
    await tx.run(_PUT, account_no=account_no, **msgspec.structs.asdict(one))


async def all_of(snap: Snap, account_no: int) -> list[Submission]:
    """All of an account."""
    return [Submission(*row) for row in await snap.all(_ALL, account_no=account_no)]


async def get(snap: Snap, account_no: int, submission_no: int) -> Submission | None:
    """One of an account."""
    row = await snap.one(_ONE, account_no=account_no, submission_no=submission_no)
    return Submission(*row) if row else None


async def since(snap: Snap, account_no: int, modseq: int) -> list[Submission]:
    """Those that changed after a MODSEQ, gone ones too, in the order of the changes."""
    rows = await snap.all(_SINCE, account_no=account_no, since=modseq)
    return [Submission(*row) for row in rows]


async def head(snap: Snap, account_no: int) -> int:
    """The MODSEQ of the newest change."""
    row = await snap.one(_HEAD, account_no=account_no)
    return int(row[0]) if row else 0


async def due(snap: Snap, now_ms: int, most: int) -> list[tuple[int, int]]:
    """(account, number) of those whose time has come."""
    return [(row[0], row[1]) for row in await snap.all(_DUE, now=now_ms, most=most)]


async def next_ms(snap: Snap) -> int | None:
    """When the next one's time comes."""
    row = await snap.one(_NEXT)
    return row[0] if row else None


async def waiting(snap: Snap, account_no: int) -> int:
    """How many of an account wait."""
    row = await snap.one(_COUNT, account_no=account_no)
    return int(row[0]) if row else 0


async def sweep(tx: Tx, before_s: int) -> int:
    """Forgets what is gone since before a time."""
    return await tx.run(_SWEEP, before=before_s)
