"""Sweeps up ended tokens; for a timer, every few minutes."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.accounts.actions.log_in import login_ref
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.store import tokens
from kerwen.base.clock import Clock, now_ms
from kerwen.storage.database import Database, Tx
from kerwen.vault.slots import SlotKind

ACCESS_KEPT_MS = 3_600_000
REFRESH_KEPT_MS = 30 * 86_400_000
"""How long an ended refresh token is still known, so that its client is told of a soft logout."""


class Sweep:
    """Removes rows that no answer depends on any more."""

    def __init__(self, db: Database, vaults: Vaults, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self._clock = clock

    async def run(self) -> int:
        """How many were swept; call again at once while it is a thousand or more."""
        now = self._clock()
        async with self._db.write() as tx:
            logins = await tokens.stale_logins(tx, now)
            refresh = await tokens.stale_refresh(tx, now - REFRESH_KEPT_MS)
            access = await tokens.stale_access(tx, now - ACCESS_KEPT_MS)
            if logins:
                await tokens.drop_logins(tx, [no for no, _ in logins])
            if refresh:
                await tokens.drop_refresh(tx, [no for no, _ in refresh])
            if access:
                await tokens.drop_access(tx, [no for no, _ in access])
            await self._drop(tx, SlotKind.CODE, [(a, login_ref(no)) for no, a in logins])
            await self._drop(tx, SlotKind.REFRESH, [(a, str(no)) for no, a in refresh])
            await self._drop(tx, SlotKind.TOKEN, [(a, str(no)) for no, a in access])
        return len(logins) + len(refresh) + len(access)

    async def _drop(self, tx: Tx, kind: str, slots: Iterable[tuple[int, str]]) -> None:
        for account_no, ref in slots:
            await self._vaults.drop_slot(tx, account_no, kind, ref)
