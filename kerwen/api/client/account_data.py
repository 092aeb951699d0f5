"""GET, PUT /_matrix/client/v3/user/{userId}/account_data/{type}, and per room."""

# CS #client-config

from __future__ import annotations

from kerwen.accounts.actions.account_data import AccountData
from kerwen.api.client.own import own_account
from kerwen.api.http import Cost, Request, Route

_USER = "/_matrix/client/v3/user/{userId}"


class AccountDataApi:
    """Account data, global and per room."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    def routes(self) -> list[Route]:
        """Its part of the table."""
        spec = "CS #client-config"
        whole = _USER + "/account_data/{type}"
        room = _USER + "/rooms/{roomId}/account_data/{type}"
        return [
            Route("GET", whole, self.get, spec=spec),
            Route("PUT", whole, self.put, cost=Cost.WRITE, spec=spec),
            Route("GET", room, self.get_room, spec=spec),
            Route("PUT", room, self.put_room, cost=Cost.WRITE, spec=spec),
        ]

    async def get(self, request: Request) -> bytes:
        """GET /user/{userId}/account_data/{type}"""
        return await self._account_data.get(own_account(request), request.params["type"])

    async def put(self, request: Request) -> bytes:
        """PUT /user/{userId}/account_data/{type}"""
        account_no = own_account(request)
        await self._account_data.put(account_no, request.params["type"], _content(request))
        return b"{}"

    async def get_room(self, request: Request) -> bytes:
        """GET /user/{userId}/rooms/{roomId}/account_data/{type}"""
        account_no, params = own_account(request), request.params
        return await self._account_data.get_room(account_no, params["roomId"], params["type"])

    async def put_room(self, request: Request) -> bytes:
        """PUT /user/{userId}/rooms/{roomId}/account_data/{type}"""
        account_no, params = own_account(request), request.params
        content = _content(request)
        await self._account_data.put_room(account_no, params["roomId"], params["type"], content)
        return b"{}"


def _content(request: Request) -> bytes:
    """The body as it came, once it is known to be a JSON object."""
    request.object()
    return request.body.strip() or b"{}"
