"""Greylisting: a stranger's first try is put off; whoever comes back like a real server gets in.

Off unless the operator turns it on: it delays first messages by minutes. A network that came back
once is known for a month, and is not asked again whatever it brings.
"""

# RFC 6647

from __future__ import annotations

from typing import Final

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Unavailable, Unready
from kerwen.mail import dns
from kerwen.mail.store import greylist as store
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database, retrying

WAIT_MS: Final = 3 * 60_000  # sooner is no coming back
WINDOW_MS: Final = 36 * 3_600_000  # later neither
KNOWN_MS: Final = 30 * 24 * 3_600_000
_SWEEP_AT_ONCE: Final = 1_000
_RENEW_MS: Final = 24 * 3_600_000


class Greylist:
    """Keeps keyed tags only: nobody can read of it who writes to whom."""

    def __init__(self, db: Database, tags: Tags, clock: Clock = now_ms) -> None:
        self._db = db
        self._tags = tags
        self._clock = clock

    async def check(self, address: str, sender: str, recipient: str) -> None:
        """`Unavailable(GREYLISTED)` where somebody has to come back first."""
        now = self._clock()
        where = _network(address)
        network = self._tag("network", where)
        try_ = self._tag("try", f"{where} {sender.lower()} {recipient.lower()}")
        async with self._db.read() as snap:
            found = await store.find(snap, (network, try_))
        _, passed = found.get(network, (0, 0))
        if now - passed < KNOWN_MS:
            if now - passed > _RENEW_MS:
                await self._pass(now, network)
            return
        first, passed = found.get(try_, (0, 0))
        if WAIT_MS <= now - first < WINDOW_MS:
            await self._pass(now, network, try_)
            return
        if now - first >= WINDOW_MS:
            await self._begin(now, try_)
        raise Unavailable(Unready.GREYLISTED, WAIT_MS)

    async def sweep(self) -> None:
        """Forgets who never came back, and who has not come for a month."""
        before = self._clock() - KNOWN_MS

        async def write() -> int:
            async with self._db.write() as tx:
                return await store.sweep(tx, before, _SWEEP_AT_ONCE)

        while await retrying(write):
            pass

    def _tag(self, kind: str, name: str) -> int:
        return self._tags.tag(0, f"greylist {kind}".encode(), name.encode(errors="replace"))

    async def _begin(self, now: int, tag: int) -> None:
        async def write() -> None:
            async with self._db.write() as tx:
                await store.begin(tx, tag, now)

        await retrying(write)

    async def _pass(self, now: int, *tags: int) -> None:
        async def write() -> None:
            async with self._db.write() as tx:
                await store.passed(tx, tags, now)

        await retrying(write)


def _network(address: str) -> str:
    """Large senders come back from a neighbouring machine: 24 bits of IPv4, 64 of IPv6."""
    found = dns.address(address)
    packed = found.packed
    return packed[: 3 if found.version == 4 else 8].hex()
