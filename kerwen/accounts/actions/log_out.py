"""Logs out: the device of the session, or all devices of the account (CS #logout)."""

from __future__ import annotations

from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.store import devices
from kerwen.storage.database import Database


class LogOut:
    """Ends sessions; their devices and keys go with them."""

    def __init__(self, db: Database, remove_devices: RemoveDevices) -> None:
        self._db = db
        self._remove = remove_devices

    async def run(self, account_no: int, device_no: int) -> None:
        """Ends the session of one device."""
        async with self._db.write() as tx:
            await self._remove.run(tx, account_no, [device_no])

    async def everywhere(self, account_no: int) -> None:
        """Ends all sessions of the account."""
        async with self._db.write() as tx:
            nos = [device.device_no for device in await devices.of(tx, account_no)]
            await self._remove.run(tx, account_no, nos)
