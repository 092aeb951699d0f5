"""Counts how TLS went with other servers, by day, for reports to them (RFC 8460).

Counts are gathered in memory and written now and then; after a crash the last minute's are missing.
"""

# RFC 8460 §4.3

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Refused
from kerwen.mail.store import tls as store
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database, retrying

SUCCESS: Final = "success"
RESULTS: Final = (
    SUCCESS,
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "dnssec-invalid",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
)
"""Every result that is counted, in the words of RFC 8460 §4.3."""
_DAY_MS: Final = 86_400_000
_KIND: Final = "tls result"
_TAG: Final = b"tls result"
_AT_ONCE: Final = 200


class Happened(msgspec.Struct, frozen=True, array_like=True):
    """One thing that may happen. `policy`: `tlsa`, `sts` or `no-policy-found`; `result`: a type
    of failure of RFC 8460 §4.3, or `success`."""

    domain: str
    policy: str
    host: str
    result: str


class TlsResults:
    """Counts, writes, and gives back."""

    def __init__(self, db: Database, key: QueueKey, tags: Tags, clock: Clock) -> None:
        self._db = db
        self._key = key
        self._tags = tags
        self._clock = clock
        self._counts: dict[tuple[int, Happened], int] = {}
        self.totals: dict[str, int] = {}
        """How often each result came since the start."""

    def count(self, domain: str, policy: str, host: str, result: str) -> None:
        """It happened once more."""
        self.totals[result] = self.totals.get(result, 0) + 1
        key = (self._clock() // _DAY_MS, Happened(domain, policy, host, result))
        if key in self._counts or len(self._counts) < limits.TLS_RESULTS_IN_MEMORY:
            self._counts[key] = self._counts.get(key, 0) + 1

    async def flush(self) -> None:
        """Writes what was counted."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        rows = []
        for (day, happened), count in counts.items():
            plain = msgspec.msgpack.encode(happened)
            tag = self._tags.tag(0, _TAG, plain)
            rows.append(store.Counted(day, tag, self._key.seal(tag, _KIND, plain), count))

        async def write() -> None:
            async with self._db.write() as tx:
                await store.count(tx, sorted(rows, key=lambda one: (one.day, one.tag)))

        await retrying(write)

    async def of_day(self, day: int) -> list[tuple[Happened, int]]:
        """What was written of a day (of UTC, since 1970), and how often it happened."""
        async with self._db.read(single=True) as snap:
            rows = await store.of_day(snap, day)
        found = []
        for at, one in enumerate(rows):
            if at % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # each row takes a key of its own: let others go on
            try:
                plain = self._key.open(one.tag, _KIND, one.box)
            except Refused:
                continue  # damaged: it is swept with its day
            found.append((msgspec.msgpack.decode(plain, type=Happened), one.count))
        return found

    async def days(self) -> list[int]:
        """The days of which something is written, the oldest first."""
        async with self._db.read(single=True) as snap:
            return await store.days(snap, limits.TLS_RESULTS_KEPT_DAYS + 2)

    async def forget(self, day: int, happened: Sequence[Happened]) -> None:
        """Removes what was written of a day: it has been reported."""
        tags = [self._tags.tag(0, _TAG, msgspec.msgpack.encode(one)) for one in happened]

        async def write() -> None:
            async with self._db.write() as tx:
                await store.forget(tx, day, tags)

        await retrying(write)

    async def sweep(self) -> None:
        """Forgets days that nobody reports any more, and policies that are over."""
        now = self._clock()
        before = now // _DAY_MS - limits.TLS_RESULTS_KEPT_DAYS

        async def write() -> None:
            async with self._db.write() as tx:
                await store.sweep(tx, now, before)

        await retrying(write)
