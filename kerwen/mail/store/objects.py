"""Small things of an account that JMAP knows: sealed, with the MODSEQs of their changes, so that
whoever was away is told what changed.
"""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_COLUMNS = "object_no, created, changed, gone, box"
_PUT = sql(
    "insert into mail_objects (account_no, kind, object_no, created, changed, gone, box)"
    " values (:account_no, :kind, :object_no, :created, :changed, :gone, :box)"
    " on conflict (account_no, kind, object_no) do update set changed = excluded.changed,"
    " gone = excluded.gone, box = excluded.box"
)
_ALL = sql(
    f"select {_COLUMNS} from mail_objects where account_no = :account_no and kind = :kind"
    " and gone = 0 order by object_no"
)
_SINCE = sql(
    f"select {_COLUMNS} from mail_objects where account_no = :account_no and kind = :kind"
    " and changed > :since order by changed, object_no"
)
_HEAD = sql(
    "select coalesce(max(changed), 0) from mail_objects where account_no = :account_no"
    " and kind = :kind"
)
_NEXT = sql(
    "select coalesce(max(object_no), 0) from mail_objects where account_no = :account_no"
    " and kind = :kind"
)
_SWEEP = sql("delete from mail_objects where gone > 0 and gone < :before")


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A row of `mail_objects`."""

    object_no: int
    created: int
    changed: int
    gone: int
    box: bytes | None


async def put(tx: Tx, account_no: int, kind: str, one: Kept) -> None:
    """Writes a thing anew."""
    await tx.run(_PUT, account_no=account_no, kind=kind, **msgspec.structs.asdict(one))


async def all_of(snap: Snap, account_no: int, kind: str) -> list[Kept]:
    """Those that are there."""
    rows = await snap.all(_ALL, account_no=account_no, kind=kind)
    return [Kept(*row) for row in rows]


async def since(snap: Snap, account_no: int, kind: str, modseq: int) -> list[Kept]:
    """Those that changed after a MODSEQ, gone ones too, in the order of the changes."""
    rows = await snap.all(_SINCE, account_no=account_no, kind=kind, since=modseq)
    return [Kept(*row) for row in rows]


async def head(snap: Snap, account_no: int, kind: str) -> int:
    """The MODSEQ of the newest change of a kind."""
    row = await snap.one(_HEAD, account_no=account_no, kind=kind)
    return int(row[0]) if row else 0


async def last(snap: Snap, account_no: int, kind: str) -> int:
    """The greatest number that one of a kind ever had, as far as it is known."""
    row = await snap.one(_NEXT, account_no=account_no, kind=kind)
    return int(row[0]) if row else 0


async def sweep(tx: Tx, before_s: int) -> int:
    """Forgets what is gone since before a time."""
    return await tx.run(_SWEEP, before=before_s)
