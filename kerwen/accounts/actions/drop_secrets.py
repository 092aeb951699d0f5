"""Ends the secrets of an account that are no tokens of a device."""

from __future__ import annotations

from kerwen.accounts.actions.log_in import login_ref
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.store import tokens
from kerwen.oauth.store import browsers, grants
from kerwen.storage.database import Tx
from kerwen.vault.slots import SlotKind


async def drop_secrets(vaults: Vaults, tx: Tx, account_no: int) -> None:
    """App passwords, unused log-in tokens and codes, and browsers' cookies end, with what they
    opened."""
    apps = await tokens.drop_app_passwords(tx, account_no)
    if apps:
        await vaults.drop_slots(tx, account_no, SlotKind.APP_PASSWORD, [str(no) for no in apps])
    logins = await tokens.logins_of(tx, account_no)
    if logins:
        await tokens.drop_logins(tx, logins)
        await vaults.drop_slots(tx, account_no, SlotKind.CODE, [login_ref(no) for no in logins])
    await _drop_browsers(vaults, tx, account_no)


async def _drop_browsers(vaults: Vaults, tx: Tx, account_no: int) -> None:
    """All that came of the account's pages."""
    refs: list[str] = []
    if found := await browsers.of(tx, account_no):
        await browsers.drop(tx, found)
        refs += [browsers.slot_ref(no) for no in found]
    if found := await grants.codes_of(tx, account_no):
        await grants.drop_codes(tx, found)
        refs += [grants.code_ref(no) for no in found]
    if found := await grants.asks_of(tx, account_no):
        await grants.drop_asks(tx, found)
        refs += [grants.device_ref(no) for no in found]
    await grants.end_reset(tx, account_no)
    if refs:
        await vaults.drop_slots(tx, account_no, SlotKind.CODE, refs)
