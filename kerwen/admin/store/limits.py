"""Rate limits and notice rooms of accounts, as rows."""

from __future__ import annotations

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ALL = sql("select account_no, percent from account_limits order by account_no limit 100000")
_GET = sql("select percent from account_limits where account_no = :account_no")
_SET = sql(
    "insert into account_limits (account_no, percent) values (:account_no, :percent)"
    " on conflict (account_no) do update set percent = excluded.percent"
)
_DROP = sql("delete from account_limits where account_no = :account_no")
_NOTICE_ROOM = sql("select room_id from notice_rooms where account_no = :account_no")
_SET_NOTICE_ROOM = sql(
    "insert into notice_rooms (account_no, room_id) values (:account_no, :room_id)"
    " on conflict (account_no) do update set room_id = excluded.room_id"
)
_DROP_NOTICE_ROOM = sql("delete from notice_rooms where account_no = :account_no")


async def every(snap: Snap) -> dict[int, int]:
    """Account → percentage, of all that have limits of their own; 100,000 at most."""
    return dict(await snap.all(_ALL))


async def percent(snap: Snap, account_no: int) -> int | None:
    """An account's percentage of everyone's limits; None: everyone's, 0: no limits."""
    row = await snap.one(_GET, account_no=account_no)
    return row[0] if row else None


async def set_percent(tx: Tx, account_no: int, percent: int | None) -> None:
    """Gives an account limits of its own, or everyone's again (None)."""
    if percent is None:
        await tx.run(_DROP, account_no=account_no)
    else:
        await tx.run(_SET, account_no=account_no, percent=percent)


async def notice_room(snap: Snap, account_no: int) -> str | None:
    """The room in which an account is told what the server has to say."""
    row = await snap.one(_NOTICE_ROOM, account_no=account_no)
    return row[0] if row else None


async def set_notice_room(tx: Tx, account_no: int, room_id: str) -> None:
    """Remembers that room."""
    await tx.run(_SET_NOTICE_ROOM, account_no=account_no, room_id=room_id)


async def drop_account(tx: Tx, account_no: int) -> None:
    """An account is closed: what was set for it is forgotten."""
    await tx.run(_DROP, account_no=account_no)
    await tx.run(_DROP_NOTICE_ROOM, account_no=account_no)
