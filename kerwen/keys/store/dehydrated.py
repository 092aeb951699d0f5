"""Dehydrated devices: at most one of an account."""

from __future__ import annotations

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_HOLD = sql(
    "insert into dehydrated_devices (account_no, device_no, data)"
    " values (:account_no, :device_no, :data)"
    " on conflict (account_no) do update set data = excluded.data returning device_no"
)
_SET = sql("update dehydrated_devices set device_no = :device_no where account_no = :account_no")
_OF = sql(
    "select d.device_no, d.device_id, s.data from dehydrated_devices s"
    " join devices d on d.device_no = s.device_no where s.account_no = :account_no"
)

Dehydrated = tuple[int, str, bytes]
"""(device number, device id, data as JSON)."""


async def set_dehydrated(tx: Tx, account_no: int, device_no: int, data: bytes) -> int | None:
    """This is the account's dehydrated device from now on; the number of the one before.

    Of several at once each sees the one before it.
    """
    row = await tx.one(_HOLD, account_no=account_no, device_no=device_no, data=data)
    assert row is not None
    if row[0] == device_no:
        return None
    await tx.run(_SET, account_no=account_no, device_no=device_no)
    return int(row[0])


async def dehydrated(snap: Snap, account_no: int) -> Dehydrated | None:
    """The account's dehydrated device."""
    row = await snap.one(_OF, account_no=account_no)
    return (row[0], row[1], bytes(row[2])) if row else None
