"""Which events may have told somebody something, newest first, over all rooms."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap
from kerwen.storage.sql import sql

BACK_MAX = 5_000  # events of a room that are looked through, from its newest
_TELLS = 12  # LOUD or MARKED


class Notice(msgspec.Struct, gc=False):
    """An event that told somebody something, or may have; `name` is theirs in that room."""

    event_no: int
    pos: int
    room_no: int
    room_id: str
    read_seq: int
    name: str


# each room gives its newest, found by its own index; the newest of all these are the answer
_BEFORE = sql(
    "select e.event_no, e.pos, m.room_no, r.room_id, m.read_seq, coalesce(m.name, '')"
    " from members m join rooms r on r.room_no = m.room_no"
    " join events e on e.event_no in (select x.event_no from events x"
    " where x.room_no = m.room_no and x.seq > r.head - :back"
    f" and (x.flags & {_TELLS}) <> 0 and x.sender <> :user_id and x.redacted_by is null"
    " and x.pos > m.joined_pos and (x.pos, x.event_no) < (:before_pos, :before_no)"
    " order by x.seq desc limit :count)"
    " where m.user_no = :user_no and m.membership = 'join'"
    " order by e.pos desc, e.event_no desc limit :count"
)


async def notices(
    snap: Snap, user_no: int, user_id: str, before: tuple[int, int], count: int
) -> list[Notice]:
    """The newest before (position, event number)."""
    rows = await snap.all(
        _BEFORE,
        user_no=user_no,
        user_id=user_id,
        before_pos=before[0],
        before_no=before[1],
        back=BACK_MAX,
        count=count,
    )
    return [Notice(*row) for row in rows]
