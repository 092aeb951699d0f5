"""Rows of events: written once, read many times, never parsed on the way to a client."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.rooms.event import Event, client_format, stored_event
from kerwen.rooms.versions import RoomVersion
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

REJECTED = 1
SOFT_FAILED = 2
LOUD = 4
MARKED = 8  # it means something else to some member: there are push marks


class Stored(msgspec.Struct, gc=False):
    """An event as clients may get it. `client` lacks its last brace, room_id and `unsigned`."""

    event_no: int
    room_no: int
    seq: int
    pos: int
    event_id: str
    type: str
    state_key: str | None
    sender: str
    ts: int
    flags: int
    loud: int
    state_group: int
    thread: str | None
    redacted_by: str | None
    device_no: int | None
    txn_id: str | None
    unsigned_json: bytes | None
    client: bytes


_SHOWN = (
    "e.event_no, e.room_no, e.seq, e.pos, e.event_id, e.type, e.state_key, e.sender, e.ts,"
    " e.flags, e.loud, e.state_group, e.thread, e.redacted_by, e.device_no, e.txn_id,"
    " e.unsigned_json, e.client"
)
_ADD = sql(
    "insert into events (event_no, room_no, seq, pos, event_id, type, state_key, sender, ts,"
    " depth, state_group, loud, flags, relates_to, rel_type, thread, redacted_by, device_no,"
    " txn_id, unsigned_json, cut, client, rest) values (:event_no, :room_no, :seq, :pos,"
    " :event_id, :type, :state_key, :sender, :ts, :depth, :state_group, :loud, :flags,"
    " :relates_to, :rel_type, :thread, null, :device_no, :txn_id, :unsigned_json, :cut,"
    " :client, :rest)"
)
_TIMELINE_NEWEST = sql(
    f"select {_SHOWN} from events e where e.room_no = :room_no and e.pos <= :upto"
    " and e.pos > :since and e.seq > :floor order by e.seq desc limit :count"
)
_BACKWARD = sql(
    f"select {_SHOWN} from events e where e.room_no = :room_no and e.seq < :before"
    " and e.seq > :floor order by e.seq desc limit :count"
)
_FORWARD = sql(
    f"select {_SHOWN} from events e where e.room_no = :room_no and e.seq > :after"
    " and e.seq <= :ceiling order by e.seq limit :count"
)
_BY_ID = sql(f"select {_SHOWN} from events e where e.event_id = :event_id")
_BY_IDS = sql(f"select {_SHOWN} from events e where e.event_id {{in_texts:ids}}")
_BY_NOS = sql(f"select {_SHOWN} from events e where e.event_no {{in_ints:nos}}")
_PARENT = sql(
    "select room_no, rel_type, thread, relates_to, redacted_by from events"
    " where event_id = :event_id"
)
_ANNOTATIONS = sql(
    f"select {_SHOWN} from events e where e.relates_to = :event_id"
    " and e.rel_type = 'm.annotation' and e.sender = :sender and e.type = :type limit 1000"
)
_WHERE = sql("select room_no, seq, loud from events where event_id = :event_id")
_LOUD_AT = sql(
    "select loud from events where room_no = :room_no and seq <= :seq order by seq desc limit 1"
)
_PDU = sql("select event_id, cut, client, rest from events where event_no = :event_no")
_PDUS = sql("select event_id, cut, client, rest from events where event_no {in_ints:nos}")
_PDU_BY_ID = sql(
    "select event_id, cut, client, rest from events"
    " where event_id = :event_id and room_no = :room_no"
)
_REDACT = sql(
    "update events set client = :client, rest = :rest, cut = :cut, redacted_by = :redacted_by,"
    " relates_to = null, rel_type = null, unsigned_json = :unsigned_json"
    " where event_no = :event_no"
)
_CLAIM_TXN = sql(
    "insert into sent_transactions (device_no, room_no, kind, txn_id, event_no)"
    " values (:device_no, :room_no, :kind, :txn_id, :event_no) on conflict do nothing"
)
_SENT = sql(
    "select e.event_id from sent_transactions t join events e on e.event_no = t.event_no"
    " where t.device_no = :device_no and t.room_no = :room_no"
    " and t.kind = :kind and t.txn_id = :txn_id"
)
_RECLAIM_TXN = sql(
    "update sent_transactions set event_no = :event_no where device_no = :device_no"
    " and room_no = :room_no and kind = :kind and txn_id = :txn_id"
)
_AT_TS_FORWARD = sql(
    "select event_id, ts, seq from events where room_no = :room_no"
    " and (ts > :ts or (ts = :ts and seq > :after)) and seq is not null"
    " order by ts, seq limit 200"
)
_AT_TS_BACKWARD = sql(
    "select event_id, ts, seq from events where room_no = :room_no"
    " and (ts < :ts or (ts = :ts and seq < :after)) and seq is not null"
    " order by ts desc, seq desc limit 200"
)
_THREADS_SINCE = sql(
    "select e.thread, e.seq, e.sender,"
    " case when e.redacted_by is null then e.flags else 0 end"
    " from events e where e.room_no = :room_no"
    " and e.thread is not null and e.seq > :since and e.pos >= :joined_pos"
    " order by e.seq desc limit 1000"
)


def client_prefix(event: Event) -> bytes:
    """What `Stored.client` holds of an event."""
    return client_format(event, room_id=False)[:-1]


def cut_event(event: Event) -> tuple[int, bytes]:
    """What a row holds besides `client`: the PDU without its content, and where that was; -1 and
    all of it where clients see another content than was signed (redactions)."""
    if event.type == "m.room.redaction":
        return -1, event.raw
    mark = b',"content":' + event.content_json
    at = event.raw.find(mark)
    if at < 0:
        return -1, event.raw
    at += len(b',"content":')
    return at, event.raw[:at] + event.raw[at + len(event.content_json) :]


def whole(event_id: str, cut: int, client: bytes, rest: bytes, version: RoomVersion) -> Event:
    """The event of a row's pieces."""
    if cut >= 0:
        content = orjson_content(client)
        rest = rest[:cut] + content + rest[cut:]
    return stored_event(rest, event_id, version)


