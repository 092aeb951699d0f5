"""Publishes a device's keys."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import check_device_keys
from kerwen.keys.key_cache import KeyCache
from kerwen.keys.one_time_keys import OneTimeKey, fallback_keys, one_time_keys, same_key
from kerwen.keys.store import cross_signing, device_keys
from kerwen.keys.store import one_time_keys as store
from kerwen.storage.database import Database, Kind, Tx

Parts = tuple[bytes | None, list[OneTimeKey], list[OneTimeKey]]
"""Device keys, one-time keys, fallback keys."""


@dataclass(frozen=True, slots=True)
class Device:
    """The device that acts."""

    account_no: int
    user_id: str
    device_no: int
    device_id: str


class Upload:
    """CS #post_matrixclientv3keysupload."""

    def __init__(self, db: Database, cache: KeyCache, clock: Clock) -> None:
        self._db = db
        self._cache = cache
        self._clock = clock

    async def __call__(self, device: Device, body: dict[str, Any]) -> dict[str, int]:
        """Stores what the body holds; the counts of one-time keys that are left."""
        parts = read(device, body)
        if parts == (None, [], []):
            async with self._db.read() as snap:
                return await store.one_time_key_counts(snap, device.device_no)
        async with self._db.write() as tx:
            return await self.within(tx, device, parts)

    async def within(self, tx: Tx, device: Device, parts: Parts) -> dict[str, int]:
        """The same inside the transaction of whoever asks."""
        keys, fresh, fallback = parts
        if not await device_keys.lock_device(tx, device.device_no):
            raise Refused(Reason.UNKNOWN_TOKEN, "This device was removed")
        if keys is not None:
            await self._publish(tx, device, keys)
        counts, newest = await store.counts_and_newest(tx, device.device_no)
        changed = False
        if fresh:
            changed = await self._add(tx, device.device_no, fresh, counts, newest)
        for key in fallback:
            changed |= await _set_fallback(tx, device.device_no, key)
        if changed:
            tx.change(Kind.KEY_COUNT, device.device_no)
        return counts

    async def _publish(self, tx: Tx, device: Device, keys: bytes) -> None:
        """Device keys, if they are new. Signatures of other keys do not fit these."""
        held = await device_keys.device_body(tx, device.device_no)
        if held == keys:
            return
        account_no, device_id = device.account_no, device.device_id
        if await cross_signing.is_cross_signing_key(tx, account_no, device_id):
            raise Refused(Reason.FORBIDDEN, "The device id is a cross-signing key")
        if held is not None and not same_key(held, keys):
            await cross_signing.forget_signatures_of(tx, account_no, device_id)
            await cross_signing.forget_signatures_by(tx, account_no, f"ed25519:{device_id}")
        await device_keys.set_device_keys(tx, device.device_no, account_no, device_id, keys)
        device_keys.mark_device_list(tx, account_no)
        tx.after(lambda: self._cache.forget(account_no))

    async def _add(
        self, tx: Tx, device_no: int, keys: list[OneTimeKey], counts: dict[str, int], newest: int
    ) -> bool:
        """Stores what is new of the keys and brings `counts` up to date; whether any was."""
        now_ms = self._clock()
        fresh: list[OneTimeKey] = []
        for algorithm, of_one in _by_algorithm(keys).items():
            before_ms = now_ms - limits.SPENT_KEY_LIFE_MS
            await store.sweep_spent_keys(tx, device_no, algorithm, before_ms)
            held = await store.held_keys(tx, device_no, algorithm, list(of_one))
            new = [key for key in of_one.values() if _is_new(key, held.get(key.key_id))]
            if reused := [key.key_id for key in new if key.key_id in held]:
                await store.forget_spent_keys(tx, device_no, algorithm, reused)
            if new:
                counts[algorithm] = counts.get(algorithm, 0) + len(new)
            fresh += new
        if sum(counts.values()) > limits.ONE_TIME_KEYS_MAX:
            raise Refused(Reason.TOO_LARGE, "There are enough one-time keys already")
        if len(counts) > limits.KEY_ALGORITHMS_MAX:
            raise Refused(Reason.TOO_LARGE, "There are too many key algorithms")
        if fresh:
            await store.add_one_time_keys(tx, device_no, max(newest + 1, now_ms), fresh)
        return bool(fresh)


def read(device: Device, body: dict[str, Any]) -> Parts:
    """The body's three parts, checked; null reads as absent."""
    keys = body.get("device_keys")
    published = None
    if keys is not None:
        published = check_device_keys(keys, device.user_id, device.device_id)
    fresh, fallback = body.get("one_time_keys"), body.get("fallback_keys")
    return (
        published,
        [] if fresh is None else one_time_keys(fresh, "one_time_keys"),
        [] if fallback is None else fallback_keys(fallback),
    )


def _by_algorithm(keys: list[OneTimeKey]) -> dict[str, dict[str, OneTimeKey]]:
    found: dict[str, dict[str, OneTimeKey]] = defaultdict(dict)
    for key in keys:
        found[key.algorithm][key.key_id] = key
    return found


def _is_new(key: OneTimeKey, held: store.Held | None) -> bool:
    """Whether a key must be stored. A key that was given is never stored again.

    Clients look for the words of this refusal, which tells them that their store is broken.
    """
    if held is None:
        return True
    if same_key(held.body, key.body):
        return False
    if held.spent:
        return True  # another key under the id of one that is gone
    raise Refused(Reason.INVALID_PARAM, f"One time key {key.name} already exists")


async def _set_fallback(tx: Tx, device_no: int, key: OneTimeKey) -> bool:
    """A fallback key, if it is another one: the same one stays used. Whether it was."""
    held = await store.fallback_key(tx, device_no, key.algorithm)
    if held is not None and held.key_id == key.key_id and same_key(held.body, key.body):
        return False
    await store.set_fallback_key(tx, device_no, key)
    return True
