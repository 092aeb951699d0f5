"""Which events relate to which, and the threads of a room."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.rooms.store.events import _SHOWN, Stored
from kerwen.storage.database import Snap
from kerwen.storage.sql import sql

CHILDREN_MAX = 5_000  # of one page of events; a longer thread counts as so long
DEPTH_MAX = 3  # CS #relationships-api: how far `recurse` goes

_ANY = sql("select 1 from events where room_no = :room_no and relates_to is not null limit 1")
_HAVE_ANY = sql(
    "select r.room_no, exists (select 1 from events e where e.room_no = r.room_no"
    " and e.relates_to is not null) from rooms r where r.room_no {in_ints:rooms}"
)
_CHILDREN = sql(
    "select relates_to, rel_type, event_no, event_id, seq, sender, type, ts from events"
    " where relates_to {in_texts:ids} and rel_type {in_texts:rel_types} and room_no = :room_no"
    " and seq is not null and (flags & 3) = 0 and state_key is null"
    f" order by seq desc limit {CHILDREN_MAX}"
)
_RELATED = sql(
    "select relates_to, rel_type, sender from events where relates_to {in_texts:ids}"
    f" and room_no = :room_no and seq is not null and (flags & 3) = 0 limit {CHILDREN_MAX}"
)
_BELOW = sql(
    "with recursive below (event_id, depth) as ("
    " select e.event_id, 1 from events e where e.relates_to = :event_id and e.room_no = :room_no"
    " union select e.event_id, b.depth + 1 from events e join below b"
    " on e.relates_to = b.event_id where e.room_no = :room_no and b.depth < :depth)"
    f" select {_SHOWN}, e.rel_type from events e where e.event_id in (select event_id from below)"
    " and e.room_no = :room_no and e.seq is not null and (e.flags & 3) = 0"
    " and e.seq >= :first and e.seq <= :last"
)
_BELOW_BACKWARD = sql(f"{_BELOW.text} order by e.seq desc limit :count")
_BELOW_FORWARD = sql(f"{_BELOW.text} order by e.seq limit :count")
_THREADS = sql(
    "select r.event_id, max(e.seq) as newest from events e join events r"
    " on r.event_id = e.relates_to and r.room_no = :room_no"
    " where e.room_no = :room_no and e.thread is not null and e.rel_type = 'm.thread'"
    " and e.seq is not null and (e.flags & 3) = 0 and r.seq is not null"
    " group by r.event_id having max(e.seq) < :before order by newest desc limit :count"
)


class Child(msgspec.Struct, gc=False):
    """An event that relates to another one."""

    relates_to: str
    rel_type: str
    event_no: int
    event_id: str
    seq: int
    sender: str
    type: str
    ts: int


async def any_relations(snap: Snap, room_no: int) -> bool:
    """Whether any event of a room relates to another."""
    return await snap.one(_ANY, room_no=room_no) is not None


async def have_relations(snap: Snap, rooms: Iterable[int]) -> dict[int, bool]:
    """Room → whether any event of it relates to another."""
    return {row[0]: bool(row[1]) for row in await snap.all(_HAVE_ANY, rooms=list(rooms))}


async def children(
    snap: Snap, room_no: int, event_ids: Iterable[str], rel_types: Iterable[str]
) -> list[Child]:
    """Events that relate to some events, newest first; `CHILDREN_MAX` at most."""
    rows = await snap.all(
        _CHILDREN, ids=list(event_ids), rel_types=list(rel_types), room_no=room_no
    )
    return [Child(*row) for row in rows]


async def related(snap: Snap, room_no: int, event_ids: Iterable[str]) -> list[tuple[str, str, str]]:
    """(event, relation, sender) of what relates to some events."""
    rows = await snap.all(_RELATED, ids=list(event_ids), room_no=room_no)
    return [(row[0], row[1], row[2]) for row in rows]


async def below(
    snap: Snap,
    room_no: int,
    event_id: str,
    depth: int,
    first: int,
    last: int,
    backwards: bool,
    count: int,
) -> list[tuple[Stored, str]]:
    """(event, its relation) of what relates to an event, over `depth` steps, at first <= seq <=
    last; in the order of the timeline or against it."""
    rows = await snap.all(
        _BELOW_BACKWARD if backwards else _BELOW_FORWARD,
        room_no=room_no,
        event_id=event_id,
        depth=depth,
        first=first,
        last=last,
        count=count,
    )
    return [(Stored(*row[:-1]), row[-1]) for row in rows]


async def threads(snap: Snap, room_no: int, before: int, count: int) -> list[tuple[str, int]]:
    """(root, seq of its newest reply) of threads whose newest reply comes before a place,
    newest first."""
    rows = await snap.all(_THREADS, room_no=room_no, before=before, count=count)
    return [(row[0], row[1]) for row in rows]
