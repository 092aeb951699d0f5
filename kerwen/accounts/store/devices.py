"""Devices of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_COLUMNS = "device_no, account_no, device_id, display_name, created_ms, seen_ms, seen_address"
_ADD = sql(
    "insert into devices"
    " (device_no, account_no, device_id, display_name, created_ms, seen_ms, seen_address)"
    " values (:device_no, :account_no, :device_id, :display_name, :now, :now, :address)"
    " on conflict do nothing"
)
_ONE = sql(
    f"select {_COLUMNS} from devices where account_no = :account_no and device_id = :device_id"
)
_BY_NO = sql(f"select {_COLUMNS} from devices where device_no = :device_no")
_OF = sql(f"select {_COLUMNS} from devices where account_no = :account_no order by device_no")
_OF_MANY = sql(
    f"select {_COLUMNS} from devices where account_no {{in_ints:account_nos}}"
    " order by account_no, device_no"
)
_OLDEST = sql(
    "select device_no from devices where account_no = :account_no"
    " order by seen_ms desc, device_no desc limit 1000 offset :keep"
)
_NAME = sql(
    "update devices set display_name = :display_name"
    " where account_no = :account_no and device_id = :device_id returning device_no"
)
_LOCK = sql(
    "select device_no from devices where device_no {in_ints:device_nos}"
    " order by device_no {for_update}"
)
_SEEN = sql("update devices set seen_ms = :seen_ms where device_no = :device_no")
_SEEN_AT = sql(
    "update devices set seen_ms = :seen_ms, seen_address = :address where device_no = :device_no"
)
_DROP = sql("delete from devices where device_no {in_ints:device_nos}")


@dataclass(frozen=True, slots=True)
class Device:
    """A Matrix device. `seen_address` is where it last logged in or refreshed from."""

    device_no: int
    account_no: int
    device_id: str
    display_name: str | None
    created_ms: int
    seen_ms: int
    seen_address: str


def _device(row: Row) -> Device:
    return Device(*row)


async def add(
    tx: Tx,
    device_no: int,
    account_no: int,
    device_id: str,
    display_name: str | None,
    address: str,
    now_ms: int,
) -> bool:
    """Adds a device; false if the account has one of this id."""
    added = await tx.run(
        _ADD,
        device_no=device_no,
        account_no=account_no,
        device_id=device_id,
        display_name=display_name,
        address=address,
        now=now_ms,
    )
    return added == 1


async def one(snap: Snap, account_no: int, device_id: str) -> Device | None:
    """One device of an account."""
    row = await snap.one(_ONE, account_no=account_no, device_id=device_id)
    return _device(row) if row else None


async def by_no(snap: Snap, device_no: int) -> Device | None:
    """A device by its number."""
    row = await snap.one(_BY_NO, device_no=device_no)
    return _device(row) if row else None


async def of(snap: Snap, account_no: int) -> list[Device]:
    """The devices of an account, oldest first; `DEVICES_MAX` bounds them."""
    return [_device(row) for row in await snap.all(_OF, account_no=account_no)]


async def of_many(snap: Snap, account_nos: Iterable[int]) -> dict[int, list[Device]]:
    """The devices of several accounts, by account."""
    found: dict[int, list[Device]] = {}
    for row in await snap.all(_OF_MANY, account_nos=list(account_nos)):
        device = _device(row)
        found.setdefault(device.account_no, []).append(device)
    return found


async def beyond(snap: Snap, account_no: int, keep: int) -> list[int]:
    """Numbers of the devices that are left over when the `keep` seen last stay."""
    rows = await snap.all(_OLDEST, account_no=account_no, keep=keep)
    return [row[0] for row in rows]


async def rename(tx: Tx, account_no: int, device_id: str, display_name: str | None) -> int | None:
    """Names a device; its number, or None if there is none of this id."""
    row = await tx.one(_NAME, account_no=account_no, device_id=device_id, display_name=display_name)
    return row[0] if row else None


async def lock(tx: Tx, device_nos: Iterable[int]) -> None:
    """Holds devices until the transaction ends: they get no tokens meanwhile."""
    await tx.all(_LOCK, device_nos=list(device_nos))


async def seen(tx: Tx, device_no: int, seen_ms: int, address: str) -> bool:
    """Notes a log-in or refresh and holds the device as `lock` does; false if it is gone."""
    found = await tx.run(_SEEN_AT, device_no=device_no, seen_ms=seen_ms, address=address)
    return found == 1


async def seen_many(tx: Tx, times: Sequence[tuple[int, int]]) -> None:
    """Notes when devices were last seen: `(device_no, ms)`."""
    await tx.many(_SEEN, [{"device_no": no, "seen_ms": ms} for no, ms in times])


async def drop(tx: Tx, device_nos: Iterable[int]) -> None:
    """Deletes devices; their tokens are dropped by `store.tokens`."""
    await tx.run(_DROP, device_nos=list(device_nos))
