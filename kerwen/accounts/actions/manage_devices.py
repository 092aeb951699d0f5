"""The owner's devices: list, name, delete (CS #device-management)."""

from __future__ import annotations

from collections.abc import Sequence

from kerwen.accounts.actions.open_session import check_device_id, device_name_of
from kerwen.accounts.actions.remove_devices import OnDevice, RemoveDevices
from kerwen.accounts.store import devices
from kerwen.accounts.store.devices import Device
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind


class ManageDevices:
    """Each method is about the devices of one account."""

    def __init__(
        self,
        db: Database,
        remove_devices: RemoveDevices,
        on_device_renamed: Sequence[OnDevice] = (),
    ) -> None:
        self._db = db
        self._remove = remove_devices
        self._on_renamed = tuple(on_device_renamed)

    async def list(self, account_no: int) -> list[Device]:
        """All devices, oldest first."""
        async with self._db.read() as snap:
            return await devices.of(snap, account_no)

    async def one(self, account_no: int, device_id: str) -> Device:
        """`Refused(NOT_FOUND)` where the account has none of this id."""
        async with self._db.read() as snap:
            device = await devices.one(snap, account_no, device_id)
        if device is None:
            raise Refused(Reason.NOT_FOUND, "There is no such device")
        return device

    async def rename(self, account_no: int, device_id: str, name: str | None) -> None:
        """Names a device; None leaves its name. People who share rooms learn of it."""
        if name is not None and len(name) > limits.DEVICE_NAME_MAX:
            raise Refused(
                Reason.TOO_LARGE, f"A device's name may have {limits.DEVICE_NAME_MAX} characters"
            )
        if name is None:
            await self.one(account_no, device_id)
            return
        async with self._db.write() as tx:
            device_no = await devices.rename(tx, account_no, device_id, device_name_of(name))
            if device_no is None:
                raise Refused(Reason.NOT_FOUND, "There is no such device")
            for other in self._on_renamed:
                await other(tx, account_no, device_no)
            tx.change(Kind.ACCOUNT, account_no)

    async def make(self, account_no: int, device_id: str, name: str | None, now_ms: int) -> bool:
        """Makes a device without tokens for an application service, or names the one that there
        is (AS #device-management); whether it is new."""
        check_device_id(device_id)
        device_no = await self._db.take_id("device")
        async with self._db.write() as tx:
            known = await devices.of(tx, account_no)
            if not any(device.device_id == device_id for device in known):
                if len(known) >= limits.DEVICES_MAX:
                    raise Refused(Reason.OVER_QUOTA, f"A user has {limits.DEVICES_MAX} devices")
                shown = device_name_of(name)
                if await devices.add(tx, device_no, account_no, device_id, shown, "", now_ms):
                    tx.change(Kind.ACCOUNT, account_no)
                    return True
        await self.rename(account_no, device_id, name)
        return False

    async def delete(self, account_no: int, device_ids: Sequence[str]) -> None:
        """Deletes devices; those that are gone already are no error."""
        wanted = set(device_ids)
        async with self._db.write() as tx:
            found = await devices.of(tx, account_no)
            nos = [device.device_no for device in found if device.device_id in wanted]
            await self._remove.run(tx, account_no, nos)
