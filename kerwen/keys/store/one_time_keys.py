"""One-time keys and fallback keys: stored, counted, given once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kerwen.keys.one_time_keys import OneTimeKey
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_COUNTS = sql(
    "select h.algorithm, h.given, (select count(*) from one_time_keys k"
    " where k.device_no = h.device_no and k.algorithm = h.algorithm and k.number > h.given),"
    " (select max(k.number) from one_time_keys k"
    " where k.device_no = h.device_no and k.algorithm = h.algorithm)"
    " from one_time_heads h where h.device_no = :device_no"
)
_HELD = sql(
    "select k.key_id, k.body, case when k.number > h.given then 0 else 1 end"
    " from one_time_heads h join one_time_keys k"
    " on k.device_no = h.device_no and k.algorithm = h.algorithm"
    " where h.device_no = :device_no and h.algorithm = :algorithm and k.key_id {in_texts:key_ids}"
)
_SPENT = (
    " where device_no = :device_no and algorithm = :algorithm and number <= ("
    "select h.given from one_time_heads h"
    " where h.device_no = :device_no and h.algorithm = :algorithm)"
)
_FORGET = sql("delete from one_time_keys" + _SPENT + " and key_id {in_texts:key_ids}")
_SWEEP = sql("delete from one_time_keys" + _SPENT + " and number < :before")
_HEAD = sql(
    "insert into one_time_heads (device_no, algorithm, given)"
    " values (:device_no, :algorithm, 0) on conflict do nothing"
)
_ADD = sql(
    "insert into one_time_keys (device_no, algorithm, number, key_id, body)"
    " values (:device_no, :algorithm, :number, :key_id, :body)"
)
# In the order of devices, so that two who claim of the same ones never wait for each other.
_LOCK = sql(
    "select device_no from one_time_heads"
    " where algorithm = :algorithm and device_no {in_ints:devices} order by device_no {for_update}"
)
_PICK = sql(
    "select k.device_no, k.number, k.key_id, k.body from one_time_heads h join one_time_keys k"
    " on k.device_no = h.device_no and k.algorithm = h.algorithm and k.number = ("
    "select min(f.number) from one_time_keys f where f.device_no = h.device_no"
    " and f.algorithm = h.algorithm and f.number > h.given)"
    " where h.algorithm = :algorithm and h.device_no {in_ints:devices}"
)
_GIVE = sql(
    "update one_time_heads set given = :number"
    " where device_no = :device_no and algorithm = :algorithm"
)
_GIVE_ALL = sql(
    "update one_time_heads set given = 1 + (select coalesce(max(k.number), 0)"
    " from one_time_keys k where k.device_no = one_time_heads.device_no"
    " and k.algorithm = one_time_heads.algorithm)"
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
    """How many keys of each algorithm are left to claim; algorithms without any are left out."""
    counts, _ = await counts_and_newest(snap, device_no)
    return counts


async def unused_fallback_types(snap: Snap, device_no: int) -> list[str]:
    """Algorithms whose fallback key was not given to anybody."""
    return [row[0] for row in await snap.all(_UNUSED, device_no=device_no)]


async def counts_and_newest(snap: Snap, device_no: int) -> tuple[dict[str, int], int]:
    """Counts by algorithm, and the highest number that a key of the device had."""
    rows = await snap.all(_COUNTS, device_no=device_no)
    counts = {algorithm: left for algorithm, _, left, _ in rows if left}
    return counts, max((max(given, newest or 0) for _, given, _, newest in rows), default=0)


async def held_keys(
    snap: Snap, device_no: int, algorithm: str, key_ids: Iterable[str]
) -> dict[str, Held]:
    """Which of the keys are here already, given or not."""
    rows = await snap.all(_HELD, device_no=device_no, algorithm=algorithm, key_ids=key_ids)
    return {key_id: Held(body, bool(spent)) for key_id, body, spent in rows}


async def forget_spent_keys(tx: Tx, device_no: int, algorithm: str, key_ids: Iterable[str]) -> None:
    """Makes room for other keys under the ids of spent ones."""
    await tx.run(_FORGET, device_no=device_no, algorithm=algorithm, key_ids=key_ids)


async def add_one_time_keys(
    tx: Tx, device_no: int, number: int, keys: Sequence[OneTimeKey]
) -> None:
    """Stores new keys, numbered from `number`, which is above all others of the device; none of
    their ids is in use."""
    for algorithm in {key.algorithm for key in keys}:
        await tx.run(_HEAD, device_no=device_no, algorithm=algorithm)
    await tx.many(
        _ADD,
        [
            {
                "device_no": device_no,
                "algorithm": key.algorithm,
                "key_id": key.key_id,
                "number": at,
                "body": key.body,
            }
            for at, key in enumerate(keys, number)
        ],
    )


async def sweep_spent_keys(tx: Tx, device_no: int, algorithm: str, before_ms: int) -> None:
    """Forgets keys that were given and came long ago."""
    await tx.run(_SWEEP, device_no=device_no, algorithm=algorithm, before=before_ms)


async def spend_all(tx: Tx) -> None:
    """Every key counts as given. They are kept: a repeated upload must not bring them back."""
    await tx.run(_GIVE_ALL)


async def claim_one_time_keys(tx: Tx, algorithm: str, devices: list[int]) -> list[Given]:
    """Takes the oldest key of each device; devices without one are left out.

    # CS #post_matrixclientv3keysclaim: never the same key to two.
    """
    # a head that comes after the lock is not ours: somebody else could pick beside us
    locked = [no for (no,) in await tx.all(_LOCK, algorithm=algorithm, devices=devices)]
    rows = await tx.all(_PICK, algorithm=algorithm, devices=locked)
    if rows:
        given = [{"device_no": no, "algorithm": algorithm, "number": at} for no, at, _, _ in rows]
        await tx.many(_GIVE, given)
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
