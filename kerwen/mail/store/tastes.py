"""Sealed models of what people take for junk, and up to where their mail was sorted by them."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_GET = sql("select version, sorted, box from mail_tastes where account_no = :account_no")
_NEWS = sql(
    "select t.sorted from mail_tastes t join mail_accounts a on a.account_no = t.account_no"
    " where t.account_no = :account_no and a.modseq > t.sorted"
)
_ADD = sql(
    "insert into mail_tastes (account_no, version, sorted, box)"
    " values (:account_no, 1, :sorted, :box) on conflict do nothing"
)
_SET = sql(
    "update mail_tastes set version = version + 1, box = :box"
    " where account_no = :account_no and version = :version"
)
_SORTED = sql(
    "update mail_tastes set sorted = :sorted where account_no = :account_no and sorted < :sorted"
)


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A row of `mail_tastes`."""

    version: int
    sorted: int
    box: bytes


async def get(snap: Snap, account_no: int) -> Kept | None:
    """An account's model; None: it learned nothing yet."""
    row = await snap.one(_GET, account_no=account_no)
    return Kept(row[0], row[1], bytes(row[2])) if row else None


async def unsorted_since(snap: Snap, account_no: int) -> int | None:
    """The MODSEQ up to which mail was sorted; None: nothing happened since, or no model."""
    row = await snap.one(_NEWS, account_no=account_no)
    return row[0] if row else None


async def put(tx: Tx, account_no: int, before: Kept | None, box: bytes, modseq: int) -> bool:
    """Writes a model; false if somebody else wrote one since `before` was read."""
    if before is None:
        return await tx.run(_ADD, account_no=account_no, sorted=modseq, box=box) == 1
    done = await tx.run(_SET, account_no=account_no, version=before.version, box=box)
    return done == 1


async def set_sorted(tx: Tx, account_no: int, modseq: int) -> None:
    """What came up to this MODSEQ was looked at."""
    await tx.run(_SORTED, account_no=account_no, sorted=modseq)
