"""POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync"""

from __future__ import annotations

from collections.abc import Awaitable

from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.sliding_sync import Asked, SlidingSync
from kerwen.rooms.sliding import parse


class SlidingSyncApi:
    """The handler of sliding sync."""

    def __init__(self, sync: SlidingSync) -> None:
        self._sync = sync

    def routes(self) -> list[Route]:
        """The table."""
        return [
            Route(
                "POST",
                "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
                self.sync,
                cost=Cost.READ,
                spec="MSC4186",
                body_max=limits.SLIDING_BODY_MAX,
            )
        ]

    def sync(self, request: Request) -> Awaitable[bytes]:
        """POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync"""
        caller = request.caller
        presence = request.query("set_presence", "online")
        if presence not in ("online", "offline", "unavailable"):
            raise Refused(Reason.INVALID_PARAM, "set_presence is online, offline or unavailable")
        asked = Asked(
            caller.account_no,
            caller.user_id,
            caller.device_no,
            request.query("pos") or None,
            request.int_query("timeout", 0, 0, limits.SYNC_TIMEOUT_MAX_MS),
            parse(request.body),
            hash(request.body),
        )
        request.forget()
        return self._sync(asked)  # not awaited here: nothing of this need be kept meanwhile
