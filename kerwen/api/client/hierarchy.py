"""GET /_matrix/client/v1/rooms/{roomId}/hierarchy"""

from __future__ import annotations

from typing import Any

from kerwen.api.client.event_parts import reader
from kerwen.api.http import Cost, Request, Route
from kerwen.rooms.actions.hierarchy import DEPTH_MAX, Hierarchy

_LIMIT_MAX = 50


class HierarchyApi:
    """The route of space_hierarchy.yaml."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy

    def routes(self) -> list[Route]:
        """The table."""
        path, spec = "/_matrix/client/v1/rooms/{roomId}/hierarchy", "CS #spaces"
        return [Route("GET", path, self.hierarchy, cost=Cost.HEAVY, spec=spec)]

    async def hierarchy(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rooms/{roomId}/hierarchy"""
        rooms, token = await self._hierarchy(
            reader(request),
            request.params["roomId"],
            suggested_only=request.bool_query("suggested_only"),
            limit=request.int_query("limit", _LIMIT_MAX, 1, _LIMIT_MAX),
            depth_max=request.int_query("max_depth", DEPTH_MAX, 0, DEPTH_MAX),
            start=request.query("from") or None,
        )
        return {"rooms": rooms} if token is None else {"rooms": rooms, "next_batch": token}
