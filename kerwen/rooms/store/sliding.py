"""Sliding sync: the states of connections, and what lists of rooms are made of."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.rooms.sliding import BUMP_TYPES
from kerwen.rooms.store.events import _SHOWN, Stored
from kerwen.rooms.store.receipts import _STANDING_COLUMNS, Receipt, Standing
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_BUMPS_LOOKED_AT = 1_000  # newest events of a room among which its last activity is looked for

_STATE = sql(
    "select body, seen_ms from sliding_states where generation = :generation"
    " and device_no = :device_no and conn_id = :conn_id"
)
_ADD = sql(
    "insert into sliding_states (generation, device_no, conn_id, seen_ms, body)"
    " select :generation, device_no, :conn_id, :now, :body from devices"
    " where device_no = :device_no"  # it may have logged out meanwhile
)
_DROP_OTHERS = sql(
    "delete from sliding_states where device_no = :device_no and conn_id = :conn_id"
    " and generation <> :generation and generation <> :base"
)
_CONNECTIONS = sql(
    "select conn_id, max(generation) from sliding_states where device_no = :device_no"
    " group by conn_id order by 2 desc"
)
_DROP_CONNECTION = sql(
    "delete from sliding_states where device_no = :device_no and conn_id = :conn_id"
)
_DROP_DEVICE = sql("delete from sliding_states where device_no = :device_no")
_SEEN = sql("update sliding_states set seen_ms = :now where generation = :generation")
_SWEEP = sql("delete from sliding_states where seen_ms < :before")

_PLACES = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no and m.membership in ('join', 'invite', 'knock')"
)
_PLACES_IN = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no and m.room_no {in_ints:rooms}"
)
_PUT_OUT = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " join events e on e.event_no = m.event_no"
    " where m.user_no = :user_no and m.membership in ('leave', 'ban') and m.forgotten = 0"
    " and e.sender <> :user_id order by m.pos desc limit 100"
)
_STRIPPED = sql(
    "select room_no, stripped from members where user_no = :user_no"
    " and membership in ('invite', 'knock')"
)
_STANDS = sql(
    "select r.room_no, r.state_group, r.head,"
    " coalesce((select e.pos from events e where e.room_no = r.room_no and e.seq = r.head), 0),"
    " coalesce((select b.pos from events b where b.room_no = r.room_no"
    f" and b.seq > r.head - {_BUMPS_LOOKED_AT} and b.type in"
    f" ({', '.join(repr(t) for t in BUMP_TYPES)}) order by b.seq desc limit 1), 1)"
    " from rooms r where r.room_no {in_ints:rooms}"
)
_STATES = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no {in_ints:rooms} and s.to_seq is null"
    " and (s.type < 'm.room.member' or s.type > 'm.room.member')"
)
_MEMBERS = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = 'm.room.member' and s.to_seq is null"
)
_MEMBERS_IN = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no {in_ints:rooms} and s.type = 'm.room.member'"
    " and s.state_key {in_texts:user_ids} and s.to_seq is null"
)
_OWN_IN = sql(
    f"select {_SHOWN} from members m join events e on e.event_no = m.event_no"
    " where m.user_no = :user_no and m.room_no {in_ints:rooms}"
)
_NEWEST_IN = sql(
    f"select {_SHOWN} from rooms r join events e on e.room_no = r.room_no"
    " and e.seq > r.head - :count where r.room_no {in_ints:rooms} and e.pos <= :upto"
    " order by e.room_no, e.seq"
)
_VISIBILITIES = sql(
    "select s.room_no, e.client from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no {in_ints:rooms} and s.type = 'm.room.history_visibility'"
    " and s.state_key = ''"
)
_HEROES = sql(
    "select m.user_no, u.user_id, m.name, m.avatar from members m"
    " join users u on u.user_no = m.user_no where m.room_no = :room_no"
    " and m.membership {in_texts:memberships} order by m.seq limit 6"
)
_TAGS = sql(
    "select room_no, content from room_account_data where account_no = :account_no"
    " and type = 'm.tag'"
)
_FIRST_RECEIPTS = sql(
    "select u.user_id, r.type, r.thread, r.event_id, r.ts from receipts r"
    " join users u on u.user_no = r.user_no where r.room_no = :room_no and r.pos <= :upto"
    " and (r.user_no = :me or (r.type <> 'm.read.private' and r.event_id {in_texts:events}))"
)


# --- connections ----------------------------------------------------------------------------


async def state_body(
    snap: Snap, generation: int, device_no: int, conn_id: str
) -> tuple[bytes, int] | None:
    """(state, when last seen) of a generation, if it is this connection's."""
    row = await snap.one(_STATE, generation=generation, device_no=device_no, conn_id=conn_id)
    return (bytes(row[0]), row[1]) if row else None


async def add_state(
    tx: Tx,
    generation: int,
    device_no: int,
    conn_id: str,
    base: int,
    body: bytes,
    now_ms: int,
    most: int,
) -> None:
    """Keeps a state and the one it came from (`base`; 0: none), and none beside.

    With no base the connection begins; then only the `most` newest ones of the device stay.
    """
    if base:
        await tx.run(
            _DROP_OTHERS,
            device_no=device_no,
            conn_id=conn_id,
            generation=generation,
            base=base,
        )
    else:
        await tx.run(_DROP_CONNECTION, device_no=device_no, conn_id=conn_id)
        others = await tx.all(_CONNECTIONS, device_no=device_no)
        for row in others[most - 1 :]:
            await tx.run(_DROP_CONNECTION, device_no=device_no, conn_id=row[0])
    await tx.run(
        _ADD,
        generation=generation,
        device_no=device_no,
        conn_id=conn_id,
        now=now_ms,
        body=body,
    )


