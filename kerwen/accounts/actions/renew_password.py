"""The first log-in of an account that came from another server: its password is hashed anew, and
its vault is made. Until then nothing can be sealed for it: a vault needs a secret of its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from kerwen.accounts.actions.register import OnRegistered
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import Vaults, password_slot
from kerwen.accounts.address import user_id_of
from kerwen.accounts.old_hash import OLD, fits
from kerwen.accounts.password import PasswordKeys, StoredPassword
from kerwen.accounts.store import accounts
from kerwen.accounts.store.accounts import Account
from kerwen.base.clock import Clock, now_ms
from kerwen.storage.database import Database, Kind, Tx

_SURE_MAX: Final = 20_000  # accounts that are known to have a vault


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
        self._sure: set[int] = set()  # a vault goes with its account only

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
                await self._make(tx, account, keys)
                return keys
        if now is None or now.cost == OLD:
            return None  # changed meanwhile
        return await self._stretcher.check(password, now)  # another log-in was quicker

    async def make_vault(self, account: Account, keys: PasswordKeys, kept: StoredPassword) -> None:
        """Makes the vault of whoever shows the right password and has none: an imported account
        whose password an administrator set before its first log-in."""
        account_no = account.account_no
        if account_no in self._sure:
            return
        async with self._db.read(single=True) as snap:
            missing = await self._vaults.public_key(snap, account_no) is None
        if missing and not await self._made_now(account_no, keys, kept):
            return
        if len(self._sure) >= _SURE_MAX:
            self._sure.clear()
        self._sure.add(account_no)

    async def _made_now(self, account_no: int, keys: PasswordKeys, kept: StoredPassword) -> bool:
        """False if the password was changed meanwhile."""
        async with self._db.write() as tx:
            account = await accounts.lock(tx, account_no)
            if account is None or await accounts.password(tx, account_no) != kept:
                return False
            if await self._vaults.public_key(tx, account_no) is None:
                await self._make(tx, account, keys)
        return True

    async def _make(self, tx: Tx, account: Account, keys: PasswordKeys) -> None:
        account_no = account.account_no
        await self._vaults.create(tx, account_no, [password_slot(keys.slot)])
        for other in self._others:
            await other(tx, account_no, user_id_of(account.localpart, self._domain))
        tx.change(Kind.ACCOUNT, account_no)
