"""Sweeps up what ended: for a timer, every minute or so."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.accounts.actions.vaults import Vaults
from kerwen.base.clock import Clock, now_ms
from kerwen.oauth.store import browsers, clients, grants
from kerwen.storage.database import Database, Tx
from kerwen.vault.slots import SlotKind

KNOWN_MS = 10 * 60_000  # an ended code is still known so long: a second try is noticed
SPENT_KNOWN_MS = 24 * 3_600_000
CLIENT_UNUSED_MS = 24 * 3_600_000  # registered, and nobody ever allowed it anything
CLIENT_IDLE_MS = 90 * 24 * 3_600_000


class Tidy:
    """Codes, cookies, replaced tokens, and clients that nobody uses."""

    def __init__(self, db: Database, vaults: Vaults, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self._clock = clock

    async def run(self) -> int:
        """How many were swept; call again at once while it is 200 or more."""
        now = self._clock()
        async with self._db.write() as tx:
            codes = await grants.stale_codes(tx, now - KNOWN_MS)
            if codes:
                await grants.drop_codes(tx, [no for no, _ in codes])
                await self._drop(tx, [(a, grants.code_ref(no)) for no, a in codes])
            asks = await grants.stale_asks(tx, now - KNOWN_MS)
            if asks:
                await grants.drop_asks(tx, [no for no, _ in asks])
                await self._drop(tx, [(a, grants.device_ref(no)) for no, a in asks])
            gone = await browsers.stale(tx, now)
            if gone:
                await browsers.drop(tx, [no for no, _ in gone])
                await self._drop(tx, [(a, browsers.slot_ref(no)) for no, a in gone])
            await grants.drop_spent(tx, now - SPENT_KNOWN_MS)
            await grants.drop_resets(tx, now)
            idle = await clients.drop_idle(tx, now - CLIENT_IDLE_MS, now - CLIENT_UNUSED_MS)
        return len(codes) + len(asks) + len(gone) + idle

    async def _drop(self, tx: Tx, slots: Iterable[tuple[int, str]]) -> None:
        for account_no, ref in slots:
            if account_no:
                await self._vaults.drop_slot(tx, account_no, SlotKind.CODE, ref)