class _Content(msgspec.Struct):
    content: msgspec.Raw


_content_of = msgspec.json.Decoder(_Content).decode


def orjson_content(client: bytes) -> bytes:
    """The content's bytes in a client form without its last brace."""
    return bytes(_content_of(client + b"}").content)


def add_event(
    tx: Tx,
    event: Event,
    stored: Stored,
    *,
    relates_to: str | None = None,
    rel_type: str | None = None,
) -> None:
    """Writes an event at the transaction's end, when its position is known."""
    cut, rest = cut_event(event)
    tx.at_end(
        _ADD,
        event_no=stored.event_no,
        room_no=stored.room_no,
        seq=stored.seq,
        event_id=stored.event_id,
        type=stored.type,
        state_key=stored.state_key,
        sender=stored.sender,
        ts=stored.ts,
        depth=event.depth,
        state_group=stored.state_group,
        loud=stored.loud,
        flags=stored.flags,
        relates_to=relates_to,
        rel_type=rel_type,
        thread=stored.thread,
        device_no=stored.device_no,
        txn_id=stored.txn_id,
        unsigned_json=stored.unsigned_json,
        cut=cut,
        client=stored.client,
        rest=rest,
    )


def redact_row(
    tx: Tx, event_no: int, redacted: Event, redacted_by: str, unsigned_json: bytes | None
) -> None:
    """Replaces an event by its redacted form; the old words are gone from the database."""
    cut, rest = cut_event(redacted)
    tx.at_end(
        _REDACT,
        event_no=event_no,
        client=client_prefix(redacted),
        rest=rest,
        cut=cut,
        redacted_by=redacted_by,
        unsigned_json=unsigned_json,
    )


def _stored(rows: Iterable[Row]) -> list[Stored]:
    return [Stored(*row) for row in rows]


async def newest(
    snap: Snap, room_no: int, since: int, upto: int, count: int, floor: int = -(2**62)
) -> list[Stored]:
    """The newest `count` events with since < pos <= upto and seq > floor, oldest first."""
    rows = await snap.all(
        _TIMELINE_NEWEST, room_no=room_no, since=since, upto=upto, floor=floor, count=count
    )
    rows.reverse()
    return _stored(rows)


async def backward(
    snap: Snap, room_no: int, before: int, count: int, floor: int = -(2**62)
) -> list[Stored]:
    """Events with floor < seq < before, newest first."""
    return _stored(
        await snap.all(_BACKWARD, room_no=room_no, before=before, floor=floor, count=count)
    )


async def forward(
    snap: Snap, room_no: int, after: int, count: int, ceiling: int = 2**62
) -> list[Stored]:
    """Events with after < seq <= ceiling, oldest first."""
    return _stored(
        await snap.all(_FORWARD, room_no=room_no, after=after, ceiling=ceiling, count=count)
    )


