"""State: as this server saw it along the timeline, and as the event graph has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kerwen.rooms.store.events import _SHOWN, Stored
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

StateKey = tuple[str, str]

_LOOK_EVERY = 64  # groups after which a long chain is weighed against the size of the state
CHAIN_MAX = 128  # state groups that build on one another before one is written whole

_NOW = sql(
    "select s.type, s.state_key, s.event_no, s.from_seq from room_state s"
    " where s.room_no = :room_no and s.to_seq is null"
)
_NOW_BUT_MEMBERS = sql(
    "select s.type, s.state_key, s.event_no, s.from_seq from room_state s"
    " where s.room_no = :room_no and s.to_seq is null"
    " and (s.type < 'm.room.member' or s.type > 'm.room.member')"
)
_NOW_EVENTS = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.to_seq is null"
)
_NOW_EVENTS_BUT_MEMBERS = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.to_seq is null"
    " and (s.type < 'm.room.member' or s.type > 'm.room.member')"
)
_NOW_ONE = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = :type and s.state_key = :state_key"
    " and s.to_seq is null"
)
_NOW_MEMBERS_OF = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = 'm.room.member'"
    " and s.state_key {in_texts:state_keys} and s.to_seq is null"
)
_ENTRY = sql(
    "select event_no, from_seq from room_state where room_no = :room_no and type = :type"
    " and state_key = :state_key and to_seq is null"
)
_AT = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.from_seq <= :seq"
    " and (s.to_seq is null or s.to_seq > :seq)"
)
_AT_ONE = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = :type and s.state_key = :state_key"
    " and s.from_seq <= :seq and (s.to_seq is null or s.to_seq > :seq)"
)
_MEMBERS_AT = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = 'm.room.member'"
    " and s.state_key {in_texts:state_keys} and s.from_seq <= :seq"
    " and (s.to_seq is null or s.to_seq > :seq)"
)
_STRETCHES = sql(
    "select s.from_seq, s.to_seq, e.client from room_state s"
    " join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.type = :type and s.state_key = :state_key"
    " order by s.from_seq"
)
_STRETCHES_OF_ROOMS = sql(
    "select s.room_no, s.from_seq, s.to_seq, e.client from room_state s"
    " join events e on e.event_no = s.event_no"
    " where s.room_no {in_ints:rooms} and s.type = :type and s.state_key = :state_key"
    " order by s.room_no, s.from_seq"
)
_CHANGES = sql(
    f"select {_SHOWN} from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no = :room_no and s.pos > :since and s.pos <= :upto order by s.from_seq"
)
_CLOSE = sql(
    "update room_state set to_seq = :seq where room_no = :room_no and type = :type"
    " and state_key = :state_key and to_seq is null"
)
_OPEN = sql(
    "insert into room_state (room_no, type, state_key, from_seq, to_seq, pos, event_no)"
    " values (:room_no, :type, :state_key, :seq, null, :pos, :event_no)"
)
_NEXT = sql(
    "select event_no from room_state where room_no = :room_no and type = :type"
    " and state_key = :state_key and from_seq > :seq order by from_seq limit 1"
)
_SET_PREVIOUS = sql("update events set unsigned_json = :previous where event_no = :event_no")
_ADD_GROUP = sql(
    "insert into state_groups (group_no, room_no, prev, chain)"
    " values (:group_no, :room_no, :prev, :chain)"
)
_CHAIN = sql("select chain from state_groups where group_no = :group_no")
_ADD_CHANGE = sql(
    "insert into state_changes (group_no, type, state_key, event_no)"
    " values (:group_no, :type, :state_key, :event_no)"
)
_COPY_NOW = sql(
    "insert into state_changes (group_no, type, state_key, event_no)"
    " select :group_no, type, state_key, event_no from room_state"
    " where room_no = :room_no and to_seq is null and not (type = :type"
    " and state_key = :state_key)"
)
_COUNT_NOW = sql("select count(*) from room_state where room_no = :room_no and to_seq is null")
_GROUP = sql(
    "with recursive chain (group_no, prev, step) as ("
    " select group_no, prev, 0 from state_groups where group_no = :group_no"
    " union all select g.group_no, g.prev, c.step + 1 from state_groups g"
    " join chain c on g.group_no = c.prev)"
    " select c.step, s.type, s.state_key, s.event_no from chain c"
    " join state_changes s on s.group_no = c.group_no order by c.step desc"
)


async def current(
    snap: Snap, room_no: int, *, members: bool = True
) -> dict[StateKey, tuple[int, int]]:
    """(type, state key) → (event_no, from_seq) of the current state."""
    rows = await snap.all(_NOW if members else _NOW_BUT_MEMBERS, room_no=room_no)
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


async def current_events(snap: Snap, room_no: int, *, members: bool = True) -> list[Stored]:
    """The current state's events; without member events where `members` is false."""
    rows = await snap.all(_NOW_EVENTS if members else _NOW_EVENTS_BUT_MEMBERS, room_no=room_no)
    return [Stored(*row) for row in rows]


