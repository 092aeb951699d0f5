"""Events that are to be said later, and what became of them."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Delayed(msgspec.Struct, gc=False):
    """One such event. `done_ms` 0: still to be said at `send_ms`."""

    delay_id: str
    user_no: int
    device_no: int
    room_id: str
    type: str
    state_key: str | None
    content: bytes
    txn_id: str | None
    delay_ms: int
    since_ms: int
    send_ms: int
    done_ms: int = 0
    event_id: str | None = None
    error: str | None = None


_COLUMNS = (
    "delay_id, user_no, device_no, room_id, type, state_key, content, txn_id, delay_ms,"
    " since_ms, send_ms, done_ms, event_id, error"
)
_ADD = sql(
    f"insert into delayed_events ({_COLUMNS}) values (:delay_id, :user_no, :device_no,"
    " :room_id, :type, :state_key, :content, :txn_id, :delay_ms, :since_ms, :send_ms, 0, null,"
    " null)"
)
_GET = sql(f"select {_COLUMNS} from delayed_events where delay_id = :delay_id")
_LOCK = sql(f"select {_COLUMNS} from delayed_events where delay_id = :delay_id {{for_update}}")
_ASKED = sql(
    "select delay_id from delayed_events where device_no = :device_no and room_id = :room_id"
    " and type = :type and txn_id = :txn_id"
)
_WAITING = sql(
    f"select {_COLUMNS} from delayed_events where user_no = :user_no and done_ms = 0"
    " order by send_ms, delay_id limit :count"
)
_DONE = sql(
    f"select {_COLUMNS} from delayed_events where user_no = :user_no and done_ms > 0"
    " order by done_ms desc, delay_id limit :count"
)
_DUE = sql(
    f"select {_COLUMNS} from delayed_events where done_ms = 0 and send_ms <= :now"
    " order by send_ms, delay_id limit :count"
)
_NEXT = sql("select min(send_ms) from delayed_events where done_ms = 0")
_PUT_OFF = sql(
    "update delayed_events set since_ms = :now, send_ms = :send_ms where delay_id = :delay_id"
    " and done_ms = 0"
)
_FINISH = sql(
    "update delayed_events set done_ms = :now, event_id = :event_id, error = :error"
    " where delay_id = :delay_id and done_ms = 0"
)
_FORGET_OLD = sql("delete from delayed_events where done_ms > 0 and done_ms < :before")
_FORGET_MANY = sql(
    "delete from delayed_events where user_no = :user_no and done_ms > 0 and delay_id not in"
    " (select delay_id from delayed_events where user_no = :user_no and done_ms > 0"
    " order by done_ms desc limit :keep)"
)
_DROP = sql("delete from delayed_events where user_no = :user_no")


async def add(tx: Tx, delayed: Delayed) -> None:
    """A new one."""
    await tx.run(
        _ADD,
        delay_id=delayed.delay_id,
        user_no=delayed.user_no,
        device_no=delayed.device_no,
        room_id=delayed.room_id,
        type=delayed.type,
        state_key=delayed.state_key,
        content=delayed.content,
        txn_id=delayed.txn_id,
        delay_ms=delayed.delay_ms,
        since_ms=delayed.since_ms,
        send_ms=delayed.send_ms,
    )


async def get(snap: Snap, delay_id: str) -> Delayed | None:
    """One by its id."""
    row = await snap.one(_GET, delay_id=delay_id)
    return Delayed(*row) if row else None


async def lock(tx: Tx, delay_id: str) -> Delayed | None:
    """One by its id, nobody else's until the transaction ends."""
    row = await tx.one(_LOCK, delay_id=delay_id)
    return Delayed(*row) if row else None


async def asked_before(
    snap: Snap, device_no: int, room_id: str, event_type: str, txn_id: str
) -> str | None:
    """The id that a device got for this transaction id already."""
    row = await snap.one(
        _ASKED, device_no=device_no, room_id=room_id, type=event_type, txn_id=txn_id
    )
    return row[0] if row else None


async def waiting(snap: Snap, user_no: int, count: int) -> list[Delayed]:
    """Those of a person that are still to be said, the next first."""
    return [Delayed(*row) for row in await snap.all(_WAITING, user_no=user_no, count=count)]


async def done(snap: Snap, user_no: int, count: int) -> list[Delayed]:
    """Those of a person that are finished, the newest first."""
    return [Delayed(*row) for row in await snap.all(_DONE, user_no=user_no, count=count)]


async def due(snap: Snap, now_ms: int, count: int) -> list[Delayed]:
    """Those whose time has come, in order."""
    return [Delayed(*row) for row in await snap.all(_DUE, now=now_ms, count=count)]


async def next_due(snap: Snap) -> int | None:
    """When the next one is due."""
    row = await snap.one(_NEXT)
    return row[0] if row else None


async def put_off(tx: Tx, delay_id: str, now_ms: int, send_ms: int) -> None:
    """The time begins anew."""
    await tx.run(_PUT_OFF, delay_id=delay_id, now=now_ms, send_ms=send_ms)


async def finish(
    tx: Tx, delay_id: str, now_ms: int, event_id: str | None = None, error: str | None = None
) -> None:
    """It was said, refused, or taken back."""
    await tx.run(_FINISH, delay_id=delay_id, now=now_ms, event_id=event_id, error=error)


async def forget_before(tx: Tx, before_ms: int) -> None:
    """Finished ones are not kept for ever."""
    await tx.run(_FORGET_OLD, before=before_ms)


async def forget_beyond(tx: Tx, user_no: int, keep: int) -> None:
    """Of one person only so many finished ones are kept."""
    await tx.run(_FORGET_MANY, user_no=user_no, keep=keep)


async def drop_user(tx: Tx, user_no: int) -> None:
    """Somebody leaves for good: nothing more is said for them."""
    await tx.run(_DROP, user_no=user_no)
