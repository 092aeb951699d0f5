"""GET, PUT, DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags."""

# CS #room-tagging

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.account_data import AccountData
from kerwen.api.client.own import own_account
from kerwen.api.http import Cost, Request, Route

_TAGS = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"


class TagsApi:
    """Tags of rooms."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    def routes(self) -> list[Route]:
        """Its part of the table."""
        spec = "CS #room-tagging"
        return [
            Route("GET", _TAGS, self.all, spec=spec),
            Route("PUT", _TAGS + "/{tag}", self.put, cost=Cost.WRITE, spec=spec),
            Route("DELETE", _TAGS + "/{tag}", self.delete, cost=Cost.WRITE, spec=spec),
        ]

    async def all(self, request: Request) -> dict[str, Any]:
        """GET /user/{userId}/rooms/{roomId}/tags"""
        account_no = own_account(request)
        return {"tags": await self._account_data.tags(account_no, request.params["roomId"])}

    async def put(self, request: Request) -> bytes:
        """PUT /user/{userId}/rooms/{roomId}/tags/{tag}"""
        account_no, params = own_account(request), request.params
        body = request.object()
        await self._account_data.put_tag(account_no, params["roomId"], params["tag"], body)
        return b"{}"

    async def delete(self, request: Request) -> bytes:
        """DELETE /user/{userId}/rooms/{roomId}/tags/{tag}"""
        account_no, params = own_account(request), request.params
        await self._account_data.delete_tag(account_no, params["roomId"], params["tag"])
        return b"{}"
