"""What a device is told of its own keys in each sync: kept ready, so that it costs no query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import orjson

from kerwen.keys.store.one_time_keys import one_time_key_counts, unused_fallback_types
from kerwen.storage.database import Change, Database, Kind

_KEPT_MAX: Final = 20_000
_ALIKE_MAX: Final = 1_000


class KeyCounts:
    """Fragments of an answer by device; the feed tells when one is no longer so."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._alike: dict[bytes, bytes] = {}  # most devices are told the same
        self._told = 0  # how often keys changed: a read that a change overtook is not kept

    async def of(self, device_no: int) -> bytes:
        """`device_one_time_keys_count` and `device_unused_fallback_key_types`, as JSON members.

        CS #e2e-extensions-to-sync
        """
        found = self._kept.get(device_no)
        if found is not None:
            return found
        told = self._told
        async with self._db.read() as snap:
            counts = await one_time_key_counts(snap, device_no)
            unused = await unused_fallback_types(snap, device_no)
        counts.setdefault("signed_curve25519", 0)
        made = b'"device_one_time_keys_count":%b,"device_unused_fallback_key_types":%b' % (
            orjson.dumps(counts),
            orjson.dumps(unused),
        )
        if told == self._told:
            made = self._alike.setdefault(made, made)
            if len(self._alike) > _ALIKE_MAX:
                self._alike.clear()
            self._kept[device_no] = made
            if len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
        return made

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed."""
        for kind, subject, _ in changes:
            if kind == Kind.KEY_COUNT:
                self._kept.pop(subject, None)
                self._told += 1
            elif kind == Kind.JUMP:
                self._kept.clear()
                self._told += 1
