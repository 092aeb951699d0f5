"""One-time keys and fallback keys: stored, counted, given once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerwen.keys.one_time_keys import OneTimeKey
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

SPENT = 2**60
"""Batches from here on are of spent keys: this + the time of the claim in ms. So all keys of a
device lie together, those to give come first, and nothing but the row itself changes."""

_COUNTS = sql(
    "select algorithm, count(*), max(batch) from one_time_keys"
    " where device_no = :device_no and batch < :spent group by algorithm"
)
_HELD = sql(
    "select key_id, body, batch from one_time_keys"
    " where device_no = :device_no and algorithm = :algorithm and key_id {in_texts:key_ids}"
)
_FORGET = sql(
    "delete from one_time_keys where device_no = :device_no and algorithm = :algorithm"
    " and batch >= :spent and key_id {in_texts:key_ids}"
)
_ADD = sql(
    "insert into one_time_keys (device_no, algorithm, batch, key_id, body)"
    " values (:device_no, :algorithm, :batch, :key_id, :body)"
)
_SWEEP = sql(
    "delete from one_time_keys where device_no = :device_no and algorithm = :algorithm"
    " and batch >= :spent and batch < :before"
)
# Whoever holds the row's lock has it; the others skip to the next key.
_PICK = sql(
    "select k.device_no, k.batch, k.key_id, k.body from devices d join one_time_keys k"
    " on k.device_no = d.device_no and k.algorithm = :algorithm and (k.batch, k.key_id) = ("
    "select f.batch, f.key_id from one_time_keys f where f.device_no = d.device_no"
    " and f.algorithm = :algorithm and f.batch < :spent"
    " order by f.batch, f.key_id limit 1 {for_update} {skip_locked})"
    " where d.device_no {in_ints:devices}"
)
_SPEND = sql(
    "update one_time_keys set batch = :spent where device_no = :device_no"
    " and algorithm = :algorithm and batch = :batch and key_id = :key_id"
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
    return {row[0]: row[1] for row in await snap.all(_COUNTS, device_no=device_no, spent=SPENT)}


async def unused_fallback_types(snap: Snap, device_no: int) -> list[str]:
    """Algorithms whose fallback key was not given to anybody."""
    return [row[0] for row in await snap.all(_UNUSED, device_no=device_no)]


async def counts_and_batch(snap: Snap, device_no: int) -> tuple[dict[str, int], int]:
    """Counts by algorithm, and the newest batch of the keys that are left."""
    rows = await snap.all(_COUNTS, device_no=device_no, spent=SPENT)
    return {row[0]: row[1] for row in rows}, max((row[2] for row in rows), default=0)


async def held_keys(
    snap: Snap, device_no: int, algorithm: str, key_ids: Iterable[str]
) -> dict[str, Held]:
    """Which of the keys are here already, given or not."""
    rows = await snap.all(_HELD, device_no=device_no, algorithm=algorithm, key_ids=key_ids)
    return {key_id: Held(body, batch >= SPENT) for key_id, body, batch in rows}


async def forget_spent_keys(tx: Tx, device_no: int, algorithm: str, key_ids: Iterable[str]) -> None:
    """Makes room for other keys under the ids of spent ones."""
    await tx.run(_FORGET, device_no=device_no, algorithm=algorithm, key_ids=key_ids, spent=SPENT)


async def add_one_time_keys(tx: Tx, device_no: int, batch: int, keys: Iterable[OneTimeKey]) -> None:
    """Stores new keys; none of their ids is in use."""
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


async def sweep_spent_keys(tx: Tx, device_no: int, algorithm: str, before_ms: int) -> None:
    """Forgets keys that were given long ago."""
    await tx.run(
        _SWEEP,
        device_no=device_no,
        algorithm=algorithm,
        spent=SPENT,
        before=SPENT + before_ms,
    )


async def claim_one_time_keys(
    tx: Tx, algorithm: str, devices: Iterable[int], now_ms: int
) -> list[Given]:
    """Takes the oldest key of each device; devices without one are left out.

    # CS #post_matrixclientv3keysclaim: never the same key to two.
    """
    rows = await tx.all(_PICK, algorithm=algorithm, devices=devices, spent=SPENT)
    if rows:
        spent = SPENT + now_ms
        await tx.many(
            _SPEND,
            [
                {
                    "device_no": no,
                    "algorithm": algorithm,
                    "batch": batch,
                    "key_id": key_id,
                    "spent": spent,
                }
                for no, batch, key_id, _ in rows
            ],
        )
    return [Given(no, OneTimeKey(algorithm, key_id, body)) for no, _, key_id, body in rows]


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
