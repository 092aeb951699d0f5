"""Account data, filters and pushers in the database.

A row of account data keeps its newest position only: an answer that ends at `upto` leaves a
newer row for the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
import orjson

from kerwen.rooms.push_ruleset import Ruleset, default_ruleset, with_defaults
from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

PUSH_RULES: Final = "m.push_rules"
FILTERS_MAX: Final = 500  # of one account; the oldest go
PUSHERS_MAX: Final = 100

_LOCK = sql("select user_id from users where user_no = :account_no {for_update}")
_USER = sql("select user_id from users where user_no = :account_no")
_GLOBAL = sql("select content from account_data where account_no = :account_no and type = :type")
_GLOBALS = sql(
    "select type, content from account_data"
    " where account_no = :account_no and pos > :since and pos <= :upto order by pos, type"
)
_SET_GLOBAL = sql(
    "insert into account_data (account_no, type, pos, content)"
    " values (:account_no, :type, :pos, :content)"
    " on conflict (account_no, type) do update set pos = excluded.pos, content = excluded.content"
)
_COUNT_GLOBAL = sql("select count(*) from account_data where account_no = :account_no")
_RULES_OF = sql(
    "select u.user_no, u.user_id, a.content from users u left join account_data a"
    " on a.account_no = u.user_no and a.type = 'm.push_rules' where u.user_no {in_ints:nos}"
)
_ROOM = sql(
    "select content from room_account_data"
    " where account_no = :account_no and room_no = :room_no and type = :type"
)
_ROOMS = sql(
    "select room_no, type, content from room_account_data"
    " where account_no = :account_no and pos > :since and pos <= :upto order by pos, room_no, type"
)
_ROOMS_IN = sql(
    "select room_no, type, content from room_account_data where account_no = :account_no"
    " and room_no {in_ints:rooms} and pos > :since and pos <= :upto order by pos, room_no, type"
)
_SET_ROOM = sql(
    "insert into room_account_data (account_no, room_no, type, pos, content)"
    " values (:account_no, :room_no, :type, :pos, :content)"
    " on conflict (account_no, room_no, type)"
    " do update set pos = excluded.pos, content = excluded.content"
)
_COUNT_ROOM = sql(
    "select count(*) from room_account_data where account_no = :account_no and room_no = :room_no"
)
_FILTER = sql(
    "select source from filters where account_no = :account_no and filter_no = :filter_no"
)
_FILTER_BY_HASH = sql(
    "select filter_no from filters where account_no = :account_no and hash = :hash"
)
_LAST_FILTER = sql("select max(filter_no) from filters where account_no = :account_no")
_ADD_FILTER = sql(
    "insert into filters (account_no, filter_no, hash, source)"
    " values (:account_no, :filter_no, :hash, :source)"
)
_TRIM_FILTERS = sql(
    "delete from filters where account_no = :account_no and filter_no <= :filter_no"
)
_PUSHERS = sql(
    "select app_id, pushkey, kind, device_no, body from pushers where account_no = :account_no"
    " order by app_id, pushkey"
)
_COUNT_PUSHERS = sql("select count(*) from pushers where account_no = :account_no")
_SET_PUSHER = sql(
    "insert into pushers (account_no, app_id, pushkey, kind, device_no, body, set_ms)"
    " values (:account_no, :app_id, :pushkey, :kind, :device_no, :body, :set_ms)"
    " on conflict (account_no, app_id, pushkey) do update set kind = excluded.kind,"
    " device_no = excluded.device_no, body = excluded.body, set_ms = excluded.set_ms"
)
_DROP_PUSHER = sql(
    "delete from pushers where account_no = :account_no and app_id = :app_id and pushkey = :pushkey"
)
_DROP_FOREIGN_PUSHERS = sql(
    "delete from pushers where app_id = :app_id and pushkey = :pushkey"
    " and account_no <> :account_no"
)
_DROP_DEVICE_PUSHERS = sql("delete from pushers where device_no {in_ints:device_nos}")
_PUSHED = sql("update members set pushed = 1 where user_no = :account_no and pushed = 0")
_DROP_ACCOUNT = tuple(
    sql(f"delete from {table} where account_no = :account_no")
    for table in ("account_data", "room_account_data", "filters", "pushers")
)


class Pusher(msgspec.Struct, frozen=True, gc=False):
    """Where and how an account's notifications go out; `body` is JSON as clients see it."""

    app_id: str
    pushkey: str
    kind: str
    device_no: int
    body: bytes


