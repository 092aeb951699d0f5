"""Read receipts and unread counts."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Receipt(msgspec.Struct, gc=False):
    """How far somebody has read. `thread`: '' unthreaded, 'main', or the root of a thread."""

    user_id: str
    type: str
    thread: str
    event_id: str
    ts: int


class Standing(msgspec.Struct, gc=False):
    """A member's place in a room, with what the room's row says."""

    room_no: int
    room_id: str
    membership: str
    seq: int
    pos: int
    joined_pos: int
    read_seq: int
    read_loud: int
    head: int
    loud: int
    marked: int
    threaded: int
    joined: int
    invited: int
    version: str
    forgotten: int


_SET = sql(
    "insert into receipts (room_no, user_no, type, thread, event_id, seq, ts, pos)"
    " values (:room_no, :user_no, :type, :thread, :event_id, :seq, :ts, :pos)"
    " on conflict (room_no, user_no, type, thread) do update set event_id = excluded.event_id,"
    " seq = excluded.seq, ts = excluded.ts, pos = excluded.pos"
    " where receipts.seq < excluded.seq"
)
_SEQ = sql(
    "select seq from receipts where room_no = :room_no and user_no = :user_no"
    " and type = :type and thread = :thread"
)
_CHANGED = sql(
    "select u.user_id, r.type, r.thread, r.event_id, r.ts from receipts r"
    " join users u on u.user_no = r.user_no"
    " where r.room_no = :room_no and r.pos > :since and r.pos <= :upto"
    " and (r.type <> 'm.read.private' or r.user_no = :me)"
)
_READ_SINCE = sql(
    "select 1 from receipts where room_no = :room_no and pos > :since and pos <= :upto"
    " and user_no = :me limit 1"
)
_THREAD_READS = sql(
    "select thread, max(seq) from receipts where room_no = :room_no and user_no = :user_no"
    " and thread <> 'main' group by thread"
)
_STANDING_COLUMNS = (
    "m.room_no, r.room_id, m.membership, m.seq, m.pos, m.joined_pos, m.read_seq, m.read_loud,"
    " r.head, r.loud, r.marked, r.threaded, r.joined, r.invited, r.version, m.forgotten"
)
_STANDING = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.room_no = :room_no and m.user_no = :user_no"
)
_STANDINGS = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no"
)
_STANDINGS_CHANGED = sql(
    f"select {_STANDING_COLUMNS} from members m join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no and m.pos > :since and m.pos <= :upto"
)


def set_receipt(
    tx: Tx,
    *,
    room_no: int,
    user_no: int,
    receipt_type: str,
    thread: str,
    event_id: str,
    seq: int,
    ts: int,
) -> None:
    """Writes a receipt at the transaction's end; an older place never replaces a newer one."""
    tx.at_end(
        _SET,
        room_no=room_no,
        user_no=user_no,
        type=receipt_type,
        thread=thread,
        event_id=event_id,
        seq=seq,
        ts=ts,
    )


async def receipt_seq(
    snap: Snap, room_no: int, user_no: int, receipt_type: str, thread: str
) -> int | None:
    """Where a receipt stands."""
    row = await snap.one(_SEQ, room_no=room_no, user_no=user_no, type=receipt_type, thread=thread)
    return row[0] if row else None


async def changed_receipts(
    snap: Snap, room_no: int, since: int, upto: int, me: int
) -> list[Receipt]:
    """Receipts set in since < pos <= upto; private ones of `me` only."""
    rows = await snap.all(_CHANGED, room_no=room_no, since=since, upto=upto, me=me)
    return [Receipt(*row) for row in rows]


async def read_since(snap: Snap, room_no: int, since: int, upto: int, me: int) -> bool:
    """Whether somebody set a receipt in since < pos <= upto."""
    params = {"room_no": room_no, "since": since, "upto": upto, "me": me}
    return await snap.one(_READ_SINCE, **params) is not None


async def thread_reads(snap: Snap, room_no: int, user_no: int) -> dict[str, int]:
    """Thread root → how far read; '' for unthreaded."""
    rows = await snap.all(_THREAD_READS, room_no=room_no, user_no=user_no)
    return {row[0]: row[1] for row in rows}


async def standing(snap: Snap, room_no: int, user_no: int) -> Standing | None:
    """A person's place in a room."""
    row = await snap.one(_STANDING, room_no=room_no, user_no=user_no)
    return Standing(*row) if row else None


async def standings(snap: Snap, user_no: int) -> list[Standing]:
    """A person's places in all rooms."""
    return [Standing(*row) for row in await snap.all(_STANDINGS, user_no=user_no)]


async def changed_standings(snap: Snap, user_no: int, since: int, upto: int) -> list[Standing]:
    """Places whose membership changed in since < pos <= upto."""
    rows = await snap.all(_STANDINGS_CHANGED, user_no=user_no, since=since, upto=upto)
    return [Standing(*row) for row in rows]
