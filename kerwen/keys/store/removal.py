"""What goes when a device or an account goes; and what a renamed device tells."""

from __future__ import annotations

from kerwen.keys.store.cross_signing import forget_signatures_by, forget_signatures_of
from kerwen.keys.store.device_keys import mark_device_list
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_DEVICE_ID = sql("select device_id from device_keys where device_no = :device_no")
_DEVICE_KEYS = sql("delete from device_keys where device_no = :device_no")
_OF_DEVICE = tuple(
    sql(f"delete from {table} where device_no = :device_no")
    for table in (
        "one_time_keys",
        "one_time_heads",
        "fallback_keys",
        "to_device",
        "to_device_txns",
        "dehydrated_devices",
    )
)
_DEVICES = sql(
    "select device_no from devices where account_no = :account_no"
    " union select device_no from device_keys where account_no = :account_no"
)
_OF_ACCOUNT = (
    sql("delete from cross_signing_keys where user_no = :account_no"),
    sql("delete from key_signatures where user_no = :account_no"),
    sql("delete from key_signatures where signer_no = :account_no"),
    sql("delete from signature_lists where signer_no = :account_no"),
    sql("delete from backup_keys where account_no = :account_no"),
    sql("delete from backup_versions where account_no = :account_no"),
)


async def on_device_removed(tx: Tx, account_no: int, device_no: int) -> None:
    """Deletes a device's keys and waiting messages; told, if it had published keys."""
    if await _remove(tx, account_no, device_no):
        mark_device_list(tx, account_no)


async def on_device_renamed(tx: Tx, account_no: int, device_no: int) -> None:
    """A device's name stands in its keys' answer: others must look again."""
    if await _device_id(tx, device_no) is not None:
        mark_device_list(tx, account_no)


async def forget_account(tx: Tx, account_no: int) -> None:
    """Deletes all keys, signatures, backups and messages of an account, and tells it."""
    for (device_no,) in await tx.all(_DEVICES, account_no=account_no):
        await _remove(tx, account_no, device_no)
    for statement in _OF_ACCOUNT:
        await tx.run(statement, account_no=account_no)
    mark_device_list(tx, account_no)


async def _device_id(snap: Snap, device_no: int) -> str | None:
    row = await snap.one(_DEVICE_ID, device_no=device_no)
    return row[0] if row else None


async def _remove(tx: Tx, account_no: int, device_no: int) -> bool:
    device_id = await _device_id(tx, device_no)
    for statement in _OF_DEVICE:
        await tx.run(statement, device_no=device_no)
    if device_id is None:
        return False
    await tx.run(_DEVICE_KEYS, device_no=device_no)
    await forget_signatures_of(tx, account_no, device_id)
    await forget_signatures_by(tx, account_no, f"ed25519:{device_id}")
    return True
