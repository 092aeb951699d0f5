"""Removing events, and all that is kept of a room, a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kerwen.rooms.event import Event
from kerwen.rooms.store import search
from kerwen.rooms.store.events import client_prefix, cut_event
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

PURGED = 16  # a flag of events: only the signed bones are left, out of the timeline


class Row(msgspec.Struct, gc=False):
    """An event as far as its removal asks."""

    event_no: int
    event_id: str
    seq: int
    ts: int
    type: str
    sender: str
    flags: int
    loud: int
    client: bytes


_MESSAGES = sql(
    "select event_no, event_id, seq, ts, type, sender, flags, loud, client from events"
    " where room_no = :room_no and seq > :after and state_key is null order by seq limit :count"
)
_OF_SENDER = sql(
    "select event_no, event_id, seq, ts, type, sender, flags, loud, client from events"
    " where room_no = :room_no and seq > :after and seq <= :upto and state_key is null"
    " and sender = :sender and redacted_by is null order by seq limit :count"
)
_BONES = sql(
    "select event_no, event_id from events where room_no = :room_no and seq is null"
    f" and flags >= {PURGED} limit 100"
)
_ANY_EVENTS = sql("select event_no, event_id from events where room_no = :room_no limit :count")
_FILES = sql(
    "select sender, client from events where event_no {in_ints:nos} and type = 'm.room.message'"
    " and state_key is null"
)
_DELETE = sql("delete from events where event_no {in_ints:nos}")
_STRIP = sql(
    "update events set seq = null, client = :client, rest = :rest, cut = :cut, flags = :flags,"
    " relates_to = null, rel_type = null, thread = null, unsigned_json = null, txn_id = null,"
    " device_no = null where event_no = :event_no"
)
_EMPTY = sql(
    "update events set client = :client, rest = :rest, cut = :cut, redacted_by = event_id,"
    " relates_to = null, rel_type = null, unsigned_json = null where event_no = :event_no"
)
_DELETE_GROUPS = sql("delete from state_groups where group_no {in_ints:nos}")
_DELETE_CHANGES = sql("delete from state_changes where group_no {in_ints:nos}")
_DELETE_DELAYED = sql(
    "delete from delayed_events where done_ms > 0 and room_id = :room_id"
    " and event_id {in_texts:ids}"
)
_DELETE_DELAYED_OF = sql("delete from delayed_events where room_id = :room_id")
_READ_UP = sql(
    "update members set read_seq = :seq, read_loud = :loud"
    " where room_no = :room_no and membership = 'join' and read_seq < :seq"
)
_CLEAR_MARKS = sql(
    "delete from push_marks where user_no in (select user_no from members"
    " where room_no = :room_no) and room_no = :room_no and seq <= :upto"
)
_CLEAR_EVERYONES = sql(
    "delete from push_marks where user_no = 0 and room_no = :room_no and seq <= :upto"
)
_DELETE_STATE = sql(
    "delete from room_state where room_no = :room_no and (type, state_key, from_seq) in"
    " (select type, state_key, from_seq from room_state where room_no = :room_no limit :count)"
)
_DELETE_RECEIPTS = sql(
    "delete from receipts where room_no = :room_no and (user_no, type, thread) in"
    " (select user_no, type, thread from receipts where room_no = :room_no limit :count)"
)
_MEMBERS = sql(
    "select user_no from members where room_no = :room_no and user_no > :after"
    " order by user_no limit :count"
)
_BARE_MEMBERS = sql(
    "update members set name = null, avatar = null, stripped = null"
    " where room_no = :room_no and user_no {in_ints:users}"
)
_DELETE_MARKS_OF = sql(
    "delete from push_marks where user_no {in_ints:users} and room_no = :room_no"
)
_DELETE_DATA_OF = sql(
    "delete from room_account_data where account_no {in_ints:users} and room_no = :room_no"
)
_DELETE_SUBSCRIPTIONS_OF = sql(
    "delete from thread_subscriptions where account_no {in_ints:users} and room_no = :room_no"
)
_DELETE_ALIASES = sql("delete from aliases where room_no = :room_no")
_HIDE = sql("delete from published_rooms where room_no = :room_no")
_DELETE_LISTED = sql("delete from app_service_rooms where room_no = :room_no")
_END_ROOM = sql("update rooms set tips = '[]', purged_ms = :now where room_no = :room_no")
_STILL_IN = sql(
    "select m.user_no, u.user_id from members m join users u on u.user_no = m.user_no"
    " join accounts a on a.account_no = m.user_no"
    " where m.room_no = :room_no and m.membership {in_texts:memberships} limit :count"
)


async def messages(snap: Snap, room_no: int, after: int, count: int) -> list[Row]:
    """Events of a timeline that are no state, in order, after a place."""
    rows = await snap.all(_MESSAGES, room_no=room_no, after=after, count=count)
    return [Row(*row) for row in rows]


async def said_by(
    snap: Snap, room_no: int, sender: str, after: int, upto: int, count: int
) -> list[Row]:
    """What somebody said in a stretch of a timeline, and is not redacted."""
    rows = await snap.all(
        _OF_SENDER, room_no=room_no, sender=sender, after=after, upto=upto, count=count
    )
    return [Row(*row) for row in rows]


async def bones(snap: Snap, room_no: int) -> list[tuple[int, str]]:
    """(number, id) of events of which only the bones are left; a hundred at most."""
    return [(row[0], row[1]) for row in await snap.all(_BONES, room_no=room_no)]


async def any_events(snap: Snap, room_no: int, count: int) -> list[tuple[int, str]]:
    """(number, id) of some events of a room, whatever they are."""
    return [(r[0], r[1]) for r in await snap.all(_ANY_EVENTS, room_no=room_no, count=count)]


async def messages_of(snap: Snap, nos: Sequence[int]) -> list[tuple[str, bytes]]:
    """(sender, client form) of those events that may have brought files."""
    return [(row[0], row[1]) for row in await snap.all(_FILES, nos=nos)]


async def delete(tx: Tx, room_id: str, gone: Sequence[tuple[int, str]]) -> None:
    """Removes events (number, id), and their words wherever they stand."""
    nos = [no for no, _ in gone]
    await tx.run(_DELETE, nos=nos)
    await tx.run(_DELETE_GROUPS, nos=nos)
    await tx.run(_DELETE_CHANGES, nos=nos)
    await tx.run(_DELETE_DELAYED, room_id=room_id, ids=[event_id for _, event_id in gone])
    await search.forget_many(tx, nos)


async def delete_messages(tx: Tx, room_id: str, gone: Sequence[tuple[int, str]]) -> None:
    """The same of events that are no state."""
    nos = [no for no, _ in gone]
    await tx.run(_DELETE, nos=nos)
    await tx.run(_DELETE_DELAYED, room_id=room_id, ids=[event_id for _, event_id in gone])
    await search.forget_many(tx, nos)


async def strip(tx: Tx, event_no: int, redacted: Event) -> None:
    """Leaves the signed bones of an event, which the next one of the graph points to."""
    cut, rest = cut_event(redacted)
    client = client_prefix(redacted)
    await tx.run(_STRIP, event_no=event_no, client=client, rest=rest, cut=cut, flags=PURGED)
    await search.forget_many(tx, [event_no])


async def empty(tx: Tx, event_no: int, redacted: Event) -> None:
    """Takes an event's words as a redaction does; its place in the timeline stays."""
    cut, rest = cut_event(redacted)
    await tx.run(_EMPTY, event_no=event_no, client=client_prefix(redacted), rest=rest, cut=cut)
    await search.forget_many(tx, [event_no])


