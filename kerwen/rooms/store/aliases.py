"""Room aliases of this server, and which rooms stand in its directory."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ROOM = sql("select room_no from aliases where alias = :alias")
_GET = sql("select room_no, creator from aliases where alias = :alias")
_OF_ROOM = sql("select alias from aliases where room_no = :room_no order by alias limit 1000")
_ADD = sql(
    "insert into aliases (alias, room_no, creator, created_ms)"
    " values (:alias, :room_no, :creator, :now) on conflict do nothing"
)
_DROP = sql("delete from aliases where alias = :alias")
_MOVE = sql("update aliases set room_no = :new where room_no = :old")
_PUBLISH = sql(
    "insert into published_rooms (room_no, published_ms) values (:room_no, :now)"
    " on conflict do nothing"
)
_HIDE = sql("delete from published_rooms where room_no = :room_no")
_PUBLISHED = sql("select 1 from published_rooms where room_no = :room_no")
_DIRECTORY_OF = sql("select room_no, joined, state_seq from rooms where room_no {in_ints:nos}")
_DIRECTORY = sql(
    "select p.room_no, r.joined, r.state_seq from published_rooms p"
    " join rooms r on r.room_no = p.room_no"
    " order by r.joined desc, r.room_no limit 10000"
)


async def room_of(snap: Snap, alias: str) -> int | None:
    """The room an alias points to."""
    row = await snap.one(_ROOM, alias=alias)
    return row[0] if row else None


async def alias(snap: Snap, name: str) -> tuple[int, str] | None:
    """(room, creator) of an alias."""
    row = await snap.one(_GET, alias=name)
    return (row[0], row[1]) if row else None


async def aliases_of(snap: Snap, room_no: int) -> list[str]:
    """The aliases of a room, 1,000 at most."""
    return [row[0] for row in await snap.all(_OF_ROOM, room_no=room_no)]


async def add_alias(tx: Tx, name: str, room_no: int, creator: str, now_ms: int) -> bool:
    """Points an alias to a room; false if it points somewhere already."""
    return await tx.run(_ADD, alias=name, room_no=room_no, creator=creator, now=now_ms) > 0


async def drop_alias(tx: Tx, name: str) -> None:
    """Removes an alias."""
    await tx.run(_DROP, alias=name)


async def publish(tx: Tx, room_no: int, shown: bool, now_ms: int) -> None:
    """Shows a room in the directory, or hides it."""
    if shown:
        await tx.run(_PUBLISH, room_no=room_no, now=now_ms)
    else:
        await tx.run(_HIDE, room_no=room_no)


async def published(snap: Snap, room_no: int) -> bool:
    """Whether a room stands in the directory."""
    return await snap.one(_PUBLISHED, room_no=room_no) is not None


async def move_aliases(tx: Tx, old: int, new: int) -> None:
    """Points all aliases of a room to another one."""
    await tx.run(_MOVE, old=old, new=new)


async def directory_of(snap: Snap, nos: Iterable[int]) -> list[tuple[int, int, int]]:
    """The same of some rooms, whether they stand in the directory or not."""
    return [(r[0], r[1], r[2]) for r in await snap.all(_DIRECTORY_OF, nos=list(nos))]


async def directory(snap: Snap) -> list[tuple[int, int, int]]:
    """(room_no, joined, state_seq) of rooms in the directory, largest first; 10,000 at most."""
    return [(r[0], r[1], r[2]) for r in await snap.all(_DIRECTORY)]