async def current_event(snap: Snap, room_no: int, event_type: str, state_key: str) -> Stored | None:
    """One event of the current state."""
    row = await snap.one(_NOW_ONE, room_no=room_no, type=event_type, state_key=state_key)
    return Stored(*row) if row else None


async def current_entry(
    snap: Snap, room_no: int, event_type: str, state_key: str
) -> tuple[int, int] | None:
    """(event_no, from_seq) of one entry of the current state."""
    row = await snap.one(_ENTRY, room_no=room_no, type=event_type, state_key=state_key)
    return (row[0], row[1]) if row else None


async def member_events(snap: Snap, room_no: int, user_ids: Iterable[str]) -> list[Stored]:
    """Current member events of some users."""
    rows = await snap.all(_NOW_MEMBERS_OF, room_no=room_no, state_keys=list(user_ids))
    return [Stored(*row) for row in rows]


async def members_at(snap: Snap, room_no: int, seq: int, user_ids: Iterable[str]) -> list[Stored]:
    """Member events of some users just after a place in the timeline."""
    rows = await snap.all(_MEMBERS_AT, room_no=room_no, seq=seq, state_keys=list(user_ids))
    return [Stored(*row) for row in rows]


async def state_at(snap: Snap, room_no: int, seq: int) -> list[Stored]:
    """The state just after a place in the timeline."""
    return [Stored(*row) for row in await snap.all(_AT, room_no=room_no, seq=seq)]


async def state_event_at(
    snap: Snap, room_no: int, seq: int, event_type: str, state_key: str
) -> Stored | None:
    """One event of the state just after a place in the timeline."""
    row = await snap.one(_AT_ONE, room_no=room_no, seq=seq, type=event_type, state_key=state_key)
    return Stored(*row) if row else None


async def stretches(
    snap: Snap, room_no: int, event_type: str, state_key: str
) -> list[tuple[int, int | None, bytes]]:
    """(from_seq, to_seq, client form) of everything that one entry ever was."""
    rows = await snap.all(_STRETCHES, room_no=room_no, type=event_type, state_key=state_key)
    return [(row[0], row[1], row[2]) for row in rows]


async def stretches_of_rooms(
    snap: Snap, rooms: Iterable[int], event_type: str, state_key: str
) -> dict[int, list[tuple[int, int | None, bytes]]]:
    """The same of several rooms, by room."""
    rows = await snap.all(
        _STRETCHES_OF_ROOMS, rooms=list(rooms), type=event_type, state_key=state_key
    )
    found: dict[int, list[tuple[int, int | None, bytes]]] = {}
    for room_no, first, end, client in rows:
        found.setdefault(room_no, []).append((first, end, client))
    return found


async def changed(snap: Snap, room_no: int, since: int, upto: int) -> list[Stored]:
    """What changed in the state in since < pos <= upto, in order."""
    rows = await snap.all(_CHANGES, room_no=room_no, since=since, upto=upto)
    return [Stored(*row) for row in rows]


async def group_state(snap: Snap, group_no: int) -> dict[StateKey, int]:
    """(type, state key) → event_no of a state group."""
    rows = await snap.all(_GROUP, group_no=group_no)
    return {(row[1], row[2]): row[3] for row in rows}


async def set_state(
    tx: Tx, room_no: int, key: StateKey, event_no: int, seq: int, *, replaces: bool
) -> None:
    """Makes an event the current one of its key, from its place on."""
    if replaces:
        await tx.run(_CLOSE, room_no=room_no, type=key[0], state_key=key[1], seq=seq)
    tx.at_end(_OPEN, room_no=room_no, type=key[0], state_key=key[1], seq=seq, event_no=event_no)


async def add_group(
    tx: Tx, group_no: int, room_no: int, prev: int, changed: Mapping[StateKey, int]
) -> None:
    """A state group: the one before with some entries changed. Every so often it is whole.

    A large state is written out less often, so that a room's groups cost a constant multiple
    of its changes.
    """
    chain = 0
    if prev:
        row = await tx.one(_CHAIN, group_no=prev)
        chain = row[0] + 1 if row else 0
    if chain >= CHAIN_MAX and chain % _LOOK_EVERY == 0:
        row = await tx.one(_COUNT_NOW, room_no=room_no)
        assert row is not None
        if chain >= row[0] // 4 and len(changed) == 1:
            (key,) = changed
            await tx.run(
                _COPY_NOW, group_no=group_no, room_no=room_no, type=key[0], state_key=key[1]
            )
            prev = chain = 0
    await tx.run(_ADD_GROUP, group_no=group_no, room_no=room_no, prev=prev, chain=chain)
    for (event_type, state_key), event_no in changed.items():
        await tx.run(
            _ADD_CHANGE,
            group_no=group_no,
            type=event_type,
            state_key=state_key,
            event_no=event_no,
        )


async def redact_previous(
    tx: Tx, room_no: int, event_type: str, state_key: str, seq: int, previous: bytes
) -> None:
    """A state event was redacted: the one that replaced it tells what is left of it."""
    row = await tx.one(_NEXT, room_no=room_no, type=event_type, state_key=state_key, seq=seq)
    if row is not None:
        await tx.run(_SET_PREVIOUS, event_no=row[0], previous=previous)
