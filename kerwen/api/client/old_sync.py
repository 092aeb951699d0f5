"""GET /_matrix/client/v3/events, /events/{eventId}, /initialSync, /rooms/{roomId}/initialSync"""

from __future__ import annotations

from typing import Any

from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.rooms.actions.old_sync import OldSync
from kerwen.rooms.actions.read import Who

_TIMEOUT_MS = 30_000
_LIMIT = 20


class OldSyncApi:
    """The routes of old_sync.yaml, peeking_events.yaml and room_initial_sync.yaml."""

    def __init__(self, old: OldSync) -> None:
        self._old = old

    def routes(self) -> list[Route]:
        """The table."""
        client, heavy = "/_matrix/client/v3", Cost.HEAVY
        room = f"{client}/rooms/{{roomId}}/initialSync"
        old, peek = "CS #syncing", "CS #room-previews"
        return [
            Route("GET", f"{client}/events", self.events, spec=peek),
            Route("GET", f"{client}/events/{{eventId}}", self.event, spec=old),
            Route("GET", f"{client}/initialSync", self.initial, cost=heavy, spec=old),
            Route("GET", room, self.room, cost=heavy, spec=peek),
        ]

    async def events(self, request: Request) -> Any:
        """GET /_matrix/client/v3/events"""
        timeout = request.int_query("timeout", _TIMEOUT_MS, 0, limits.SYNC_TIMEOUT_MAX_MS)
        return await self._old.events(
            _who(request), request.query("from") or None, timeout, request.query("room_id") or None
        )

    async def event(self, request: Request) -> Any:
        """GET /_matrix/client/v3/events/{eventId}"""
        return await self._old.event(_who(request), request.params["eventId"])

    async def initial(self, request: Request) -> Any:
        """GET /_matrix/client/v3/initialSync"""
        limit = request.int_query("limit", _LIMIT, 1, limits.TIMELINE_LIMIT_MAX)
        return await self._old.initial(_who(request), limit, request.bool_query("archived"))

    async def room(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/initialSync"""
        limit = request.int_query("limit", _LIMIT, 1, limits.MESSAGES_LIMIT_MAX)
        return await self._old.room(_who(request), request.params["roomId"], limit)


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)
