"""How many events people have not read, over all their rooms: for many people at once."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.rooms.store.receipts import _STANDING_COLUMNS, Standing
from kerwen.storage.database import Snap
from kerwen.storage.sql import sql

# Rooms where a subtraction is the whole truth: no threads, no marks after what was read.
_PLAIN = sql(
    "select m.user_no, cast(sum(case when r.loud > m.read_loud then r.loud - m.read_loud"
    " else 0 end) as BIGINT) from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no {in_ints:users} and m.membership = 'join'"
    " and r.threaded = 0 and r.marked <= m.read_seq group by m.user_no"
)
_OTHERS = sql(
    f"select m.user_no, {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no {in_ints:users} and m.membership = 'join'"
    " and (r.threaded > 0 or (r.marked > m.read_seq and r.head > m.read_seq))"
    " order by m.user_no, r.pos desc limit :most"
)


async def plain_counts(snap: Snap, users: Iterable[int]) -> dict[int, int]:
    """Unread events in rooms without threads and marks. A scan of the users' rooms: `long`."""
    return dict(await snap.all(_PLAIN, users=list(users)))


async def other_places(snap: Snap, users: Iterable[int], most: int) -> list[tuple[int, Standing]]:
    """(user, place) in the rooms that must be counted one by one."""
    rows = await snap.all(_OTHERS, users=list(users), most=most)
    return [(row[0], Standing(*row[1:])) for row in rows]
