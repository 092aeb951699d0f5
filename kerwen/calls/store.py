"""Delayed leaves that were handed over to us."""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD = sql(
    "insert into call_leaves (delay_id, user_no, call_name, identity, period_ms) values"
    " (:delay_id, :user_no, :call, :identity, :period_ms) on conflict (delay_id) do update set"
    " call_name = excluded.call_name, identity = excluded.identity"
)
_ALL = sql("select delay_id, user_no, call_name, identity, period_ms from call_leaves")
_DROP = sql("delete from call_leaves where delay_id = :delay_id")
_DROP_ACCOUNT = sql("delete from call_leaves where user_no = :user_no")


@dataclass(frozen=True, slots=True)
class Leave:
    """One of them: whose it is, and in which call under which identity its device is."""

    delay_id: str
    user_no: int
    call: str
    identity: str
    period_ms: int


async def add(tx: Tx, leave: Leave) -> None:
    """Keeps one; the same one may come again."""
    await tx.run(
        _ADD,
        delay_id=leave.delay_id,
        user_no=leave.user_no,
        call=leave.call,
        identity=leave.identity,
        period_ms=leave.period_ms,
    )


async def everything(snap: Snap) -> list[Leave]:
    """All that are kept."""
    return [Leave(*row) for row in await snap.all(_ALL)]


async def drop(tx: Tx, delay_id: str) -> None:
    """One is done with."""
    await tx.run(_DROP, delay_id=delay_id)


async def drop_account(tx: Tx, user_no: int) -> None:
    """All of somebody who leaves for good."""
    await tx.run(_DROP_ACCOUNT, user_no=user_no)
