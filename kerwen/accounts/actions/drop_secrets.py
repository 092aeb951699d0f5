"""Ends the secrets of an account that are no tokens of a device."""

from __future__ import annotations

from kerwen.accounts.actions.log_in import login_ref
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.store import tokens
from kerwen.storage.database import Tx
from kerwen.vault.slots import SlotKind


async def drop_secrets(vaults: Vaults, tx: Tx, account_no: int) -> None:
    """App passwords and unused log-in tokens end, with what they opened."""
    apps = await tokens.drop_app_passwords(tx, account_no)
    if apps:
        await vaults.drop_slots(tx, account_no, SlotKind.APP_PASSWORD, [str(no) for no in apps])
    logins = await tokens.logins_of(tx, account_no)
    if logins:
        await tokens.drop_logins(tx, logins)
        await vaults.drop_slots(tx, account_no, SlotKind.CODE, [login_ref(no) for no in logins])