async def read_up(tx: Tx, room_no: int, seq: int, loud: int) -> int:
    """What is gone counts as read, by everybody; for how many that is news."""
    return await tx.run(_READ_UP, room_no=room_no, seq=seq, loud=loud)


async def clear_marks(tx: Tx, room_no: int, upto: int, *, single: bool) -> None:
    """What is gone highlights for nobody; `single`: nor did it for single members."""
    await tx.run(_CLEAR_EVERYONES, room_no=room_no, upto=upto)
    if single:
        await tx.run(_CLEAR_MARKS, room_no=room_no, upto=upto)


async def still_in(
    snap: Snap, room_no: int, memberships: Sequence[str], count: int
) -> list[tuple[int, str]]:
    """Some of ours who have one of these memberships: (number, user id)."""
    rows = await snap.all(_STILL_IN, room_no=room_no, memberships=memberships, count=count)
    return [(row[0], row[1]) for row in rows]


async def delete_state(tx: Tx, room_no: int, count: int) -> int:
    """Removes entries of a room's state, and receipts; how many there were."""
    removed = await tx.run(_DELETE_STATE, room_no=room_no, count=count)
    return removed + await tx.run(_DELETE_RECEIPTS, room_no=room_no, count=count)


async def bare_members(tx: Tx, room_no: int, after: int, count: int) -> int | None:
    """Takes names, pictures and notes from rows of members; the last one's number, None at the
    end. The rows stay: by them those who were in learn that they are out."""
    rows = await tx.all(_MEMBERS, room_no=room_no, after=after, count=count)
    users = [row[0] for row in rows]
    if not users:
        return None
    await tx.run(_BARE_MEMBERS, room_no=room_no, users=users)
    await tx.run(_DELETE_MARKS_OF, room_no=room_no, users=users)
    await tx.run(_DELETE_DATA_OF, room_no=room_no, users=users)
    await tx.run(_DELETE_SUBSCRIPTIONS_OF, room_no=room_no, users=users)
    return int(users[-1])


async def hide(tx: Tx, room_no: int) -> None:
    """Nobody finds the room: no alias, no directory."""
    await tx.run(_DELETE_ALIASES, room_no=room_no)
    await tx.run(_HIDE, room_no=room_no)
    await tx.run(_DELETE_LISTED, room_no=room_no)


async def end_room(tx: Tx, room_no: int, room_id: str, now_ms: int) -> None:
    """Nothing is left of a room but its name and number, so that neither is given again."""
    await tx.run(_DELETE_MARKS_OF, room_no=room_no, users=[0])
    await tx.run(_DELETE_DELAYED_OF, room_id=room_id)
    await tx.run(_END_ROOM, room_no=room_no, now=now_ms)
