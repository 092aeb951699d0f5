"""Closes an account for good (CS #account-deactivation). Its name is never given again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from kerwen.accounts.actions.drop_secrets import drop_secrets
from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import accounts, devices, factors, invitations
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx

OnDeactivated = Callable[[Tx, int, bool], Awaitable[None]]
"""`(tx, account_no, erase)`: deletes what another subject keeps of an account."""
AfterDeactivated = Callable[[int, str, bool], Awaitable[None]]
"""`(account_no, user_id, erase)`: what takes longer than a transaction, such as leaving rooms."""


class Deactivate:
    """Used by the owner and, from the command line, by an administrator."""

    def __init__(
        self,
        db: Database,
        domain: str,
        remove_devices: RemoveDevices,
        vaults: Vaults,
        on_deactivated: Sequence[OnDeactivated] = (),
        after_deactivated: Sequence[AfterDeactivated] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._remove = remove_devices
        self._vaults = vaults
        self._others = tuple(on_deactivated)
        self._after = tuple(after_deactivated)
        self._clock = clock

    async def run(self, account_no: int, erase: bool = False) -> None:
        """No secret opens anything any more; sealed mail is lost with its keys."""
        async with self._db.write() as tx:
            account = await accounts.lock(tx, account_no)
            if account is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            await accounts.close(tx, account_no, self._clock(), erase)
            await accounts.drop_password(tx, account_no)
            await invitations.end_reset(tx, account_no)
            await factors.drop_all(tx, account_no)
            await drop_secrets(self._vaults, tx, account_no)
            nos = [device.device_no for device in await devices.of(tx, account_no)]
            await self._remove.run(tx, account_no, nos)
            await self._vaults.drop_account(tx, account_no)
            for other in self._others:
                await other(tx, account_no, erase)
            tx.change(Kind.ACCOUNT, account_no)
        user_id = user_id_of(account.localpart, self._domain)
        for deed in self._after:
            await deed(account_no, user_id, erase)
