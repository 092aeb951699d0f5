"""Which threads people follow. A row keeps the newest state only, with its position."""

from __future__ import annotations

from typing import Final

import msgspec

from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

NONE: Final = 0
AUTOMATIC: Final = 1
MANUAL: Final = 2

_GET = sql(
    "select state, ended_seq from thread_subscriptions where account_no = :account_no"
    " and room_no = :room_no and root = :root"
)
_SET = sql(
    "insert into thread_subscriptions (account_no, room_no, root, state, ended_seq, pos)"
    " values (:account_no, :room_no, :root, :state, :ended_seq, :pos)"
    " on conflict (account_no, room_no, root) do update set state = excluded.state,"
    " ended_seq = excluded.ended_seq, pos = excluded.pos"
)
_COUNT = sql("select count(*) from thread_subscriptions where account_no = :account_no")
_CHANGED = sql(
    "select r.room_id, s.root, s.state, s.pos from thread_subscriptions s"
    " join rooms r on r.room_no = s.room_no where s.account_no = :account_no"
    " and s.pos > :since and s.pos <= :upto and s.state >= :lowest"
    " order by s.pos desc limit :count"
)
_DROP = sql("delete from thread_subscriptions where account_no = :account_no")


class Subscription(msgspec.Struct, frozen=True):
    """A thread's place with somebody. `state` is one of the numbers above."""

    state: int
    ended_seq: int


class Changed(msgspec.Struct, frozen=True):
    """What became of a thread at a position."""

    room_id: str
    root: str
    state: int
    pos: int


async def get(snap: Snap, account_no: int, room_no: int, root: str) -> Subscription | None:
    """Whether somebody follows a thread; None if they never did."""
    row = await snap.one(_GET, account_no=account_no, room_no=room_no, root=root)
    return Subscription(*row) if row else None


async def count(snap: Snap, account_no: int) -> int:
    """How many threads are kept of an account."""
    row = await snap.one(_COUNT, account_no=account_no)
    return row[0] if row else 0


def put(tx: Tx, account_no: int, room_no: int, root: str, state: int, ended_seq: int) -> None:
    """Sets it at the transaction's end and tells it; the account is locked before."""
    tx.at_end(
        _SET,
        account_no=account_no,
        room_no=room_no,
        root=root,
        state=state,
        ended_seq=ended_seq,
    )
    tx.change(Kind.THREAD, account_no)


async def changed(
    snap: Snap, account_no: int, since: int, upto: int, most: int, *, ended: bool = True
) -> list[Changed]:
    """What changed with since < pos <= upto, newest first. Without `ended`: what is followed."""
    rows = await snap.all(
        _CHANGED,
        account_no=account_no,
        since=since,
        upto=upto,
        lowest=NONE if ended else AUTOMATIC,
        count=most,
    )
    return [Changed(*row) for row in rows]


async def drop_account(tx: Tx, account_no: int) -> None:
    """Forgets what somebody followed."""
    await tx.run(_DROP, account_no=account_no)
