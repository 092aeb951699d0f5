"""Sieve scripts of accounts, their vacations, and what scripts remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_FILTERS = sql(
    "select changes, next_no, active, vacation from mail_filters where account_no = :account_no"
)
_LOCK = sql(
    "select changes, next_no, active, vacation from mail_filters where account_no = :account_no"
    " {for_update}"
)
_ADD = sql(
    "insert into mail_filters (account_no, changes, next_no, active, vacation)"
    " values (:account_no, 0, 1, 0, '') on conflict do nothing"
)
_SAVE = sql(
    "update mail_filters set changes = :changes, next_no = :next_no, active = :active,"
    " vacation = :vacation where account_no = :account_no"
)
_LIST = sql(
    "select script_no, name, source from mail_scripts where account_no = :account_no"
    " order by script_no"
)
_NAMES = sql(
    "select script_no, name, length(source) from mail_scripts where account_no = :account_no"
    " order by script_no"
)
_NAMED = sql(
    "select script_no, name, source from mail_scripts"
    " where account_no = :account_no and name = :name"
)
_PUT = sql(
    "insert into mail_scripts (account_no, script_no, name, source)"
    " values (:account_no, :no, :name, :source)"
    " on conflict (account_no, script_no)"
    " do update set name = excluded.name, source = excluded.source"
)
_DROP = sql("delete from mail_scripts where account_no = :account_no and script_no = :script_no")
_SEEN = sql(
    "select tag, until_ms from mail_remembered where account_no = :account_no"
    " and tag {in_ints:tags}"
)
_REMEMBER = sql(
    "insert into mail_remembered (account_no, tag, until_ms)"
    " values (:account_no, :tag, :until)"
    " on conflict (account_no, tag) do update set until_ms = excluded.until_ms"
)
_COUNT = sql("select count(*) from mail_remembered where account_no = :account_no")
_SWEEP = sql(
    "delete from mail_remembered where (account_no, tag) in (select account_no, tag"
    " from mail_remembered where until_ms < :before order by until_ms limit :most)"
)


class Filters(msgspec.Struct, gc=False):
    """A row of `mail_filters`."""

    account_no: int
    changes: int = 0
    next_no: int = 1
    active: int = 0
    vacation: str = ""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A script as it is kept."""

    no: int
    name: str
    source: str


class Named(msgspec.Struct, frozen=True, gc=False):
    """A script without its text. `length` in characters."""

    no: int
    name: str
    length: int


async def filters(snap: Snap, account_no: int) -> Filters | None:
    """None where there never was a script or a vacation."""
    row = await snap.one(_FILTERS, account_no=account_no)
    return Filters(account_no, *row) if row else None


async def lock(tx: Tx, account_no: int) -> Filters:
    """The row, locked; made if it is not there."""
    row = await tx.one(_LOCK, account_no=account_no)
    if row is None:
        await tx.run(_ADD, account_no=account_no)
        row = await tx.one(_LOCK, account_no=account_no)
    assert row is not None, "it was added just now"
    return Filters(account_no, *row)


async def save(tx: Tx, one: Filters) -> None:
    """Writes a locked row."""
    await tx.run(
        _SAVE,
        account_no=one.account_no,
        changes=one.changes,
        next_no=one.next_no,
        active=one.active,
        vacation=one.vacation,
    )


async def every(snap: Snap, account_no: int) -> list[Stored]:
    """All scripts of an account, oldest first."""
    return [Stored(*row) for row in await snap.all(_LIST, account_no=account_no)]


async def names(snap: Snap, account_no: int) -> list[Named]:
    """The same without their texts."""
    return [Named(*row) for row in await snap.all(_NAMES, account_no=account_no)]


async def named(snap: Snap, account_no: int, name: str) -> Stored | None:
    """The script of a name."""
    row = await snap.one(_NAMED, account_no=account_no, name=name)
    return Stored(*row) if row else None


async def put(tx: Tx, account_no: int, one: Stored) -> None:
    """Writes a script, new or changed."""
    await tx.run(_PUT, account_no=account_no, no=one.no, name=one.name, source=one.source)


async def drop(tx: Tx, account_no: int, script_no: int) -> None:
    """Removes a script."""
    await tx.run(_DROP, account_no=account_no, script_no=script_no)


async def seen(snap: Snap, account_no: int, tags: Sequence[int], now_ms: int) -> set[int]:
    """Which of these tags are remembered still."""
    rows = await snap.all(_SEEN, account_no=account_no, tags=list(tags))
    return {row[0] for row in rows if row[1] > now_ms}


async def remember(tx: Tx, account_no: int, tags: Mapping[int, int], most: int) -> None:
    """Remembers tags until a time each; no more than `most` of an account's."""
    row = await tx.one(_COUNT, account_no=account_no)
    if row is not None and row[0] + len(tags) > most:
        return
    rows = [{"account_no": account_no, "tag": tag, "until": until} for tag, until in tags.items()]
    await tx.many(_REMEMBER, rows)


async def sweep(tx: Tx, before_ms: int, most: int) -> int:
    """Forgets what is over; how many."""
    return await tx.run(_SWEEP, before=before_ms, most=most)