_OWN_RULES = sql("update members set own_rules = 1 where user_no = :account_no and own_rules = 0")


async def lock(tx: Tx, account_no: int) -> str:
    """Waits until nobody else changes this account's data; returns its user id."""
    row = await tx.one(_LOCK, account_no=account_no)
    assert row is not None, "an account has a user"
    return row[0]  # type: ignore[no-any-return]


# --- global ---------------------------------------------------------------------------------


async def get_global(snap: Snap, account_no: int, type: str) -> bytes | None:
    """The content of a type as it is stored."""
    row = await snap.one(_GLOBAL, account_no=account_no, type=type)
    return bytes(row[0]) if row else None


async def count_global(snap: Snap, account_no: int) -> int:
    """How many types an account keeps."""
    row = await snap.one(_COUNT_GLOBAL, account_no=account_no)
    return row[0] if row else 0


def set_global(tx: Tx, account_no: int, type: str, content: bytes) -> None:
    """Sets a type at the transaction's end and tells it; `lock` the account before."""
    tx.at_end(_SET_GLOBAL, account_no=account_no, type=type, content=content)
    tx.change(Kind.ACCOUNT_DATA, account_no)


async def global_account_data(
    snap: Snap, account_no: int, since: int, upto: int
) -> list[tuple[str, bytes]]:
    """(type, content) of what changed after `since`, up to `upto`; `since` 0: all there is.

    `m.push_rules` is there from the start, and always holds this server's default rules.
    """
    rows = await snap.all(_GLOBALS, account_no=account_no, since=since, upto=upto)
    found = [(row[0], bytes(row[1])) for row in rows if row[0] != PUSH_RULES]
    if since == 0 or len(found) != len(rows):
        found.append((PUSH_RULES, await push_rules_content(snap, account_no)))
    return found


# --- push rules -----------------------------------------------------------------------------


async def push_ruleset(snap: Snap, account_no: int) -> tuple[str, Ruleset]:
    """An account's user id and ruleset, the default one if it changed nothing."""
    row = await snap.one(_USER, account_no=account_no)
    assert row is not None, "an account has a user"
    stored = await get_global(snap, account_no, PUSH_RULES)
    return row[0], _ruleset(stored, row[0])


async def push_rulesets(
    snap: Snap, account_nos: Iterable[int]
) -> list[tuple[int, str, Ruleset | None]]:
    """(account_no, user id, ruleset) of many; None: the default one."""
    rows = await snap.all(_RULES_OF, nos=list(account_nos))
    return [
        (no, user_id, None if stored is None else _ruleset(bytes(stored), user_id))
        for no, user_id, stored in rows
    ]


async def push_rules_content(snap: Snap, account_no: int) -> bytes:
    """The content of `m.push_rules` as a client is shown it."""
    return orjson.dumps({"global": (await push_ruleset(snap, account_no))[1]})


def set_push_ruleset(tx: Tx, account_no: int, ruleset: Ruleset) -> None:
    """Keeps a ruleset; `lock` the account before it is read."""
    set_global(tx, account_no, PUSH_RULES, orjson.dumps({"global": ruleset}))
    tx.at_end(_OWN_RULES, account_no=account_no)


def _ruleset(stored: bytes | None, user_id: str) -> Ruleset:
    if stored is None:
        return default_ruleset(user_id)
    return with_defaults(orjson.loads(stored)["global"], user_id)


# --- per room -------------------------------------------------------------------------------


async def get_room(snap: Snap, account_no: int, room_no: int, type: str) -> bytes | None:
    """The content of a type in a room."""
    row = await snap.one(_ROOM, account_no=account_no, room_no=room_no, type=type)
    return bytes(row[0]) if row else None


async def count_room(snap: Snap, account_no: int, room_no: int) -> int:
    """How many types an account keeps in a room."""
    row = await snap.one(_COUNT_ROOM, account_no=account_no, room_no=room_no)
    return row[0] if row else 0


def set_room(tx: Tx, account_no: int, room_no: int, type: str, content: bytes) -> None:
    """Sets a type in a room at the transaction's end and tells it; `lock` the account before."""
    tx.at_end(_SET_ROOM, account_no=account_no, room_no=room_no, type=type, content=content)
    tx.change(Kind.ACCOUNT_DATA, account_no)


