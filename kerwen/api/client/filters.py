"""POST /_matrix/client/v3/user/{userId}/filter, GET .../filter/{filterId}."""

# CS #filtering

from __future__ import annotations

from kerwen.accounts.actions.filters import Filters
from kerwen.api.client.own import own_account
from kerwen.api.http import Cost, Request, Route

_FILTER = "/_matrix/client/v3/user/{userId}/filter"


class FiltersApi:
    """Filters that clients keep here."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    def routes(self) -> list[Route]:
        """Its part of the table."""
        spec = "CS #filtering"
        return [
            Route("POST", _FILTER, self.add, cost=Cost.WRITE, spec=spec),
            Route("GET", _FILTER + "/{filterId}", self.get, spec=spec),
        ]

    async def add(self, request: Request) -> dict[str, str]:
        """POST /user/{userId}/filter"""
        account_no = own_account(request)
        return {"filter_id": await self._filters.add(account_no, request.object())}

    async def get(self, request: Request) -> bytes:
        """GET /user/{userId}/filter/{filterId}"""
        return await self._filters.source(own_account(request), request.params["filterId"])
