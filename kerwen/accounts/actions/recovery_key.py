"""The recovery key's slot: made with the password, and used when the vault is shut."""

# docs/vault.md, "The recovery key": the server sees only the key of its slot

from __future__ import annotations

from kerwen.accounts.actions.vaults import Vaults, hand_on, password_slot
from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret


def recovery_slot(key: bytes) -> Secret:
    """An account has one recovery key."""
    return (SlotKind.RECOVERY, "", key)


class RecoveryKeys:
    """Sets an account's recovery key, and opens the vault by it."""

    def __init__(self, db: Database, vaults: Vaults) -> None:
        self._db = db
        self._vaults = vaults

    async def make(self, account_no: int, key: bytes, password_key: bytes) -> None:
        """`key` (a slot key) opens from now on what the password opens; the old one ends.

        An account without a vault has nothing to open: nothing happens then.
        """
        async with self._db.write() as tx:
            await self._lock(tx, account_no)
            await self._vaults.drop_slots(tx, account_no, SlotKind.RECOVERY)
            old, new = password_slot(password_key), recovery_slot(key)
            await hand_on(self._vaults, tx, account_no, old, [new])
            tx.change(Kind.ACCOUNT, account_no)

    async def open(
        self, account_no: int, key: bytes, session: Secret, password_key: bytes | None
    ) -> None:
        """Lets a session, and the password if it was proved, open what the recovery key opens;
        and the recovery key what they open. Says `VAULT_CLOSED` where the key is another one.
        """
        new = [session] if password_key is None else [session, password_slot(password_key)]
        async with self._db.write() as tx:
            await self._lock(tx, account_no)
            recovery = recovery_slot(key)
            with await self._vaults.unlock(tx, account_no, *recovery) as opened:
                # first the newer vault, which the session opens already
                await hand_on(self._vaults, tx, account_no, session, [recovery])
                for secret in new:
                    await self._vaults.add_slot(tx, account_no, opened, *secret)
            tx.change(Kind.ACCOUNT, account_no)

    async def _lock(self, tx: Tx, account_no: int) -> None:
        if await accounts.lock(tx, account_no) is None:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
