"""The rows of `mail_segments` and `mail_vanished`: what lies in a mailbox, and what left it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from kerwen.base import limits
from kerwen.mail.store import mailboxes
from kerwen.mail.store.segment import FULL, Placed, Segment, appended, decode, pack, unpack
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ALL = sql(
    "select first_uid, modseq, columns from mail_segments"
    " where account_no = :account_no and mailbox_no = :mailbox_no order by first_uid"
)
_SINCE = sql(
    "select first_uid, modseq, columns from mail_segments where account_no = :account_no"
    " and mailbox_no = :mailbox_no and modseq > :since order by first_uid"
)
_TAIL = sql(
    "select first_uid, modseq, columns from mail_segments where account_no = :account_no"
    " and mailbox_no = :mailbox_no order by first_uid desc limit 1"
)
_BETWEEN = sql(
    "select first_uid, modseq, columns from mail_segments where account_no = :account_no"
    " and mailbox_no = :mailbox_no and first_uid <= :last and first_uid >= coalesce("
    "(select max(first_uid) from mail_segments where account_no = :account_no"
    " and mailbox_no = :mailbox_no and first_uid <= :first), 0) order by first_uid"
)
_PUT = sql(
    "insert into mail_segments (account_no, mailbox_no, first_uid, modseq, columns)"
    " values (:account_no, :mailbox_no, :first_uid, :modseq, :columns)"
    " on conflict (account_no, mailbox_no, first_uid)"
    " do update set modseq = excluded.modseq, columns = excluded.columns"
)
_DROP = sql(
    "delete from mail_segments where account_no = :account_no and mailbox_no = :mailbox_no"
    " and first_uid {in_ints:firsts}"
)
_DROP_ALL = sql(
    "delete from mail_segments where account_no = :account_no and mailbox_no = :mailbox_no"
)
_VANISH = sql(
    "insert into mail_vanished (account_no, mailbox_no, modseq, uids, nos, at_s, threads)"
    " values (:account_no, :mailbox_no, :modseq, :uids, :nos, :at_s, :threads)"
)
_VANISHED = sql(
    "select uids from mail_vanished where account_no = :account_no"
    " and mailbox_no = :mailbox_no and modseq > :since order by modseq"
)
_VANISHED_ROWS = sql(
    "select modseq, nos, threads from mail_vanished where account_no = :account_no"
    " and modseq > :since order by modseq"
)
_BEFORE = sql(
    "select max(modseq) from mail_vanished where account_no = :account_no"
    " and modseq <= :modseq and at_s < :before"
)
_OLD = sql(
    "select modseq from mail_vanished where account_no = :account_no"
    " order by modseq desc limit 1 offset :keep"
)
_FORGET = sql("delete from mail_vanished where account_no = :account_no and modseq <= :modseq")


_FORGET_EVERY = 256  # deeds between two looks at what may be forgotten


class Row(msgspec.Struct, gc=False):
    """A segment as it stands in its row."""

    first_uid: int
    modseq: int
    segment: Segment


async def all_of(snap: Snap, account_no: int, mailbox_no: int) -> list[Row]:
    """Everything in a mailbox."""
    rows = await snap.all(_ALL, account_no=account_no, mailbox_no=mailbox_no)
    return [Row(first, modseq, decode(columns)) for first, modseq, columns in rows]


async def since(snap: Snap, account_no: int, mailbox_no: int, modseq: int) -> list[Row]:
    """The segments in which something changed after a MODSEQ."""
    rows = await snap.all(_SINCE, account_no=account_no, mailbox_no=mailbox_no, since=modseq)
    return [Row(first, modseq, decode(columns)) for first, modseq, columns in rows]


async def tail(snap: Snap, account_no: int, mailbox_no: int) -> Row | None:
    """The segment with the highest UIDs."""
    row = await snap.one(_TAIL, account_no=account_no, mailbox_no=mailbox_no)
    return Row(row[0], row[1], decode(row[2])) if row else None


async def between(snap: Snap, account_no: int, mailbox_no: int, first: int, last: int) -> list[Row]:
    """The segments that may hold UIDs from `first` to `last`."""
    rows = await snap.all(
        _BETWEEN, account_no=account_no, mailbox_no=mailbox_no, first=first, last=last
    )
    return [Row(first, modseq, decode(columns)) for first, modseq, columns in rows]


async def put(tx: Tx, account_no: int, mailbox_no: int, rows: Sequence[Row]) -> None:
    """Writes segments; those that are empty go."""
    kept = [
        {
            "account_no": account_no,
            "mailbox_no": mailbox_no,
            "first_uid": row.first_uid,
            "modseq": row.modseq,
            "columns": row.segment.encode(),
        }
        for row in rows
        if len(row.segment)
    ]
    if len(kept) == 1:
        await tx.run(_PUT, **kept[0])
    elif kept:
        await tx.many(_PUT, kept)
    if len(kept) < len(rows):
        firsts = [row.first_uid for row in rows if not len(row.segment)]
        await tx.run(_DROP, account_no=account_no, mailbox_no=mailbox_no, firsts=firsts)


async def add(tx: Tx, account_no: int, mailbox_no: int, added: Segment, modseq: int) -> None:
    """Puts messages behind all others of a mailbox."""
    if len(added) == 1:
        await add_one(tx, account_no, mailbox_no, added[0])
        return
    last = await tail(tx, account_no, mailbox_no)
    await put(tx, account_no, mailbox_no, behind(last, added, modseq))


async def add_one(tx: Tx, account_no: int, mailbox_no: int, one: Placed) -> None:
    """Puts one message behind all others of a mailbox."""
    row = await tx.one(_TAIL, account_no=account_no, mailbox_no=mailbox_no)
    if row is not None:
        raw = bytes(row[2])
        if raw[1] | raw[2] << 8 < FULL and (columns := appended(raw, one)) is not None:
            await tx.run(
                _PUT,
                account_no=account_no,
                mailbox_no=mailbox_no,
                first_uid=row[0],
                modseq=one.modseq,
                columns=columns,
            )
            return
    added = Segment()
    added.append(one)
    last = Row(row[0], row[1], decode(row[2])) if row is not None else None
    await put(tx, account_no, mailbox_no, behind(last, added, one.modseq))


def behind(last: Row | None, added: Segment, modseq: int) -> list[Row]:
    """The rows to write so that `added` stands behind `last`."""
    rows: list[Row] = []
    at = 0
    if last is not None and len(last.segment) < FULL:
        at = min(FULL - len(last.segment), len(added))
        last.segment.extend(added if at == len(added) else added.slice(0, at))
        rows.append(Row(last.first_uid, modseq, last.segment))
    while at < len(added):
        piece = added.slice(at, at + FULL)
        rows.append(Row(piece.uids[0], modseq, piece))
        at += FULL
    return rows


async def drop_all(tx: Tx, account_no: int, mailbox_no: int) -> None:
    """Empties a mailbox that goes away."""
    await tx.run(_DROP_ALL, account_no=account_no, mailbox_no=mailbox_no)


async def vanish(
    tx: Tx,
    account_no: int,
    mailbox_no: int,
    modseq: int,
    gone: Segment,
    now_s: int,
) -> None:
    """Remembers what left a mailbox. # RFC 7162 §3.2.10"""
    await tx.run(
        _VANISH,
        account_no=account_no,
        mailbox_no=mailbox_no,
        modseq=modseq,
        uids=pack("I", gone.uids),
        nos=pack("Q", gone.nos),
        at_s=now_s,
        threads=pack("Q", gone.threads),
    )
    if modseq % _FORGET_EVERY == 0:
        before_s = now_s - limits.VANISHED_KEPT_S
        forgot = await forget(tx, account_no, limits.VANISHED_KEPT, before_s)
        if forgot is not None:
            await mailboxes.set_forgot(tx, account_no, forgot)