async def seen(tx: Tx, generation: int, now_ms: int) -> None:
    """The connection is in use."""
    await tx.run(_SEEN, generation=generation, now=now_ms)


async def sweep(tx: Tx, before_ms: int) -> int:
    """Drops connections that were not seen for long; how many states that were."""
    return await tx.run(_SWEEP, before=before_ms)


async def drop_device(tx: Tx, account_no: int, device_no: int) -> None:
    """The device is gone, and its connections with it."""
    await tx.run(_DROP_DEVICE, device_no=device_no)


# --- lists ----------------------------------------------------------------------------------


class Stand(msgspec.Struct, gc=False):
    """Where a room stands: its state group and newest event, its newest "proper" activity."""

    room_no: int
    group: int
    head: int
    activity: int
    bump: int


async def places(snap: Snap, user_no: int) -> list[Standing]:
    """Where somebody is, or is asked in, or asks to be."""
    return [Standing(*row) for row in await snap.all(_PLACES, user_no=user_no)]


async def places_in(snap: Snap, user_no: int, rooms: Iterable[int]) -> list[Standing]:
    """Somebody's places in some rooms."""
    return [
        Standing(*row) for row in await snap.all(_PLACES_IN, user_no=user_no, rooms=list(rooms))
    ]


async def put_out(snap: Snap, user_no: int, user_id: str) -> list[Standing]:
    """Rooms that somebody left by another's will and did not forget; the 100 newest."""
    rows = await snap.all(_PUT_OUT, user_no=user_no, user_id=user_id)
    return [Standing(*row) for row in rows]


async def stripped(snap: Snap, user_no: int) -> dict[int, bytes | None]:
    """Room → what somebody who is asked in was shown of it."""
    return {row[0]: row[1] for row in await snap.all(_STRIPPED, user_no=user_no)}


async def stands(snap: Snap, rooms: Iterable[int]) -> list[Stand]:
    """Where rooms stand."""
    return [Stand(*row) for row in await snap.all(_STANDS, rooms=list(rooms))]


async def states(snap: Snap, rooms: Iterable[int]) -> dict[int, list[Stored]]:
    """The current state of rooms, without member events."""
    found: dict[int, list[Stored]] = {}
    for row in await snap.all(_STATES, rooms=list(rooms)):
        found.setdefault(row[1], []).append(Stored(*row))
    return found


async def member_state(snap: Snap, room_no: int) -> list[Stored]:
    """Every current member event of a room."""
    return [Stored(*row) for row in await snap.all(_MEMBERS, room_no=room_no)]


async def members_in(snap: Snap, rooms: Iterable[int], user_ids: Iterable[str]) -> list[Stored]:
    """The current member events of some users in some rooms: of each in each."""
    rows = await snap.all(_MEMBERS_IN, rooms=list(rooms), user_ids=list(user_ids))
    return [Stored(*row) for row in rows]


async def own_in(snap: Snap, rooms: Iterable[int], user_no: int) -> dict[int, Stored]:
    """Room → somebody's current member event."""
    rows = await snap.all(_OWN_IN, rooms=list(rooms), user_no=user_no)
    return {row[1]: Stored(*row) for row in rows}


async def newest_in(
    snap: Snap, rooms: Iterable[int], count: int, upto: int
) -> dict[int, list[Stored]]:
    """Room → its newest `count` events, oldest first, without those after `upto`."""
    found: dict[int, list[Stored]] = {}
    for row in await snap.all(_NEWEST_IN, rooms=list(rooms), count=count, upto=upto):
        found.setdefault(row[1], []).append(Stored(*row))
    return found


async def visibilities(snap: Snap, rooms: Iterable[int]) -> list[tuple[int, bytes]]:
    """(room, client form) of every visibility event that rooms ever had."""
    return [(row[0], row[1]) for row in await snap.all(_VISIBILITIES, rooms=list(rooms))]


async def heroes(
    snap: Snap, room_no: int, memberships: Iterable[str]
) -> list[tuple[int, str, str | None, str | None]]:
    """(number, user id, name, avatar) of the first six people of a room (CS #room-summary)."""
    rows = await snap.all(_HEROES, room_no=room_no, memberships=list(memberships))
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def tags(snap: Snap, account_no: int) -> dict[int, bytes]:
    """Room → `m.tag` as an account keeps it."""
    return {row[0]: bytes(row[1]) for row in await snap.all(_TAGS, account_no=account_no)}


async def first_receipts(
    snap: Snap, room_no: int, events: Iterable[str], upto: int, me: int
) -> list[Receipt]:
    """MSC3960: the receipts of some events, and those of `me`."""
    rows = await snap.all(_FIRST_RECEIPTS, room_no=room_no, events=list(events), upto=upto, me=me)
    return [Receipt(*row) for row in rows]
