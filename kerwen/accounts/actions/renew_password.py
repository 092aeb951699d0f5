"""The first log-in with a password that another server hashed: hashed anew, and the vault made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kerwen.accounts.actions.register import OnRegistered
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import Vaults, password_slot
from kerwen.accounts.address import user_id_of
from kerwen.accounts.old_hash import OLD, fits
from kerwen.accounts.password import PasswordKeys, StoredPassword
from kerwen.accounts.store import accounts
from kerwen.base.clock import Clock, now_ms
from kerwen.storage.database import Database, Kind


class RenewPassword:
    """`pepper` is what the other server added to each password. `on_renewed`: what subjects keep
    of an account from the start."""

    def __init__(
        self,
        db: Database,
        stretcher: Stretcher,
        vaults: Vaults,
        domain: str,
        pepper: str = "",
        on_renewed: Sequence[OnRegistered] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._stretcher = stretcher
        self._vaults = vaults
        self._domain = domain
        self._pepper = pepper
        self._others = tuple(on_renewed)
        self._clock = clock

    async def check(
        self, account_no: int, password: str, kept: StoredPassword
    ) -> PasswordKeys | None:
        """The keys of the right password, which is kept as our own from now on; else None."""
        if not await self._stretcher.slowly(partial(fits, password, kept, self._pepper)):
            return None
        keys, fresh = await self._stretcher.fresh(password)
        async with self._db.write() as tx:
            account = await accounts.lock(tx, account_no)
            if account is None:
                return None
            now = await accounts.password(tx, account_no)
            if now == kept:
                await accounts.set_password(tx, account_no, fresh, self._clock())
                await self._vaults.create(tx, account_no, [password_slot(keys.slot)])
                for other in self._others:
                    await other(tx, account_no, user_id_of(account.localpart, self._domain))
                tx.change(Kind.ACCOUNT, account_no)
                return keys
        if now is None or now.cost == OLD:
            return None  # changed meanwhile
        return await self._stretcher.check(password, now)  # another log-in was quicker
