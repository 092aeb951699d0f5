"""Resets a forgotten password: an administrator begins it, the owner can stop it for three days.

No administrator can enter an account by it unseen: every session is told, any of them may stop
it, and the vault stays shut until the recovery key opens it (docs/accounts.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import PASSWORD_REF, Vaults
from kerwen.accounts.password import check_policy
from kerwen.accounts.store import accounts, invitations
from kerwen.accounts.store.invitations import PasswordReset
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.slots import SlotKind

WAIT_MS = 72 * 3_600_000

OnReset = Callable[[Tx, int, int], Awaitable[None]]
"""`(tx, account_no, effect_ms)`: tells the owner in a way of its own; 0: it was stopped."""


class ResetPassword:
    """Begins, shows, stops and carries out resets."""

    def __init__(
        self,
        db: Database,
        stretcher: Stretcher,
        vaults: Vaults,
        wait_ms: int = WAIT_MS,
        on_reset: Sequence[OnReset] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._stretcher = stretcher
        self._vaults = vaults
        self._wait_ms = wait_ms
        self._others = tuple(on_reset)
        self._clock = clock

    async def begin(self, by: int, account_no: int, password: str) -> int:
        """When it takes effect, in ms since 1970. One that was begun before waits anew."""
        check_policy(password, "", limits.PASSWORD_MIN)
        _, kept = await self._stretcher.fresh(password)
        now = self._clock()
        effect_ms = now + self._wait_ms
        async with self._db.write() as tx:
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            await invitations.begin_reset(tx, PasswordReset(kept, account_no, now, by, effect_ms))
            await self._tell(tx, account_no, effect_ms)
        return effect_ms

    async def under_way(self, account_no: int) -> PasswordReset | None:
        """The reset that an account waits for."""
        async with self._db.read() as snap:
            return await invitations.reset_of(snap, account_no)

    async def stop(self, account_no: int) -> None:
        """Any session of the account may; `Refused(NOT_FOUND)` where none is under way."""
        async with self._db.write() as tx:
            if not await invitations.end_reset(tx, account_no):
                raise Refused(Reason.NOT_FOUND, "No reset is under way")
            await self._tell(tx, account_no, 0)

    async def take_effect(self) -> int:
        """Carries out what has waited long enough; for a timer. How many."""
        now = self._clock()
        async with self._db.write() as tx:
            due = await invitations.resets_due(tx, now)
            for reset in due:
                await accounts.set_password(tx, reset.account_no, reset.kept, now)
                await self._vaults.drop_slot(tx, reset.account_no, SlotKind.PASSWORD, PASSWORD_REF)
                await invitations.end_reset(tx, reset.account_no)
                tx.change(Kind.ACCOUNT, reset.account_no)
        return len(due)

    async def _tell(self, tx: Tx, account_no: int, effect_ms: int) -> None:
        for other in self._others:
            await other(tx, account_no, effect_ms)
        tx.change(Kind.ACCOUNT, account_no)
