"""POST /_matrix/client/v3/search"""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.search import Criteria, Search


class Categories(msgspec.Struct):
    """Where to search: there are rooms only."""

    room_events: Criteria | None = None


class SearchBody(msgspec.Struct):
    """The body of `POST /search`."""

    search_categories: Categories


class SearchApi:
    """The route of search.yaml."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def routes(self) -> list[Route]:
        """The table."""
        path, spec = "/_matrix/client/v3/search", "CS #server-side-search"
        return [Route("POST", path, self.search, cost=Cost.HEAVY, spec=spec)]

    async def search(self, request: Request) -> Any:
        """POST /_matrix/client/v3/search"""
        criteria = request.json(SearchBody).search_categories.room_events
        if criteria is None:
            return b'{"search_categories":{}}'
        caller = request.caller
        who = Who(caller.user_id, caller.account_no, caller.device_no)
        found = await self._search(who, criteria, request.query("next_batch"))
        return b'{"search_categories":{"room_events":%b}}' % found
