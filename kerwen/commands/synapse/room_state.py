"""The state of rooms that other servers had a hand in: what stood before our first event, and what
stands at the end where histories met.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.commands.synapse.ledger import Ledger
from kerwen.rooms.actions.append import RoomWriter
from kerwen.rooms.event import Event, StateKey
from kerwen.rooms.store import events, members, state
from kerwen.storage.sql import sql

_NOW = "select type, state_key, event_id from current_state_events where room_id = ?"
_AT_START = (
    "select c.type, c.state_key, c.event_id from current_state_events c"
    " join events e on e.event_id = c.event_id where c.room_id = ? and e.outlier"
)
_PLACE = sql("select event_no, seq, loud from events where event_id = :event_id")
_LATER = sql(
    "delete from room_state where room_no = :room_no and type = :type"
    " and state_key = :state_key and from_seq > :seq"
)
_REOPEN = sql(
    "update room_state set to_seq = null where room_no = :room_no and type = :type"
    " and state_key = :state_key and from_seq = :seq"
)
_CLOSE = sql(
    "update room_state set to_seq = :seq where room_no = :room_no and type = :type"
    " and state_key = :state_key and to_seq is null"
)
_COUNTS = sql(
    "select count(case when membership = 'join' then 1 end),"
    " count(case when membership = 'invite' then 1 end) from members where room_no = :room_no"
)
_NO_MEMBER = sql("delete from members where room_no = :room_no and user_no = :user_no")
_NAME_MAX = 256


async def seed_state(ledger: Ledger, room_id: str, writer: RoomWriter) -> None:
    """State that no event of our timeline set: a room joined elsewhere began with it."""
    found: dict[StateKey, int] = {}
    for event_type, state_key, event_id in ledger.source.rows(_AT_START, room_id):
        row = await ledger.tx.one(_PLACE, event_id=event_id)
        if row is not None:
            found[event_type, state_key] = row[0]
    if not found:
        return
    await _stand(ledger, writer, found.items(), seq=0)
    group_no = ledger.take("event")
    await state.add_group(ledger.tx, group_no, writer.room_no, 0, found)
    await _moved(ledger, writer, group_no)


async def adopt_state(ledger: Ledger, room_id: str, writer: RoomWriter) -> None:
    """Makes Synapse's present state the room's, where ours came out otherwise."""
    ours = await state.current(ledger.tx, writer.room_no)
    wanted: dict[StateKey, int] = {}
    changed: dict[StateKey, int] = {}
    for event_type, state_key, event_id in ledger.source.rows(_NOW, room_id):
        row = await ledger.tx.one(_PLACE, event_id=event_id)
        if row is None:
            continue
        key = (event_type, state_key)
        wanted[key] = row[0]
        if key not in ours or ours[key][0] != row[0]:
            changed[key] = row[0]
    gone = [key for key in ours if key not in wanted]
    if not changed and not gone:
        return
    ledger.done["state entries decided by Synapse"] += len(changed) + len(gone)
    await _stand(ledger, writer, changed.items(), seq=None)
    for key in gone:
        await _fall(ledger, writer, key)
    group_no = ledger.take("event")
    await state.add_group(ledger.tx, group_no, writer.room_no, 0, wanted)
    await _moved(ledger, writer, group_no)


async def _stand(
    ledger: Ledger,
    writer: RoomWriter,
    entries: Iterable[tuple[StateKey, int]],
    seq: int | None,
) -> None:
    """Makes events the current ones, from `seq` on or from their own places."""
    tx, room_no = ledger.tx, writer.room_no
    for key, event_no in entries:
        event = await events.pdu(tx, event_no, writer.view.version)
        row = await tx.one(_PLACE, event_id=event.event_id)
        assert row is not None
        at = seq if seq is not None else row[1] or 0
        where = {"room_no": room_no, "type": key[0], "state_key": key[1], "seq": at}
        await tx.run(_LATER, **where)
        if not await tx.run(_REOPEN, **where):
            await state.set_state(tx, room_no, key, event_no, at, replaces=True)
        writer.view.put(key, event_no, event)
        if key[0] == "m.room.member":
            await _member(ledger, writer, event, event_no, at, row[2])


async def _fall(ledger: Ledger, writer: RoomWriter, key: StateKey) -> None:
    head, room_no = writer.view.head, writer.room_no
    await ledger.tx.run(
        _CLOSE, room_no=room_no, type=key[0], state_key=key[1], seq=max(head.head, 1)
    )
    if key[0] == "m.room.member":
        await ledger.tx.run(_NO_MEMBER, room_no=room_no, user_no=await ledger.user(key[1]))


async def _member(
    ledger: Ledger, writer: RoomWriter, event: Event, event_no: int, seq: int, loud: int
) -> None:
    assert event.state_key is not None
    name, avatar = event.content.get("displayname"), event.content.get("avatar_url")
    members.set_member(
        ledger.tx,
        room_no=writer.room_no,
        user_no=await ledger.user(event.state_key),
        membership=event.membership or "leave",
        seq=seq,
        event_no=event_no,
        loud=loud,
        name=name[:_NAME_MAX] if isinstance(name, str) else None,
        avatar=avatar[:_NAME_MAX] if isinstance(avatar, str) else None,
    )


async def _moved(ledger: Ledger, writer: RoomWriter, group_no: int) -> None:
    row = await ledger.tx.one(_COUNTS, room_no=writer.room_no)
    assert row is not None
    writer.view.head = msgspec.structs.replace(
        writer.view.head, state_group=group_no, joined=row[0], invited=row[1]
    )
