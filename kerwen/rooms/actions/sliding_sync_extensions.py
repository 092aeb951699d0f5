"""What a sliding sync tells beside rooms: keys, messages to the device, account data, receipts,
who types. Rooms are those that the client knows, with what they were wanted with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.base import feed_token
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import TO_DEVICE_AT_ONCE
from kerwen.keys.store import delete_to_device, more_to_device, to_device
from kerwen.rooms.actions.sync_rooms import render_receipts
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.sliding import ToDevice
from kerwen.rooms.store import receipts, sliding
from kerwen.storage.database import Database, Snap
from kerwen.storage.wake import Watch


class Known(msgspec.Struct, gc=False):
    """Rooms that an extension is for. `anew`: those of which everything is told (room → the
    events shown of it); `others`: those of which only news are, by number."""

    anew: dict[int, Sequence[str]]
    others: Collection[int]
    ids: dict[int, str]


# --- to-device (MSC3885) --------------------------------------------------------------------


async def acknowledge(db: Database, watch: Watch, device_no: int, since: FeedToken) -> None:
    """The device has what it was sent up to its token: those messages go."""
    oldest = watch.pending.get(device_no, 0)
    if oldest is not None and oldest <= since.to_device:
        async with db.read() as snap:
            waiting = await to_device(snap, device_no, since.to_device, 1)
        if waiting:
            async with db.write() as tx:
                await delete_to_device(tx, device_no, since.to_device)
        watch.pending[device_no] = None


async def messages(
    snap: Snap, watch: Watch, device_no: int, wish: ToDevice, upto: int
) -> tuple[bytes | None, bool]:
    """The oldest waiting messages (None if there are none), and whether more wait."""
    most = TO_DEVICE_AT_ONCE if wish.limit is None else min(wish.limit, TO_DEVICE_AT_ONCE)
    waiting = await to_device(snap, device_no, upto, max(most, 1))
    if not waiting:
        watch.pending[device_no] = None
        return None, False
    watch.pending[device_no] = waiting[0][0]
    body = b",".join(bytes(row[2]) for row in waiting)
    last = waiting[-1][0]
    more = last < upto and await more_to_device(snap, device_no, last, upto)
    return _messages(last, body), more


def no_messages(upto: int) -> bytes:
    """What a client that begins is told where none wait."""
    return _messages(upto, b"")


def _messages(told: int, body: bytes) -> bytes:
    token = feed_token.encode(FeedToken(told)).encode()
    return b'"to_device":{"next_batch":"%b","events":[%b]}' % (token, body)


# --- account data (MSC3959) -----------------------------------------------------------------


async def own_data(
    snap: Snap, account_no: int, since: int, upto: int, known: Known | None, fresh: bool
) -> bytes | None:
    """Account data: global, and of the rooms. `fresh`: something may have changed at all."""
    parts = []
    if fresh:
        rows = await account_data.global_account_data(snap, account_no, since, upto)
        if rows:
            body = b",".join(_data_event(t, c) for t, c in rows)
            parts.append(b'"global":[%b]' % body)
    if known is not None:
        by_room: dict[int, list[bytes]] = {}
        if known.anew:
            for room_no, data_type, content in await account_data.room_account_data_in(
                snap, account_no, known.anew, 0, upto
            ):
                by_room.setdefault(room_no, []).append(_data_event(data_type, content))
        if fresh and since:
            for room_no, data_type, content in await account_data.room_account_data(
                snap, account_no, since, upto
            ):
                if room_no in known.others and room_no not in known.anew:
                    by_room.setdefault(room_no, []).append(_data_event(data_type, content))
        if by_room:
            bodies = {no: b"[%b]" % b",".join(said) for no, said in by_room.items()}
            parts.append(_by_room(known, bodies))
    return b'"account_data":{%b}' % b",".join(parts) if parts else None


def _data_event(data_type: str, content: bytes) -> bytes:
    return b'{"type":%b,"content":%b}' % (orjson.dumps(data_type), content)


# --- receipts (MSC3960), typing -------------------------------------------------------------


async def read_receipts(
    snap: Snap, user_no: int, since: int, upto: int, known: Known
) -> bytes | None:
    """Receipts: of new rooms those for the events shown, and the reader's own; else news."""
    found: dict[int, list[receipts.Receipt]] = {}
    for room_no, shown in known.anew.items():
        found[room_no] = await sliding.first_receipts(snap, room_no, shown, upto, user_no)
    for room_no in known.others:
        changed = await receipts.changed_receipts(snap, room_no, since, upto, user_no)
        found.setdefault(room_no, []).extend(changed)
    bodies = {room_no: render_receipts(told) for room_no, told in found.items() if told}
    return b'"receipts":{%b}' % _by_room(known, bodies) if bodies else None


def who_types(typing: Typing, ignored: frozenset[str], known: Known) -> bytes | None:
    """Who types: in new rooms if anybody does, in others where that changed."""
    found: dict[int, bytes] = {}
    for room_no in {*known.anew, *known.others}:
        people = [user for user in typing.users(room_no) if user not in ignored]
        if people or room_no in known.others:
            said = {"type": "m.typing", "content": {"user_ids": people}}
            found[room_no] = orjson.dumps(said)
    return b'"typing":{%b}' % _by_room(known, found) if found else None


def _by_room(known: Known, found: Mapping[int, bytes]) -> bytes:
    rooms = b",".join(
        b"%b:%b" % (orjson.dumps(known.ids[no]), body)
        for no, body in found.items()
        if no in known.ids
    )
    return b'"rooms":{%b}' % rooms
