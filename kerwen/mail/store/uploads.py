"""Files that were uploaded over JMAP and are in no message yet."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD = sql(
    "insert into mail_uploads (upload_no, account_no, created_ms, size, type, blob, box)"
    " values (:upload_no, :account_no, :created_ms, :size, :type, :blob, :box)"
)
_GET = sql(
    "select upload_no, account_no, created_ms, size, type, blob, box from mail_uploads"
    " where upload_no = :upload_no and account_no = :account_no"
)
_SUM = sql(
    "select count(*), coalesce(sum(size), 0) from mail_uploads where account_no = :account_no"
)
_OLDEST = sql(
    "select upload_no, blob from mail_uploads where account_no = :account_no"
    " order by upload_no limit :most"
)
_OLD = sql(
    "select upload_no, blob from mail_uploads where created_ms < :before"
    " order by created_ms limit :most"
)
_DROP = sql("delete from mail_uploads where upload_no {in_ints:nos}", sealed=True)


class Upload(msgspec.Struct, frozen=True, gc=False):
    """A row of `mail_uploads`."""

    upload_no: int
    account_no: int
    created_ms: int
    size: int
    type: str
    blob: str | None
    box: bytes | None


async def add(tx: Tx, made: Upload) -> None:
    """Writes a row."""
    await tx.run(_ADD, **msgspec.structs.asdict(made))


async def get(snap: Snap, account_no: int, upload_no: int) -> Upload | None:
    """A file of an account."""
    row = await snap.one(_GET, account_no=account_no, upload_no=upload_no)
    return Upload(*row) if row else None


async def usage(snap: Snap, account_no: int) -> tuple[int, int]:
    """How many an account has, and their bytes."""
    row = await snap.one(_SUM, account_no=account_no)
    return (int(row[0]), int(row[1])) if row else (0, 0)


async def oldest(snap: Snap, account_no: int, most: int) -> list[Any]:
    """(number, blob) of an account's eldest."""
    return [(row[0], row[1]) for row in await snap.all(_OLDEST, account_no=account_no, most=most)]


async def old(snap: Snap, before_ms: int, most: int) -> list[Any]:
    """(number, blob) of those from before a time."""
    return [(row[0], row[1]) for row in await snap.all(_OLD, before=before_ms, most=most)]


async def drop(tx: Tx, nos: list[int]) -> None:
    """Removes rows."""
    await tx.run(_DROP, nos=nos)
