"""PUT, GET /_matrix/client/v3/presence/{userId}/status"""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.presence import Presence
from kerwen.api.client.own import own_account
from kerwen.api.http import Cost, Request, Route


class StatusBody(msgspec.Struct):
    """The body of the `PUT`."""

    presence: str
    status_msg: str | None = None


class PresenceApi:
    """The routes of presence.yaml."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def routes(self) -> list[Route]:
        """The table."""
        path, spec = "/_matrix/client/v3/presence/{userId}/status", "CS #presence"
        return [
            Route("PUT", path, self.put, cost=Cost.WRITE, spec=spec),
            Route("GET", path, self.get, cost=Cost.READ, spec=spec),
        ]

    async def put(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/presence/{userId}/status"""
        account_no = own_account(request, "Only one's own presence may be set")
        body = request.json(StatusBody)
        self._presence.set(account_no, body.presence, body.status_msg)
        return b"{}"

    async def get(self, request: Request) -> Any:
        """GET /_matrix/client/v3/presence/{userId}/status"""
        return await self._presence.get(request.caller.account_no, request.params["userId"])