async def vanished(snap: Snap, account_no: int, mailbox_no: int, modseq: int) -> array[int]:
    """UIDs that left a mailbox after a MODSEQ."""
    rows = await snap.all(_VANISHED, account_no=account_no, mailbox_no=mailbox_no, since=modseq)
    return unpack("I", b"".join(row[0] for row in rows))


class Vanished(msgspec.Struct, frozen=True, gc=False):
    """Messages that left some mailbox by one deed. `threads` None: they are not known."""

    modseq: int
    nos: array[int]
    threads: array[int] | None


async def vanished_since(snap: Snap, account_no: int, modseq: int) -> list[Vanished]:
    """What left any mailbox after a MODSEQ."""
    rows = await snap.all(_VANISHED_ROWS, account_no=account_no, since=modseq)
    return [
        Vanished(row[0], unpack("Q", row[1]), unpack("Q", row[2]) if row[2] is not None else None)
        for row in rows
    ]


async def forget(tx: Tx, account_no: int, keep: int, before_s: int) -> int | None:
    """Forgets deeds from before a time, but not the newest `keep`; and whatever is more than
    anybody could tell a client. The MODSEQ up to which nothing is known now."""
    row = await tx.one(_OLD, account_no=account_no, keep=keep)
    if row is None:
        return None
    old = await tx.one(_BEFORE, account_no=account_no, modseq=row[0], before=before_s)
    many = await tx.one(_OLD, account_no=account_no, keep=limits.VANISHED_MAX)
    modseq = max((old and old[0]) or 0, (many and many[0]) or 0)
    if not modseq:
        return None
    await tx.run(_FORGET, account_no=account_no, modseq=modseq)
    return int(modseq)
