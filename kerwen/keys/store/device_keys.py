"""Device keys, and the log of what changed in users' device lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kerwen.keys.key_cache import StoredDevice
from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

_LOCK = sql("select device_no from devices where device_no = :device_no {for_update}")
_BODY = sql("select body from device_keys where device_no = :device_no")
_BODY_BY_ID = sql(
    "select k.body from devices d join device_keys k on k.device_no = d.device_no"
    " where d.account_no = :account_no and d.device_id = :device_id"
)
_SET = sql(
    "insert into device_keys (device_no, account_no, device_id, body)"
    " values (:device_no, :account_no, :device_id, :body)"
    " on conflict (device_no) do update set body = excluded.body"
)
_OF_USERS = sql(
    "select k.account_no, k.device_id, k.body, d.display_name from device_keys k"
    " join devices d on d.device_no = k.device_no"
    " where k.account_no {in_ints:users} order by k.device_no"
)
_IDS = sql(
    "select device_id from devices where account_no = :account_no and device_id {in_texts:ids}"
)
_DEVICES = sql(
    "select u.user_id, d.device_id, d.device_no from users u"
    " join devices d on d.account_no = u.user_no where u.user_id {in_texts:users}"
)
_USERS = sql("select user_id, user_no from users where user_id {in_texts:users}")
_USER_IDS = sql("select user_id from users where user_no {in_ints:users} order by user_id")
_MARK = sql(
    "insert into device_lists (user_no, pos) values (:user_no, :pos)"
    " on conflict (user_no) do update set pos = excluded.pos"
    " where device_lists.pos < excluded.pos"
)
_CHANGES = sql("select user_no from device_lists where pos > :since and pos <= :upto order by pos")
_POSITIONS = sql("select user_no, pos from device_lists where user_no {in_ints:users}")


async def lock_device(tx: Tx, device_no: int) -> bool:
    """Orders all uploads of one device; False if it is gone."""
    return await tx.one(_LOCK, device_no=device_no) is not None


async def device_body(snap: Snap, device_no: int) -> bytes | None:
    """A device's keys."""
    row = await snap.one(_BODY, device_no=device_no)
    return row[0] if row else None


async def device_body_by_id(snap: Snap, account_no: int, device_id: str) -> bytes | None:
    """The keys of an account's device."""
    row = await snap.one(_BODY_BY_ID, account_no=account_no, device_id=device_id)
    return row[0] if row else None


async def set_device_keys(
    tx: Tx, device_no: int, account_no: int, device_id: str, body: bytes
) -> None:
    """Publishes or replaces a device's keys."""
    await tx.run(_SET, device_no=device_no, account_no=account_no, device_id=device_id, body=body)


async def stored_devices(snap: Snap, users: Iterable[int]) -> dict[int, list[StoredDevice]]:
    """The devices with keys of users, the oldest first."""
    found: dict[int, list[StoredDevice]] = defaultdict(list)
    for account_no, device_id, body, display_name in await snap.all(_OF_USERS, users=users):
        found[account_no].append(StoredDevice(device_id, body, display_name))
    return found


async def device_ids_among(snap: Snap, account_no: int, ids: Iterable[str]) -> list[str]:
    """Which of `ids` are devices of the account."""
    return [row[0] for row in await snap.all(_IDS, account_no=account_no, ids=ids)]


async def all_devices(snap: Snap, users: Iterable[str]) -> list[tuple[str, str, int]]:
    """Devices of our users: (user id, device id, number)."""
    return await snap.all(_DEVICES, users=users)


async def user_numbers(snap: Snap, users: Iterable[str]) -> dict[str, int]:
    """Numbers by user id, of those this server has met."""
    return {row[0]: row[1] for row in await snap.all(_USERS, users=users)}


async def user_ids(snap: Snap, users: Iterable[int]) -> list[str]:
    """User ids, sorted."""
    return [row[0] for row in await snap.all(_USER_IDS, users=users)]


def mark_device_list(tx: Tx, user_no: int) -> None:
    """Others must look again at the user's keys: written and told with the commit."""
    tx.at_end(_MARK, user_no=user_no)
    tx.change(Kind.DEVICE_LIST, user_no)


async def device_list_changes(snap: Snap, since: int, upto: int) -> list[int]:
    """Users whose keys changed after `since` and, for the last time, not after `upto`."""
    return [row[0] for row in await snap.all(_CHANGES, since=since, upto=upto)]


async def device_list_positions(snap: Snap, users: Iterable[int]) -> dict[int, int]:
    """Positions of the newest change of users' keys; users without one are left out."""
    return {row[0]: row[1] for row in await snap.all(_POSITIONS, users=users)}
