"""GET /_matrix/client/v3/notifications"""

from __future__ import annotations

from typing import Any

from kerwen.api.client.event_parts import reader
from kerwen.api.http import Cost, Request, Route
from kerwen.rooms.actions.notifications import Notifications

_LIMIT = 20
_LIMIT_MAX = 200


class NotificationsApi:
    """The route of notifications.yaml."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def routes(self) -> list[Route]:
        """The table."""
        path, spec = "/_matrix/client/v3/notifications", "CS #receiving-notifications"
        return [Route("GET", path, self.notifications, cost=Cost.HEAVY, spec=spec)]

    async def notifications(self, request: Request) -> Any:
        """GET /_matrix/client/v3/notifications"""
        found, token = await self._notifications(
            reader(request),
            request.query("from") or None,
            request.int_query("limit", _LIMIT, 1, _LIMIT_MAX),
            request.query("only") == "highlight",
        )
        more = b',"next_token":"%b"' % token.encode() if token is not None else b""
        return b'{"notifications":[%b]%b}' % (b",".join(found), more)