async def event_by_id(snap: Snap, event_id: str) -> Stored | None:
    """One event, whichever room it is in: the caller asks who may see it."""
    row = await snap.one(_BY_ID, event_id=event_id)
    return Stored(*row) if row else None


async def events_by_id(snap: Snap, event_ids: Iterable[str]) -> dict[str, Stored]:
    """Events by id."""
    rows = await snap.all(_BY_IDS, ids=list(event_ids))
    return {row[4]: Stored(*row) for row in rows}


async def events_by_no(snap: Snap, nos: Iterable[int]) -> dict[int, Stored]:
    """Events by number."""
    rows = await snap.all(_BY_NOS, nos=list(nos))
    return {row[0]: Stored(*row) for row in rows}


async def where(snap: Snap, event_id: str) -> tuple[int, int, int] | None:
    """(room_no, seq, loud) of an event."""
    row = await snap.one(_WHERE, event_id=event_id)
    return (row[0], row[1], row[2]) if row else None


async def loud_at(snap: Snap, room_no: int, seq: int) -> int:
    """How many loud events a room had up to a place."""
    row = await snap.one(_LOUD_AT, room_no=room_no, seq=seq)
    return row[0] if row else 0


async def pdu(snap: Snap, event_no: int, version: RoomVersion) -> Event:
    """The whole event, for rules and for other servers."""
    row = await snap.one(_PDU, event_no=event_no)
    assert row is not None
    return whole(row[0], row[1], row[2], row[3], version)


async def pdus(snap: Snap, nos: Iterable[int], version: RoomVersion) -> list[Event]:
    """Whole events by number, in no order."""
    rows = await snap.all(_PDUS, nos=list(nos))
    return [whole(row[0], row[1], row[2], row[3], version) for row in rows]


async def pdu_by_id(snap: Snap, room_no: int, event_id: str, version: RoomVersion) -> Event | None:
    """A whole event of a room by its id."""
    row = await snap.one(_PDU_BY_ID, event_id=event_id, room_no=room_no)
    return whole(row[0], row[1], row[2], row[3], version) if row else None


async def claim_txn(
    tx: Tx, device_no: int, room_no: int, kind: str, txn_id: str, event_no: int
) -> str | None:
    """Notes that the event of this number is what a device says under a transaction id; the
    event that it said under it before, if it did (CS #transaction-identifiers).

    One statement where there is no such event: the usual case of a send.
    """
    key = {"device_no": device_no, "room_no": room_no, "kind": kind, "txn_id": txn_id}
    if await tx.run(_CLAIM_TXN, **key, event_no=event_no):
        return None
    row = await tx.one(_SENT, **key)
    if row is not None:
        return str(row[0])
    await tx.run(_RECLAIM_TXN, **key, event_no=event_no)  # what it said then was purged
    return None


async def nearest(
    snap: Snap, room_no: int, ts: int, after: int, forwards: bool
) -> list[tuple[str, int, int]]:
    """(event id, time, seq) of events at a time but behind a place, and later (earlier) ones,
    the nearest first; 200 at most. Walks the whole room: a read for a thread."""
    found = await snap.all(
        _AT_TS_FORWARD if forwards else _AT_TS_BACKWARD, room_no=room_no, ts=ts, after=after
    )
    return [(row[0], row[1], row[2]) for row in found]


async def threaded_since(
    snap: Snap, room_no: int, since: int, joined_pos: int
) -> list[tuple[str, int, str, int]]:
    """(thread root, seq, sender, flags) of events in threads after a place and not before a
    position; the newest 1,000, newest first. Redacted ones have no flags."""
    rows = await snap.all(_THREADS_SINCE, room_no=room_no, since=since, joined_pos=joined_pos)
    return [(row[0], row[1], row[2], row[3]) for row in rows]


class Parent(msgspec.Struct, gc=False):
    """What a relation must know of the event it points to."""

    room_no: int
    rel_type: str | None
    thread: str | None  # also of a redacted event: who spoke there has read
    relates_to: str | None
    redacted_by: str | None


async def parent(snap: Snap, event_id: str) -> Parent | None:
    """The event that another one relates to."""
    row = await snap.one(_PARENT, event_id=event_id)
    return Parent(*row) if row else None


async def annotations_of(snap: Snap, event_id: str, sender: str, event_type: str) -> list[Stored]:
    """Somebody's annotations of an event, of one type; 1,000 at most."""
    rows = await snap.all(_ANNOTATIONS, event_id=event_id, sender=sender, type=event_type)
    return [Stored(*row) for row in rows]
