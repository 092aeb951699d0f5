"""Push marks: what events mean to single members beyond what they mean to everyone."""

from __future__ import annotations

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

EVERYONE = 0  # as a user number: the event highlights for every member

_ADD = sql(
    "insert into push_marks (room_no, user_no, seq, notify, highlight, thread)"
    " values (:room_no, :user_no, :seq, :notify, :highlight, :thread) on conflict do nothing"
)
_SINCE = sql(
    "select user_no, seq, notify, highlight, thread from push_marks"
    " where user_no {in_ints:users} and room_no = :room_no and seq > :since limit 10000"
)
_CLEAR = sql(
    "delete from push_marks where user_no = :user_no and room_no = :room_no and seq <= :upto"
    " and (thread = :thread or :thread = '*')"
)
_DROP = sql("delete from push_marks where room_no = :room_no and seq = :seq")


def add_mark(
    tx: Tx, room_no: int, user_no: int, seq: int, notify: int, highlight: int, thread: str
) -> None:
    """Notes that an event notifies, or highlights for, a member more (1) or less (-1) than
    everyone."""
    tx.at_end(
        _ADD,
        room_no=room_no,
        user_no=user_no,
        seq=seq,
        notify=notify,
        highlight=highlight,
        thread=thread,
    )


async def marks_since(
    snap: Snap, room_no: int, user_no: int, since: int
) -> list[tuple[int, int, int, int, str]]:
    """(user or EVERYONE, seq, notify, highlight, thread) of a member's marks after a place."""
    rows = await snap.all(_SINCE, users=[user_no, EVERYONE], room_no=room_no, since=since)
    return [(r[0], r[1], r[2], r[3], r[4]) for r in rows]


def clear_marks(tx: Tx, room_no: int, user_no: int, upto: int, thread: str) -> None:
    """Marks that were read are not needed any more: those of a thread ('' for none), or all
    ('*')."""
    tx.at_end(_CLEAR, room_no=room_no, user_no=user_no, upto=upto, thread=thread)


async def drop_marks(tx: Tx, room_no: int, seq: int) -> None:
    """A redacted event highlights for nobody."""
    await tx.run(_DROP, room_no=room_no, seq=seq)
