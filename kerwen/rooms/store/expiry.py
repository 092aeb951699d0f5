"""Which rooms' messages go, when they are looked at, and removals that were asked for."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

BEGINNING = -(2**62)


class Expiry(msgspec.Struct, frozen=True, gc=False):
    """A room whose messages go: when it is looked at, and up to where nothing is left."""

    room_no: int
    due_ms: int
    purged_seq: int


class Job(msgspec.Struct, frozen=True, gc=False):
    """A removal. `kind`: history, room or erase; `done_ms` 0: under way."""

    job_no: int
    kind: str
    room_id: str
    account_no: int
    before_ms: int
    cursor: int
    removed: int
    asked_ms: int
    done_ms: int


_TOUCH = sql(
    "insert into room_expiry (room_no, due_ms, purged_seq)"
    f" values (:room_no, 0, {BEGINNING}) on conflict (room_no) do update set due_ms = 0"
)
_DUE = sql(
    "select room_no, due_ms, purged_seq from room_expiry where due_ms <= :now"
    " order by due_ms, room_no limit :count"
)
_MOVE = sql(
    "update room_expiry set due_ms = :next_ms, purged_seq = :purged_seq"
    " where room_no = :room_no and (due_ms = :due_ms or :next_ms = 0)"
)
_DROP = sql("delete from room_expiry where room_no = :room_no")
_ENLIST = sql(
    "insert into room_expiry (room_no, due_ms, purged_seq)"
    f" select r.room_no, 0, {BEGINNING} from rooms r where r.purged_ms = 0 and not exists"
    " (select 1 from room_expiry x where x.room_no = r.room_no) order by r.room_no limit :count"
    " on conflict (room_no) do nothing"
)
_JOB = "job_no, kind, room_id, account_no, before_ms, cursor, removed, asked_ms, done_ms"
_ADD_JOB = sql(
    f"insert into room_jobs ({_JOB}) values (:job_no, :kind, :room_id, :account_no, :before_ms,"
    " :cursor, 0, :asked_ms, 0)"
)
_OPEN_JOBS = sql(f"select {_JOB} from room_jobs where done_ms = 0 order by job_no limit :count")
_JOBS = sql(
    f"select {_JOB} from room_jobs where job_no < :before order by job_no desc limit :count"
)
_OPEN_OF = sql(
    f"select {_JOB} from room_jobs where done_ms = 0 and kind = :kind and room_id = :room_id"
    " and account_no = :account_no order by job_no limit 1"
)
_UNERASED = sql(
    "select a.account_no from accounts a where a.erased = 1 and not exists (select 1"
    " from room_jobs j where j.kind = 'erase' and j.account_no = a.account_no)"
    " order by a.account_no limit 10000"
)
_MOVE_JOB = sql(
    "update room_jobs set cursor = :cursor, removed = removed + :removed where job_no = :job_no"
)
_END_JOB = sql("update room_jobs set done_ms = :now where job_no = :job_no")
_BLOCK = sql(
    "insert into room_blocks (room_id, blocked_ms) values (:room_id, :now) on conflict do nothing"
)
_UNBLOCK = sql("delete from room_blocks where room_id = :room_id")
_BLOCKED = sql("select 1 from room_blocks where room_id = :room_id")


async def touch(tx: Tx, room_no: int) -> None:
    """A room's timer was set: it is looked at at once."""
    await tx.run(_TOUCH, room_no=room_no)


async def due(snap: Snap, now_ms: int, count: int) -> list[Expiry]:
    """Rooms to be looked at now."""
    return [Expiry(*row) for row in await snap.all(_DUE, now=now_ms, count=count)]


async def move(tx: Tx, entry: Expiry, purged_seq: int, next_ms: int) -> None:
    """How far a room was emptied, and when it is looked at next; nothing if its timer was set
    meanwhile, for then it is due anyway."""
    await tx.run(
        _MOVE,
        room_no=entry.room_no,
        due_ms=entry.due_ms,
        purged_seq=purged_seq,
        next_ms=next_ms,
    )


async def drop(tx: Tx, room_no: int) -> None:
    """The room is not looked at any more."""
    await tx.run(_DROP, room_no=room_no)


async def enlist(tx: Tx, count: int) -> int:
    """Takes rooms in that are not looked at yet; how many there were, `count` at most."""
    return await tx.run(_ENLIST, count=count)


async def add_job(tx: Tx, job: Job) -> None:
    """Writes a removal down; the worker does it."""
    await tx.run(
        _ADD_JOB,
        job_no=job.job_no,
        kind=job.kind,
        room_id=job.room_id,
        account_no=job.account_no,
        before_ms=job.before_ms,
        cursor=job.cursor,
        asked_ms=job.asked_ms,
    )


async def open_job(snap: Snap, kind: str, room_id: str, account_no: int) -> Job | None:
    """The same removal, if it is under way."""
    row = await snap.one(_OPEN_OF, kind=kind, room_id=room_id, account_no=account_no)
    return Job(*row) if row else None


async def open_jobs(snap: Snap, count: int) -> list[Job]:
    """What is under way, the oldest first."""
    return [Job(*row) for row in await snap.all(_OPEN_JOBS, count=count)]


async def unerased(snap: Snap) -> list[int]:
    """Accounts that were to be erased, and nobody asked for it. A scan: `long`."""
    return [row[0] for row in await snap.all(_UNERASED)]


async def jobs(snap: Snap, before: int, count: int) -> list[Job]:
    """Removals before one, the newest first."""
    return [Job(*row) for row in await snap.all(_JOBS, before=before, count=count)]


async def move_job(tx: Tx, job_no: int, cursor: int, removed: int) -> None:
    """How far a removal came, and how many events went in this step."""
    await tx.run(_MOVE_JOB, job_no=job_no, cursor=cursor, removed=removed)


async def end_job(tx: Tx, job_no: int, now_ms: int) -> None:
    """A removal is done."""
    await tx.run(_END_JOB, job_no=job_no, now=now_ms)


async def block(tx: Tx, room_id: str, blocked: bool, now_ms: int) -> None:
    """Shuts a room to who is not in it, also one that this server never met; or opens it."""
    if blocked:
        await tx.run(_BLOCK, room_id=room_id, now=now_ms)
    else:
        await tx.run(_UNBLOCK, room_id=room_id)


async def blocked(snap: Snap, room_id: str) -> bool:
    """Whether a room is shut."""
    return await snap.one(_BLOCKED, room_id=room_id) is not None
