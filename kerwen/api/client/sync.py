"""GET /_matrix/client/v3/sync"""

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.filters import Filters
from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.sync import Asked, Sync


class SyncApi:
    """The handler of `/sync`."""

    def __init__(self, sync: Sync, filters: Filters) -> None:
        self._sync = sync
        self._filters = filters

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_matrix/client/v3/sync", self.sync, cost=Cost.READ, spec="CS #get-sync")
        ]

    async def sync(self, request: Request) -> Any:
        """GET /_matrix/client/v3/sync"""
        caller = request.caller
        query = request.query_values()
        presence = query.get("set_presence", "online")
        if presence not in ("online", "offline", "unavailable"):
            raise Refused(Reason.INVALID_PARAM, "set_presence is online, offline or unavailable")
        after = b""
        if request.bool_query("use_state_after"):
            after = b"state_after"
        elif request.bool_query("org.matrix.msc4222.use_state_after"):
            after = b"org.matrix.msc4222.state_after"
        asked = Asked(
            caller.account_no,
            caller.user_id,
            caller.device_no,
            query.get("since") or None,
            await self._filters.of(caller.account_no, query.get("filter")),
            request.int_query("timeout", 0, 0, limits.SYNC_TIMEOUT_MAX_MS),
            request.bool_query("full_state"),
            after,
        )
        request.forget()
        return await self._sync(asked)
