"""Removes a lost second factor: an administrator begins it, the owner can stop it for three days.

The same waiting as a password's reset has (docs/accounts.md). The password stays, so nobody gets
in by it who could not before the second factor was there.
"""

from __future__ import annotations

from collections.abc import Sequence

from kerwen.accounts.actions.reset_password import WAIT_MS, OnReset
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.store import accounts, factors
from kerwen.accounts.store.factors import FactorReset
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.slots import SlotKind


class ResetFactors:
    """Begins, shows, stops and carries out resets of second factors."""

    def __init__(
        self,
        db: Database,
        vaults: Vaults,
        wait_ms: int = WAIT_MS,
        on_reset: Sequence[OnReset] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._vaults = vaults
        self._wait_ms = wait_ms
        self._others = tuple(on_reset)
        self._clock = clock

    async def begin(self, by: int, account_no: int) -> int:
        """When it takes effect, in ms since 1970. `Refused(NOT_FOUND)` where there is nothing."""
        now = self._clock()
        effect_ms = now + self._wait_ms
        async with self._db.write() as tx:
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            if not await factors.stands(tx, account_no):
                raise Refused(Reason.NOT_FOUND, "The account has no second factor")
            await factors.begin_reset(tx, account_no, by, now, effect_ms)
            await self._tell(tx, account_no, effect_ms)
        return effect_ms

    async def under_way(self, account_no: int) -> FactorReset | None:
        """The reset that an account waits for."""
        async with self._db.read() as snap:
            return await factors.reset_of(snap, account_no)

    async def stop(self, account_no: int) -> None:
        """Any session of the account may; `Refused(NOT_FOUND)` where none is under way."""
        async with self._db.write() as tx:
            if not await factors.end_reset(tx, account_no):
                raise Refused(Reason.NOT_FOUND, "No reset is under way")
            await self._tell(tx, account_no, 0)

    async def take_effect(self) -> int:
        """Carries out what has waited long enough; for a timer. How many."""
        now = self._clock()
        async with self._db.write() as tx:
            due = await factors.resets_due(tx, now)
            for reset in due:
                await factors.drop_all(tx, reset.account_no)
                await self._vaults.drop_slots(tx, reset.account_no, SlotKind.PASSKEY)
                tx.change(Kind.ACCOUNT, reset.account_no)
        return len(due)

    async def _tell(self, tx: Tx, account_no: int, effect_ms: int) -> None:
        for other in self._others:
            await other(tx, account_no, effect_ms)
        tx.change(Kind.ACCOUNT, account_no)