async def room_account_data(
    snap: Snap, account_no: int, since: int, upto: int
) -> list[tuple[int, str, bytes]]:
    """(room_no, type, content) of what changed in any room after `since`, up to `upto`."""
    rows = await snap.all(_ROOMS, account_no=account_no, since=since, upto=upto)
    return [(row[0], row[1], bytes(row[2])) for row in rows]


async def room_account_data_in(
    snap: Snap, account_no: int, room_nos: Iterable[int], since: int, upto: int
) -> list[tuple[int, str, bytes]]:
    """The same for some rooms only."""
    rows = await snap.all(
        _ROOMS_IN,
        account_no=account_no,
        rooms=list(room_nos),
        since=since,
        upto=upto,
    )
    return [(row[0], row[1], bytes(row[2])) for row in rows]


async def drop_account(tx: Tx, account_no: int) -> None:
    """All account data, filters and pushers of an account that ends."""
    for statement in _DROP_ACCOUNT:
        await tx.run(statement, account_no=account_no)


# --- filters --------------------------------------------------------------------------------


async def get_filter(snap: Snap, account_no: int, filter_no: int) -> bytes | None:
    """The source of a filter."""
    row = await snap.one(_FILTER, account_no=account_no, filter_no=filter_no)
    return bytes(row[0]) if row else None


async def find_filter(snap: Snap, account_no: int, source: bytes) -> int | None:
    """The number of a filter that is kept already."""
    row = await snap.one(
        _FILTER_BY_HASH, account_no=account_no, hash=hashlib.sha256(source).digest()
    )
    return row[0] if row else None


async def add_filter(tx: Tx, account_no: int, source: bytes) -> int:
    """Keeps a filter; returns its number. `lock` the account before."""
    known = await find_filter(tx, account_no, source)
    if known is not None:
        return known
    row = await tx.one(_LAST_FILTER, account_no=account_no)
    filter_no = (row[0] or 0) + 1 if row else 1
    await tx.run(
        _ADD_FILTER,
        account_no=account_no,
        filter_no=filter_no,
        hash=hashlib.sha256(source).digest(),
        source=source,
    )
    await tx.run(_TRIM_FILTERS, account_no=account_no, filter_no=filter_no - FILTERS_MAX)
    return filter_no


async def keep_filter(tx: Tx, account_no: int, filter_no: int, source: bytes) -> None:
    """Keeps a filter under the number that clients know already; once, if it has several."""
    if await find_filter(tx, account_no, source) is None:
        await tx.run(
            _ADD_FILTER,
            account_no=account_no,
            filter_no=filter_no,
            hash=hashlib.sha256(source).digest(),
            source=source,
        )


# --- pushers --------------------------------------------------------------------------------


async def pushers(snap: Snap, account_no: int) -> list[Pusher]:
    """The pushers of an account."""
    rows = await snap.all(_PUSHERS, account_no=account_no)
    return [Pusher(row[0], row[1], row[2], row[3], bytes(row[4])) for row in rows]


async def count_pushers(snap: Snap, account_no: int) -> int:
    """How many pushers an account has."""
    row = await snap.one(_COUNT_PUSHERS, account_no=account_no)
    return row[0] if row else 0


async def set_pusher(tx: Tx, account_no: int, pusher: Pusher, now_ms: int) -> None:
    """Adds a pusher or changes it; from now on the account's rooms look for it."""
    await tx.run(_PUSHED, account_no=account_no)
    await tx.run(
        _SET_PUSHER,
        account_no=account_no,
        app_id=pusher.app_id,
        pushkey=pusher.pushkey,
        kind=pusher.kind,
        device_no=pusher.device_no,
        body=pusher.body,
        set_ms=now_ms,
    )


async def drop_pusher(tx: Tx, account_no: int, app_id: str, pushkey: str) -> bool:
    """Removes a pusher; whether there was one."""
    found = await tx.run(_DROP_PUSHER, account_no=account_no, app_id=app_id, pushkey=pushkey)
    return found > 0


async def drop_foreign_pushers(tx: Tx, account_no: int, app_id: str, pushkey: str) -> None:
    """Removes the pushers of all others that go to the same place."""
    await tx.run(_DROP_FOREIGN_PUSHERS, account_no=account_no, app_id=app_id, pushkey=pushkey)


async def drop_device_pushers(tx: Tx, device_nos: Iterable[int]) -> None:
    """Removes the pushers of devices that log out."""
    await tx.run(_DROP_DEVICE_PUSHERS, device_nos=list(device_nos))
