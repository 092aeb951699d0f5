"""Removes devices with all that hangs on them, inside the transaction of whoever asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from kerwen.accounts.actions.vaults import Vaults, drop_tokens
from kerwen.accounts.store import devices, tokens
from kerwen.storage.database import Kind, Tx
from kerwen.vault.slots import SlotKind

OnDevice = Callable[[Tx, int, int], Awaitable[None]]
"""`(tx, account_no, device_no)`: what another subject does when a device goes or is renamed."""


class RemoveDevices:
    """Used by log-out, device deletion, password change and deactivation."""

    def __init__(self, vaults: Vaults, on_device_removed: Sequence[OnDevice] = ()) -> None:
        self._vaults = vaults
        self._others = tuple(on_device_removed)

    async def run(self, tx: Tx, account_no: int, device_nos: Sequence[int]) -> None:
        """Deletes devices, their tokens and keys, and tells the account's sessions.

        Those who share rooms are told by whoever keeps the device's keys, if it had any.
        """
        if not device_nos:
            return
        await devices.lock(tx, device_nos)
        await self.end_tokens(tx, account_no, device_nos)
        await devices.drop(tx, device_nos)
        for device_no in device_nos:
            for other in self._others:
                await other(tx, account_no, device_no)
        tx.change(Kind.ACCOUNT, account_no)

    async def end_tokens(self, tx: Tx, account_no: int, device_nos: Sequence[int]) -> None:
        """Ends every token of devices, and what the tokens opened."""
        access, refresh = await tokens.drop_of_devices(tx, device_nos)
        await drop_tokens(self._vaults, tx, account_no, SlotKind.TOKEN, access)
        await drop_tokens(self._vaults, tx, account_no, SlotKind.REFRESH, refresh)
