"""One-time keys and fallback keys: stored, counted, given once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerwen.keys.one_time_keys import OneTimeKey
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_COUNTS = sql(
    "select algorithm, count(*), max(batch) from one_time_keys"
    " where device_no = :device_no and spent_ms = 0 group by algorithm"
)
_HELD = sql(
    "select key_id, body, spent_ms from one_time_keys"
    " where device_no = :device_no and algorithm = :algorithm and key_id {in_texts:key_ids}"
)
_ADD = sql(
    "insert into one_time_keys (device_no, algorithm, key_id, batch, body)"
    " values (:device_no, :algorithm, :key_id, :batch, :body)"
    " on conflict (device_no, algorithm, key_id)"
    " do update set batch = excluded.batch, body = excluded.body, spent_ms = 0"
)
_SWEEP = sql(
    "delete from one_time_keys where device_no = :device_no"
    " and spent_ms > 0 and spent_ms < :before_ms"
)
# Whoever holds the row's lock has it; the others skip to the next key.
_PICK = sql(
    "select k.device_no, k.key_id, k.body from devices d join one_time_keys k"
    " on k.device_no = d.device_no and k.algorithm = :algorithm and k.key_id = ("
    "select f.key_id from one_time_keys f where f.device_no = d.device_no"
    " and f.algorithm = :algorithm and f.spent_ms = 0"
    " order by f.batch limit 1 {for_update} {skip_locked})"
    " where d.device_no {in_ints:devices}"
)
_SPEND = sql(
    "update one_time_keys set spent_ms = :now_ms"
    " where device_no = :device_no and algorithm = :algorithm and key_id = :key_id"
)
_FALLBACKS = sql(
    "select device_no, key_id, body, used from fallback_keys"
    " where algorithm = :algorithm and device_no {in_ints:devices}"
)
_USE_FALLBACKS = sql(
    "update fallback_keys set used = 1"
    " where algorithm = :algorithm and used = 0 and device_no {in_ints:devices}"
)
_FALLBACK = sql(
    "select key_id, body from fallback_keys where device_no = :device_no and algorithm = :algorithm"
)
_SET_FALLBACK = sql(
    "insert into fallback_keys (device_no, algorithm, key_id, used, body)"
    " values (:device_no, :algorithm, :key_id, 0, :body)"
    " on conflict (device_no, algorithm)"
    " do update set key_id = excluded.key_id, used = 0, body = excluded.body"
)
_UNUSED = sql(
    "select algorithm from fallback_keys where device_no = :device_no and used = 0"
    " order by algorithm"
)


@dataclass(frozen=True, slots=True)
class Held:
    """A key that the server knows already."""

    body: bytes
    spent: bool


@dataclass(frozen=True, slots=True)
class Given:
    """A key that was claimed. `first` is set when a fallback key is used for the first time."""

    device_no: int
    key: OneTimeKey
    first: bool = False


async def one_time_key_counts(snap: Snap, device_no: int) -> dict[str, int]:
    """How many keys of each algorithm are left to claim."""
    return {row[0]: row[1] for row in await snap.all(_COUNTS, device_no=device_no)}


async def unused_fallback_types(snap: Snap, device_no: int) -> list[str]:
    """Algorithms whose fallback key was not given to anybody."""
    return [row[0] for row in await snap.all(_UNUSED, device_no=device_no)]


async def counts_and_batch(snap: Snap, device_no: int) -> tuple[dict[str, int], int]:
    """Counts by algorithm, and the newest batch of the keys that are left."""
    rows = await snap.all(_COUNTS, device_no=device_no)
    return {row[0]: row[1] for row in rows}, max((row[2] for row in rows), default=0)


async def held_keys(
    snap: Snap, device_no: int, algorithm: str, key_ids: Iterable[str]
) -> dict[str, Held]:
    """Which of the keys are here already, given or not."""
    rows = await snap.all(_HELD, device_no=device_no, algorithm=algorithm, key_ids=key_ids)
    return {key_id: Held(body, spent_ms > 0) for key_id, body, spent_ms in rows}


async def add_one_time_keys(tx: Tx, device_no: int, batch: int, keys: Iterable[OneTimeKey]) -> None:
    """Stores new keys, and new keys under the ids of spent ones."""
    await tx.many(
        _ADD,
        [
            {
                "device_no": device_no,
                "algorithm": key.algorithm,
                "key_id": key.key_id,
                "batch": batch,
                "body": key.body,
            }
            for key in keys
        ],
    )


async def sweep_spent_keys(tx: Tx, device_no: int, before_ms: int) -> int:
    """Forgets keys that were given long ago."""
    return await tx.run(_SWEEP, device_no=device_no, before_ms=before_ms)


async def claim_one_time_keys(
    tx: Tx, algorithm: str, devices: Iterable[int], now_ms: int
) -> list[Given]:
    """Takes the oldest key of each device; devices without one are left out.

    # CS #post_matrixclientv3keysclaim: never the same key to two.
    """
    rows = await tx.all(_PICK, algorithm=algorithm, devices=devices)
    if rows:
        spent = [
            {"device_no": no, "algorithm": algorithm, "key_id": key_id, "now_ms": now_ms}
            for no, key_id, _ in rows
        ]
        await tx.many(_SPEND, spent)
    return [Given(no, OneTimeKey(algorithm, key_id, body)) for no, key_id, body in rows]


async def claim_fallback_keys(tx: Tx, algorithm: str, devices: list[int]) -> list[Given]:
    """Gives devices' fallback keys, which stay but are used now."""
    rows = await tx.all(_FALLBACKS, algorithm=algorithm, devices=devices)
    fresh = [row[0] for row in rows if not row[3]]
    if fresh:
        await tx.run(_USE_FALLBACKS, algorithm=algorithm, devices=fresh)
    return [
        Given(no, OneTimeKey(algorithm, key_id, body), not used) for no, key_id, body, used in rows
    ]


async def fallback_key(snap: Snap, device_no: int, algorithm: str) -> OneTimeKey | None:
    """A device's fallback key."""
    row = await snap.one(_FALLBACK, device_no=device_no, algorithm=algorithm)
    return OneTimeKey(algorithm, row[0], row[1]) if row else None


async def set_fallback_key(tx: Tx, device_no: int, key: OneTimeKey) -> None:
    """A new fallback key in the place of the old one."""
    await tx.run(
        _SET_FALLBACK,
        device_no=device_no,
        algorithm=key.algorithm,
        key_id=key.key_id,
        body=key.body,
    )
