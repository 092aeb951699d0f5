"""A room's own row: where its timeline and graph stand."""

from __future__ import annotations

import msgspec
import orjson

from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql


class Head(msgspec.Struct, frozen=True):
    """Where a room stands after its newest event. `tips` are forward extremities."""

    room_no: int
    room_id: str
    version: str
    head: int
    depth: int
    tips: tuple[str, ...]
    state_seq: int
    state_group: int
    loud: int
    marked: int
    threaded: int
    joined: int
    invited: int


_COLUMNS = (
    "room_no, room_id, version, head, depth, tips, state_seq, state_group, loud, marked,"
    " threaded, joined, invited"
)
_GET = sql(f"select {_COLUMNS} from rooms where room_no = :room_no")
_LOCK = sql(f"select {_COLUMNS} from rooms where room_no = :room_no {{for_update}}")
_ADD = sql(
    "insert into rooms (room_no, room_id, version, head, tail, depth, tips, pos, state_seq,"
    " state_group, loud, marked, threaded, joined, invited, created_ms)"
    " values (:room_no, :room_id, :version, 0, 1, 0, '[]', 0, 0, 0, 0, 0, 0, 0, 0, :created_ms)"
)
_MOVE = sql(
    "update rooms set head = :head, depth = :depth, tips = :tips, pos = :pos,"
    " state_seq = :state_seq, state_group = :state_group, loud = :loud, marked = :marked,"
    " threaded = :threaded, joined = :joined, invited = :invited where room_no = :room_no"
)
_TOUCH = sql("update rooms set pos = :pos where room_no = :room_no")
_CHANGED = sql(
    "select m.room_no from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no and m.membership = 'join'"
    " and r.pos > :since"
)


def _head(row: Row) -> Head:
    return Head(*(*row[:5], tuple(orjson.loads(row[5])), *row[6:]))


async def get_head(snap: Snap, room_no: int) -> Head | None:
    """A room's row."""
    row = await snap.one(_GET, room_no=room_no)
    return _head(row) if row else None


async def lock_head(tx: Tx, room_no: int) -> Head | None:
    """A room's row, locked until the transaction ends: this orders all that happens in it."""
    row = await tx.one(_LOCK, room_no=room_no)
    return _head(row) if row else None


async def add_room(tx: Tx, room_no: int, room_id: str, version: str, now_ms: int) -> Head:
    """A new room without events."""
    await tx.run(_ADD, room_no=room_no, room_id=room_id, version=version, created_ms=now_ms)
    return Head(room_no, room_id, version, 0, 0, (), 0, 0, 0, 0, 0, 0, 0)


def move_head(tx: Tx, head: Head) -> None:
    """Writes where the room stands, at the transaction's end."""
    tx.at_end(
        _MOVE,
        room_no=head.room_no,
        head=head.head,
        depth=head.depth,
        tips=orjson.dumps(head.tips).decode(),
        state_seq=head.state_seq,
        state_group=head.state_group,
        loud=head.loud,
        marked=head.marked,
        threaded=head.threaded,
        joined=head.joined,
        invited=head.invited,
    )


def touch_room(tx: Tx, room_no: int) -> None:
    """Something that members see changed in the room, other than its timeline."""
    tx.at_end(_TOUCH, room_no=room_no)


async def changed_rooms(snap: Snap, user_no: int, since: int) -> list[int]:
    """Rooms a user is in that changed after a position."""
    return [row[0] for row in await snap.all(_CHANGED, user_no=user_no, since=since)]
