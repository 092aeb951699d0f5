"""Changes a password: one row, one slot of the vault; other sessions end if so wished.

# CS #password-management
"""

from __future__ import annotations

from kerwen.accounts.actions.drop_secrets import drop_secrets
from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import Vaults, hand_on, password_slot
from kerwen.accounts.password import PasswordKeys, check_policy, proves
from kerwen.accounts.store import accounts, devices, invitations
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind


class ChangePassword:
    """For the owner, who has just shown the old password."""

    def __init__(
        self,
        db: Database,
        stretcher: Stretcher,
        remove_devices: RemoveDevices,
        vaults: Vaults,
        password_min: int = limits.PASSWORD_MIN,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._stretcher = stretcher
        self._remove = remove_devices
        self._vaults = vaults
        self._password_min = password_min
        self._clock = clock

    async def check(self, account_no: int, password: str) -> None:
        """`Refused(WEAK_PASSWORD)` before anything is asked of the owner."""
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
        check_policy(password, account.localpart if account else "", self._password_min)

    async def run(
        self,
        account_no: int,
        old: PasswordKeys,
        password: str,
        device_no: int,
        log_out_others: bool,
    ) -> None:
        """The password of the account is `password` from now on.

        With `log_out_others` every device but `device_no` (0: every one) is logged out, and app
        passwords end. A reset that an administrator began is stopped: the owner is here.
        """
        await self.check(account_no, password)
        keys, kept = await self._stretcher.fresh(password)
        async with self._db.write() as tx:
            await accounts.lock(tx, account_no)
            current = await accounts.password(tx, account_no)
            if current is None or not proves(old, current):
                raise Refused(Reason.WRONG_PASSWORD, "The password was changed meanwhile")
            await accounts.set_password(tx, account_no, kept, self._clock())
            await hand_on(
                self._vaults,
                tx,
                account_no,
                password_slot(old.slot),
                [password_slot(keys.slot)],
            )
            await invitations.end_reset(tx, account_no)
            if log_out_others:
                await drop_secrets(self._vaults, tx, account_no)
                found = await devices.of(tx, account_no)
                others = [d.device_no for d in found if d.device_no != device_no]
                await self._remove.run(tx, account_no, others)
            tx.change(Kind.ACCOUNT, account_no)
