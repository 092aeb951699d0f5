"""Account moderation by administrators (CS #server-administration)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.moderate import Moderate
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused


class LockBody(msgspec.Struct):
    """The body of `PUT /admin/lock/{userId}`."""

    locked: bool


class SuspendBody(msgspec.Struct):
    """The body of `PUT /admin/suspend/{userId}`."""

    suspended: bool


class AdminApi:
    """The routes of admin.yaml."""

    def __init__(self, moderate: Moderate) -> None:
        self._moderate = moderate

    def routes(self) -> list[Route]:
        """The table."""
        lock = "/_matrix/client/v1/admin/lock/{userId}"
        suspend = "/_matrix/client/v1/admin/suspend/{userId}"
        whois = "/_matrix/client/v3/admin/whois/{userId}"
        spec, admin = "CS #account-moderation", Access.ADMIN
        return [
            Route("GET", lock, self.locked, admin, Cost.READ, spec),
            Route("PUT", lock, self.lock, admin, Cost.WRITE, spec, tells=("locked",)),
            Route("GET", suspend, self.suspended, admin, Cost.READ, spec),
            Route("PUT", suspend, self.suspend, admin, Cost.WRITE, spec, tells=("suspended",)),
            Route(
                "GET",
                whois,
                self.whois,
                spec="CS #server-administration",
                of_others=True,
            ),
        ]

    async def locked(self, request: Request) -> Any:
        """GET /_matrix/client/v1/admin/lock/{userId}"""
        return {"locked": (await self._moderate.look(request.params["userId"])).locked}

    async def lock(self, request: Request) -> Any:
        """PUT /_matrix/client/v1/admin/lock/{userId}"""
        locked = request.json(LockBody).locked
        by = request.caller.account_no
        await self._moderate.lock(by, request.params["userId"], locked)
        return {"locked": locked}

    async def suspended(self, request: Request) -> Any:
        """GET /_matrix/client/v1/admin/suspend/{userId}"""
        return {"suspended": (await self._moderate.look(request.params["userId"])).suspended}

    async def suspend(self, request: Request) -> Any:
        """PUT /_matrix/client/v1/admin/suspend/{userId}"""
        suspended = request.json(SuspendBody).suspended
        by = request.caller.account_no
        await self._moderate.suspend(by, request.params["userId"], suspended)
        return {"suspended": suspended}

    async def whois(self, request: Request) -> Any:
        """GET /_matrix/client/v3/admin/whois/{userId}"""
        user_id = request.params["userId"]
        if user_id != request.caller.user_id and not request.caller.admin:
            raise Refused(Reason.FORBIDDEN, "Only administrators may do this")
        devices = {}
        for device in await self._moderate.devices_of(user_id):
            connection: dict[str, Any] = {"last_seen": device.seen_ms}
            if device.seen_address:
                connection["ip"] = device.seen_address
            devices[device.device_id] = {"sessions": [{"connections": [connection]}]}
        return {"user_id": user_id, "devices": devices}
