"""GET /_matrix/client/v3/profile/{userId}; GET, PUT, DELETE .../profile/{userId}/{keyName}."""

# CS #profiles

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.profile import Profiles, check_key
from kerwen.api.client.own import own_account
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused

_PROFILE = "/_matrix/client/v3/profile/{userId}"
_KEY = _PROFILE + "/{keyName}"


class ProfileApi:
    """Profiles."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def routes(self) -> list[Route]:
        """Its part of the table."""
        spec, write = "CS #profiles", Cost.WRITE
        return [
            Route("GET", _PROFILE, self.get, Access.ANYONE, spec=spec),
            Route("GET", _KEY, self.field, Access.ANYONE, spec=spec),
            Route("PUT", _KEY, self.put, cost=write, spec=spec, suspended=False),
            Route("DELETE", _KEY, self.delete, cost=write, spec=spec, suspended=False),
        ]

    async def get(self, request: Request) -> dict[str, Any]:
        """GET /profile/{userId}"""
        return await self._profiles.get(request.params["userId"])

    async def field(self, request: Request) -> dict[str, Any]:
        """GET /profile/{userId}/{keyName}"""
        key = request.params["keyName"]
        return {key: await self._profiles.field(request.params["userId"], key)}

    async def put(self, request: Request) -> bytes:
        """PUT /profile/{userId}/{keyName}"""
        account_no = own_account(request, "Only one's own profile may be changed")
        key = request.params["keyName"]
        check_key(key)
        body = request.object()
        if key not in body:
            raise Refused(Reason.MISSING_PARAM, f"Missing parameters: {key}")
        await self._profiles.set(account_no, key, body[key])
        return b"{}"

    async def delete(self, request: Request) -> bytes:
        """DELETE /profile/{userId}/{keyName}"""
        account_no = own_account(request, "Only one's own profile may be changed")
        await self._profiles.delete(account_no, request.params["keyName"])
        return b"{}"
