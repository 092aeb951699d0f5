"""The caller's devices."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.manage_devices import ManageDevices
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.accounts.store.devices import Device
from kerwen.api.client.login import AuthBody
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.base.clock import Clock, now_ms


class NameBody(msgspec.Struct):
    """The body of `PUT /devices/{deviceId}`."""

    display_name: str | None = None


class DevicesBody(msgspec.Struct):
    """The body of `POST /delete_devices`."""

    devices: list[str]
    auth: dict[str, Any] | None = None


class DevicesApi:
    """The routes of device_management.yaml."""

    def __init__(self, manage: ManageDevices, prove: Prove, clock: Clock = now_ms) -> None:
        self._manage = manage
        self._prove = prove
        self._clock = clock

    def routes(self) -> list[Route]:
        """The table."""
        all_, one = "/_matrix/client/v3/devices", "/_matrix/client/v3/devices/{deviceId}"
        many = "/_matrix/client/v3/delete_devices"
        spec, user = "CS #device-management", Access.USER
        return [
            Route("GET", all_, self.list_all, user, Cost.READ, spec),
            Route("GET", one, self.get, user, Cost.READ, spec),
            Route("PUT", one, self.rename, user, Cost.WRITE, spec),
            Route("DELETE", one, self.delete, user, Cost.LOGIN, spec, oauth=False),
            Route("POST", many, self.delete_many, user, Cost.LOGIN, spec, oauth=False),
        ]

    async def list_all(self, request: Request) -> Any:
        """GET /_matrix/client/v3/devices"""
        found = await self._manage.list(request.caller.account_no)
        return {"devices": [device_answer(device) for device in found]}

    async def get(self, request: Request) -> Any:
        """GET /_matrix/client/v3/devices/{deviceId}"""
        account_no = request.caller.account_no
        return device_answer(await self._manage.one(account_no, request.params["deviceId"]))

    async def rename(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/devices/{deviceId}"""
        name = request.json(NameBody).display_name
        caller, device_id = request.caller, request.params["deviceId"]
        if caller.service:
            made = await self._manage.make(caller.account_no, device_id, name, self._clock())
            return Reply(b"{}", 201 if made else 200)
        await self._manage.rename(caller.account_no, device_id, name)
        return b"{}"

    async def delete(self, request: Request) -> Any:
        """DELETE /_matrix/client/v3/devices/{deviceId}"""
        device_id = request.params["deviceId"]
        return await self._delete(request, [device_id], request.json(AuthBody).auth)

    async def delete_many(self, request: Request) -> Any:
        """POST /_matrix/client/v3/delete_devices"""
        body = request.json(DevicesBody)
        return await self._delete(request, body.devices, body.auth)

    async def _delete(
        self, request: Request, device_ids: list[str], auth: dict[str, Any] | None
    ) -> Any:
        account_no = request.caller.account_no
        if request.caller.service:  # AS #device-management
            await self._manage.delete(account_no, device_ids)
            return b"{}"
        proof = await self._prove.owner("delete_devices", account_no, auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        await self._manage.delete(account_no, device_ids)
        self._prove.done(proof)
        return b"{}"


def device_answer(device: Device) -> dict[str, Any]:
    """A device as its owner sees it."""
    answer: dict[str, Any] = {"device_id": device.device_id, "last_seen_ts": device.seen_ms}
    if device.display_name is not None:
        answer["display_name"] = device.display_name
    if device.seen_address:
        answer["last_seen_ip"] = device.seen_address
    return answer
