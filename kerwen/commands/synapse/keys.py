"""Device keys, one-time keys, cross-signing, key backups, messages that wait for devices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import orjson

from kerwen.base import canonical_json
from kerwen.base.errors import Refused
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.source import read
from kerwen.keys.backup import SessionKey, session_key
from kerwen.keys.cross_signing import USAGES, cross_signing_key
from kerwen.keys.device_keys import check_device_keys
from kerwen.keys.one_time_keys import OneTimeKey
from kerwen.keys.store import (
    backup,
    cross_signing,
    dehydrated,
    device_keys,
    messages,
    one_time_keys,
)

_BACKUP_KEYS_AT_ONCE = 500
_TO_DEVICE_AT_ONE_PLACE = 50  # a sync never sends a part of one


async def import_keys(ledger: Ledger) -> None:
    """All that end-to-end encryption needs of the server."""
    await _device_keys(ledger)
    await _one_time_keys(ledger)
    await _fallback_keys(ledger)
    await _cross_signing_keys(ledger)
    await _signatures(ledger)
    await _backup_versions(ledger)
    await _dehydrated(ledger)
    await _to_device(ledger)


async def _device_keys(ledger: Ledger) -> None:
    rows = read(ledger.source, "e2e_device_keys_json", "user_id", "device_id", "key_json")
    for user_id, device_id, text in ledger.counted("device keys", rows):
        device_no = ledger.devices.get((user_id, device_id))
        if device_no is None:
            continue
        try:
            body = check_device_keys(orjson.loads(text), user_id, device_id)
        except Refused:
            ledger.left_out["device keys of another shape"] += 1
            continue
        account_no = ledger.accounts[user_id]
        await device_keys.set_device_keys(ledger.tx, device_no, account_no, device_id, body)


async def _one_time_keys(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "e2e_one_time_keys_json", "user_id", "device_id", "algorithm", "key_id",
        "key_json", "ts_added_ms",
        rest="order by user_id, device_id, ts_added_ms, key_id",
    )  # fmt: skip
    counted = ledger.counted("one-time keys", rows)
    for whose, group in itertools.groupby(counted, lambda row: (row[0], row[1])):
        device_no = ledger.devices.get(whose)
        found = list(group)
        if device_no is not None:
            keys = [_key(row[2], row[3], row[4]) for row in found]
            number = max(found[0][5] or 1, 1)
            await one_time_keys.add_one_time_keys(ledger.tx, device_no, number, keys)


def _key(algorithm: str, key_id: str, text: str) -> OneTimeKey:
    return OneTimeKey(algorithm, key_id, canonical_json.encode(orjson.loads(text)))


async def _fallback_keys(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "e2e_fallback_keys_json", "user_id", "device_id", "algorithm", "key_id",
        "key_json", "used",
    )  # fmt: skip
    counted = ledger.counted("fallback keys", rows)
    for user_id, device_id, algorithm, key_id, text, used in counted:
        device_no = ledger.devices.get((user_id, device_id))
        if device_no is None:
            continue
        key = _key(algorithm, key_id, text)
        await one_time_keys.set_fallback_key(ledger.tx, device_no, key)
        if used:
            await one_time_keys.claim_fallback_keys(ledger.tx, algorithm, [device_no])


async def _cross_signing_keys(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "e2e_cross_signing_keys", "user_id", "keytype", "keydata",
        rest="order by stream_id",
    )  # fmt: skip
    for user_id, usage, text in ledger.counted("cross-signing keys", rows):
        if user_id not in ledger.accounts or usage not in USAGES:
            continue
        try:
            key = cross_signing_key(orjson.loads(text), usage, user_id)
        except Refused:
            ledger.left_out["cross-signing keys of another shape"] += 1
            continue
        await cross_signing.set_key(ledger.tx, ledger.accounts[user_id], key)  # the last one stays


async def _signatures(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "e2e_cross_signing_signatures", "user_id", "key_id", "target_user_id",
        "target_device_id", "signature",
    )  # fmt: skip
    for signer, key_id, user_id, target, signature in ledger.counted("signatures", rows):
        if signer in ledger.accounts:
            await cross_signing.add_signature(
                ledger.tx,
                await ledger.user(user_id),
                target,
                ledger.accounts[signer],
                (signer, key_id, signature),
            )


# --- key backups ----------------------------------------------------------------------------


async def _backup_versions(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "e2e_room_keys_versions", "user_id", "version", "algorithm", "auth_data",
        "deleted", "etag",
        rest="order by user_id, version",
    )  # fmt: skip
    live = {}
    for row in ledger.counted("key backups", rows):
        user_id, version, algorithm, auth_data, deleted, etag = row
        account_no = ledger.accounts.get(user_id)
        if account_no is None:
            continue
        data = auth_data.encode()
        await backup.add_version(ledger.tx, account_no, version, algorithm, data)
        if deleted:
            await backup.delete_version(ledger.tx, account_no, version)
        else:
            live[user_id, version] = etag or 0
    for (user_id, version), count in (await _backup_keys(ledger, live)).items():
        account_no = ledger.accounts[user_id]
        await backup.set_count(ledger.tx, account_no, version, live[user_id, version], count)


async def _backup_keys(
    ledger: Ledger, live: dict[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """How many keys each backup has."""
    counts = dict.fromkeys(live, 0)
    rows = read(
        ledger.source, "e2e_room_keys", "user_id", "version", "room_id", "session_id",
        "first_message_index", "forwarded_count", "is_verified", "session_data",
        rest="order by user_id, version",
    )  # fmt: skip
    counted = ledger.counted("backed up keys", rows)
    for whose, group in itertools.groupby(counted, lambda row: (row[0], row[1])):
        if whose not in live:
            for _ in group:
                pass
            continue
        keys = _session_keys(ledger, group)
        while some := list(itertools.islice(keys, _BACKUP_KEYS_AT_ONCE)):
            await backup.put_keys(ledger.tx, ledger.accounts[whose[0]], whose[1], some)
            counts[whose] += len(some)
    return counts


def _session_keys(ledger: Ledger, rows: Iterator[tuple[Any, ...]]) -> Iterator[SessionKey]:
    for _, _, room_id, session_id, index, forwarded, verified, data in rows:
        value = {
            "first_message_index": index or 0,
            "forwarded_count": forwarded or 0,
            "is_verified": bool(verified),
            "session_data": orjson.loads(data),
        }
        try:
            yield session_key(room_id, session_id, value)
        except Refused:
            ledger.left_out["backed up keys of another shape"] += 1


async def _dehydrated(ledger: Ledger) -> None:
    rows = read(ledger.source, "dehydrated_devices", "user_id", "device_id", "device_data")
    for user_id, device_id, data in ledger.counted("dehydrated devices", rows):
        device_no = ledger.devices.get((user_id, device_id))
        if device_no is not None:
            account_no = ledger.accounts[user_id]
            await dehydrated.set_dehydrated(ledger.tx, account_no, device_no, data.encode())


# --- messages to devices --------------------------------------------------------------------


async def _to_device(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "device_inbox", "user_id", "device_id", "message_json",
        rest="order by user_id, device_id, stream_id",
    )  # fmt: skip
    counted = ledger.counted("messages to devices", rows)
    for whose, group in itertools.groupby(counted, lambda row: (row[0], row[1])):
        device_no = ledger.devices.get(whose)
        for n, row in enumerate(group):
            if device_no is not None:
                message = orjson.loads(row[2])
                shown = {name: message.get(name) for name in ("content", "sender", "type")}
                ledger.tx.pos = 1 + n // _TO_DEVICE_AT_ONE_PLACE
                ledger.end = max(ledger.end, ledger.tx.pos + 1)
                messages.put_to_device(ledger.tx, device_no, n, orjson.dumps(shown))
