"""POST /_matrix/client/v3/user/{userId}/openid/request_token."""

# CS #openid

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.openid import OpenId
from kerwen.api.client.own import own_account
from kerwen.api.http import Cost, Request, Route


class OpenIdApi:
    """OpenID tokens."""

    def __init__(self, openid: OpenId) -> None:
        self._openid = openid

    def routes(self) -> list[Route]:
        """Its part of the table."""
        path = "/_matrix/client/v3/user/{userId}/openid/request_token"
        return [Route("POST", path, self.request_token, cost=Cost.WRITE, spec="CS #openid")]

    async def request_token(self, request: Request) -> dict[str, Any]:
        """POST /user/{userId}/openid/request_token"""
        account_no = own_account(request, "Only a token of one's own may be asked for")
        request.object()
        return await self._openid.request(account_no)
