"""Addresses that hide an account's own."""

from __future__ import annotations

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_FIND = sql("select account_no, enabled from mail_masks where local = :local")
_OF = sql(
    "select local, made_ms, enabled from mail_masks where account_no = :account_no"
    " order by made_ms, local"
)
_COUNT = sql("select count(*) from mail_masks where account_no = :account_no")
_ADD = sql(
    "insert into mail_masks (local, account_no, made_ms, enabled)"
    " values (:local, :account_no, :made_ms, 1) on conflict do nothing"
)
_SET = sql(
    "update mail_masks set enabled = :enabled where local = :local and account_no = :account_no"
)
_DROP = sql("delete from mail_masks where local = :local and account_no = :account_no")


class Mask(msgspec.Struct, frozen=True):
    """One address, without the domain."""

    local: str
    made_ms: int
    enabled: bool


async def find(snap: Snap, local: str) -> tuple[int, bool] | None:
    """(account, whether mail is taken)."""
    row = await snap.one(_FIND, local=local)
    return (row[0], bool(row[1])) if row is not None else None


async def of(snap: Snap, account_no: int) -> list[Mask]:
    """An account's, the oldest first."""
    rows = await snap.all(_OF, account_no=account_no)
    return [Mask(row[0], row[1], bool(row[2])) for row in rows]


async def count(snap: Snap, account_no: int) -> int:
    """How many an account has."""
    row = await snap.one(_COUNT, account_no=account_no)
    return int(row[0]) if row is not None else 0


async def add(tx: Tx, account_no: int, local: str, made_ms: int) -> bool:
    """False if it is taken."""
    return await tx.run(_ADD, local=local, account_no=account_no, made_ms=made_ms) == 1


async def enable(tx: Tx, account_no: int, local: str, enabled: bool) -> bool:
    """False if it is not the account's."""
    done = await tx.run(_SET, local=local, account_no=account_no, enabled=int(enabled))
    return done == 1


async def drop(tx: Tx, account_no: int, local: str) -> bool:
    """False if it is not the account's."""
    return await tx.run(_DROP, local=local, account_no=account_no) == 1
