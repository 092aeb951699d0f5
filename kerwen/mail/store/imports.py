"""Marks of imports: which messages are here already, and how far a folder was read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_KNOWN = sql("select tag from mail_imported where account_no = :account_no and tag {in_ints:tags}")
_MARK = sql(
    "insert into mail_imported (account_no, tag, at_ms) values (:account_no, :tag, :at_ms)"
    " on conflict do nothing"
)
_PLACE = sql(
    "select validity, uid from mail_import_places"
    " where account_no = :account_no and source = :source"
)
_MOVE = sql(
    "insert into mail_import_places (account_no, source, validity, uid, at_ms)"
    " values (:account_no, :source, :validity, :uid, :at_ms)"
    " on conflict (account_no, source) do update set"
    " validity = excluded.validity, uid = excluded.uid, at_ms = excluded.at_ms"
)


async def known(snap: Snap, account_no: int, tags: Sequence[int]) -> set[int]:
    """Which of these messages were taken over before."""
    rows = await snap.all(_KNOWN, account_no=account_no, tags=list(tags))
    return {row[0] for row in rows}


async def mark(tx: Tx, account_no: int, tags: Iterable[int], at_ms: int) -> None:
    """These are here from now on."""
    rows = [{"account_no": account_no, "tag": tag, "at_ms": at_ms} for tag in tags]
    if rows:
        await tx.many(_MARK, rows)


async def place(snap: Snap, account_no: int, source: int) -> tuple[int, int]:
    """(UIDVALIDITY, last UID) of a folder; zeros if it is new."""
    row = await snap.one(_PLACE, account_no=account_no, source=source)
    return (row[0], row[1]) if row is not None else (0, 0)


async def move(tx: Tx, account_no: int, source: int, validity: int, uid: int, at_ms: int) -> None:
    """A folder was read up to this UID."""
    await tx.run(
        _MOVE, account_no=account_no, source=source, validity=validity, uid=uid, at_ms=at_ms
    )
