"""How far services were told, the transactions under way, and what they are told from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from kerwen.storage.database import Change, Snap, Tx
from kerwen.storage.sql import sql

Place = tuple[int, int]
"""(position, index within it) on the feed."""


class Standing(msgspec.Struct, gc=False):
    """How far a service was told, and what is under way to it."""

    txns: int
    done: Place
    failures: int
    retry_ms: int
    txn_id: str | None
    upto: Place
    body: bytes
    fetched: list[tuple[int, int]]


class Local(msgspec.Struct, gc=False):
    """A member row, as far as interest asks."""

    user_no: int
    user_id: str
    membership: str
    pos: int
    joined_pos: int


class Owner(msgspec.Struct, gc=False):
    """Whose a device is."""

    device_no: int
    device_id: str
    user_id: str
    account_no: int


_ADD = sql(
    "insert into app_services (service_id, done_pos, done_n) values (:service_id, :at, :n)"
    " on conflict do nothing"
)
_GET = sql(
    "select txns, done_pos, done_n, failures, retry_ms, txn_id, txn_pos, txn_n, body, fetched"
    " from app_services where service_id = :service_id"
)
_BEGIN = sql(
    "update app_services set txns = txns + 1, txn_id = :txn_id, txn_pos = :at, txn_n = :n,"
    " body = :body, fetched = :fetched, failures = 0, retry_ms = 0"
    " where service_id = :service_id and txn_id is null"
)
_FAIL = sql(
    "update app_services set failures = :failures, retry_ms = :retry_ms"
    " where service_id = :service_id and txn_id = :txn_id"
)
_DONE = sql(
    "update app_services set txn_id = null, body = null, fetched = null, failures = 0,"
    " retry_ms = 0, done_pos = :at, done_n = :n"
    " where service_id = :service_id and txn_id = :txn_id"
)
_SKIP = sql(
    "update app_services set done_pos = :at, done_n = :n where service_id = :service_id"
    " and txn_id is null"
)
_FEED = sql(
    "select pos, items from feed where pos > :since and pos <= :upto order by pos limit :top"
)
_MEMBERS = sql(
    "select m.user_no, u.user_id, m.membership, m.pos, m.joined_pos from members m"
    " join users u on u.user_no = m.user_no where m.room_no = :room_no"
    " and substr(u.user_id, length(u.user_id) - length(:domain) + 1) = :domain"
)
_OWNER = sql(
    "select d.device_no, d.device_id, u.user_id, d.account_no from devices d"
    " join users u on u.user_no = d.account_no"
    " join app_service_users a on a.account_no = d.account_no and a.service_id = :service_id"
    " where d.device_no = :device_no"
)
_ADD_USER = sql(
    "insert into app_service_users (account_no, service_id) values (:account_no, :service_id)"
)
_SERVICE_OF = sql("select service_id from app_service_users where account_no = :account_no")
_DROP_USER = sql("delete from app_service_users where account_no = :account_no")
_SHARING = sql(
    "select distinct u.user_id from members m join members o on o.room_no = m.room_no"
    " join users u on u.user_no = o.user_no"
    " where m.user_no = :user_no and m.membership = 'join' and o.membership = 'join'"
)
_USER_ID = sql("select user_id from users where user_no = :user_no")
_RECEIPTS = sql(
    "select u.user_id, r.type, r.thread, r.event_id, r.ts from receipts r"
    " join users u on u.user_no = r.user_no"
    " where r.room_no = :room_no and r.user_no = :user_no and r.pos >= :since"
    " order by r.type, r.thread"
)
_LIST = sql(
    "insert into app_service_rooms (service_id, network_id, room_no)"
    " values (:service_id, :network_id, :room_no) on conflict do nothing"
)
_UNLIST = sql(
    "delete from app_service_rooms where service_id = :service_id"
    " and network_id = :network_id and room_no = :room_no"
)
_LISTED = sql(
    "select room_no from app_service_rooms where service_id = :service_id"
    " and network_id = :network_id order by room_no limit 10000"
)
_ALL_LISTED = sql("select distinct room_no from app_service_rooms order by room_no limit 10000")


# --- transactions ---------------------------------------------------------------------------


async def add(tx: Tx, service_id: str, at: int) -> None:
    """A service that is new here is told from a position on."""
    await tx.run(_ADD, service_id=service_id, at=at, n=2**31)


async def standing(snap: Snap, service_id: str) -> Standing | None:
    """How far a service was told."""
    row = await snap.one(_GET, service_id=service_id)
    if row is None:
        return None
    fetched = [(no, pos) for no, pos in orjson.loads(row[9])] if row[9] else []
    return Standing(
        row[0],
        (row[1], row[2]),
        row[3],
        row[4],
        row[5],
        (row[6] or 0, row[7] or 0),
        bytes(row[8]) if row[8] is not None else b"",
        fetched,
    )


async def begin(
    tx: Tx,
    service_id: str,
    txn_id: str,
    upto: Place,
    body: bytes,
    fetched: Sequence[tuple[int, int]],
) -> bool:
    """Writes a transaction down before it is sent; false if another one is under way."""
    return (
        await tx.run(
            _BEGIN,
            service_id=service_id,
            txn_id=txn_id,
            at=upto[0],
            n=upto[1],
            body=body,
            fetched=orjson.dumps(fetched).decode(),
        )
        == 1
    )


async def fail(tx: Tx, service_id: str, txn_id: str, failures: int, retry_ms: int) -> None:
    """It was not taken; it is tried again at `retry_ms`."""
    await tx.run(_FAIL, service_id=service_id, txn_id=txn_id, failures=failures, retry_ms=retry_ms)


async def done(tx: Tx, service_id: str, txn_id: str, upto: Place) -> bool:
    """The service took it; false if somebody else was told so already."""
    taken = await tx.run(_DONE, service_id=service_id, txn_id=txn_id, at=upto[0], n=upto[1])
    return taken == 1


async def skip_to(tx: Tx, service_id: str, upto: Place) -> None:
    """Nothing up to a place is for the service, or can be told any more."""
    await tx.run(_SKIP, service_id=service_id, at=upto[0], n=upto[1])


async def feed(snap: Snap, since: int, upto: int, top: int) -> list[tuple[int, list[Change]]]:
    """(position, changes) of the feed in since < pos <= upto."""
    rows = await snap.all(_FEED, since=since, upto=upto, top=top)
    return [(row[0], [(k, s, r) for k, s, r in orjson.loads(row[1])]) for row in rows]


# --- what they are told from ----------------------------------------------------------------


async def local_members(snap: Snap, room_no: int, domain: str) -> list[Local]:
    """Our users in a room, now or once; `domain` with its colon. May be long."""
    return [Local(*row) for row in await snap.all(_MEMBERS, room_no=room_no, domain=domain)]


async def add_user(tx: Tx, account_no: int, service_id: str) -> None:
    """A service has registered an account."""
    await tx.run(_ADD_USER, account_no=account_no, service_id=service_id)


async def service_of(snap: Snap, account_no: int) -> str | None:
    """The service that registered an account; None for people."""
    row = await snap.one(_SERVICE_OF, account_no=account_no)
    return row[0] if row else None


async def drop_user(tx: Tx, account_no: int) -> None:
    """The account is closed."""
    await tx.run(_DROP_USER, account_no=account_no)


async def owner(snap: Snap, service_id: str, device_no: int) -> Owner | None:
    """Whose a device is, if a service registered them."""
    row = await snap.one(_OWNER, service_id=service_id, device_no=device_no)
    return Owner(*row) if row else None


async def sharing_ids(snap: Snap, user_no: int) -> list[str]:
    """User ids of everybody with whom somebody shares a room, themselves among them."""
    return [row[0] for row in await snap.all(_SHARING, user_no=user_no)]


async def user_id(snap: Snap, user_no: int) -> str | None:
    """A user's id."""
    row = await snap.one(_USER_ID, user_no=user_no)
    return row[0] if row else None


async def receipts(
    snap: Snap, room_no: int, user_no: int, since: int
) -> list[tuple[str, str, str, str, int]]:
    """(user id, type, thread, event id, time) of somebody's receipts set from a position on."""
    rows = await snap.all(_RECEIPTS, room_no=room_no, user_no=user_no, since=since)
    return [(r[0], r[1], r[2], r[3], r[4]) for r in rows]


# --- directories ----------------------------------------------------------------------------


async def list_room(tx: Tx, service_id: str, network_id: str, room_no: int, shown: bool) -> None:
    """Shows a room in the directory of a network, or hides it."""
    await tx.run(
        _LIST if shown else _UNLIST,
        service_id=service_id,
        network_id=network_id,
        room_no=room_no,
    )


async def listed_rooms(snap: Snap, service_id: str, network_id: str) -> list[int]:
    """The rooms that a service lists for a network."""
    rows = await snap.all(_LISTED, service_id=service_id, network_id=network_id)
    return [row[0] for row in rows]


async def all_listed_rooms(snap: Snap) -> list[int]:
    """The rooms that any service lists."""
    return [row[0] for row in await snap.all(_ALL_LISTED)]
