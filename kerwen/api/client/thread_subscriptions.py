"""Thread subscriptions: following a thread (MSC4306), and what changed before (MSC4308)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import THREADS_AT_ONCE
from kerwen.rooms.actions.follow_thread import FollowThread, batch, told
from kerwen.rooms.actions.read import Who
from kerwen.rooms.sliding_state import read_pos

_THREAD = "/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription"
_CHANGES = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
_END = 2**62
_TOKEN = re.compile(r"s[0-9]{1,18}")


class FollowBody(msgspec.Struct):
    """The body of `PUT …/subscription`. `automatic`: the event for which a client does it."""

    automatic: str | None = None


class ThreadSubscriptionsApi:
    """Handlers of thread subscriptions."""

    def __init__(self, follow: FollowThread) -> None:
        self._follow = follow

    def routes(self) -> list[Route]:
        """The table."""
        return [
            Route("PUT", _THREAD, self.begin, cost=Cost.WRITE, spec="MSC4306"),
            Route("DELETE", _THREAD, self.end, cost=Cost.WRITE, spec="MSC4306"),
            Route("GET", _THREAD, self.get, spec="MSC4306"),
            Route("GET", _CHANGES, self.changes, spec="MSC4308"),
        ]

    async def begin(self, request: Request) -> Any:
        """PUT …/rooms/{roomId}/thread/{eventId}/subscription"""
        cause = request.json(FollowBody).automatic
        params = request.params
        await self._follow.begin(_who(request), params["roomId"], params["eventId"], cause)
        return {}

    async def end(self, request: Request) -> Any:
        """DELETE …/rooms/{roomId}/thread/{eventId}/subscription"""
        params = request.params
        await self._follow.end(_who(request), params["roomId"], params["eventId"])
        return {}

    async def get(self, request: Request) -> Any:
        """GET …/rooms/{roomId}/thread/{eventId}/subscription"""
        params = request.params
        found = await self._follow.is_automatic(_who(request), params["roomId"], params["eventId"])
        return {"automatic": found}

    async def changes(self, request: Request) -> Any:
        """GET …/thread_subscriptions: backwards, from the newest or from a token."""
        if request.need_query("dir") != "b":
            raise Refused(Reason.INVALID_PARAM, "dir is b")
        upto, since = _END, 0
        start, end = request.query("from"), request.query("to")
        if start is not None:
            digits = start.removeprefix("s")
            if (
                digits == start
                or not digits.isdecimal()
                or not digits.isascii()
                or len(digits) > 18
            ):
                raise Refused(Reason.INVALID_PARAM, "from is no token of this server")
            upto = int(digits)
        if end is not None:
            try:
                since = read_pos(end).token.pos
            except Refused:
                raise Refused(Reason.INVALID_PARAM, "to is no position of sliding sync") from None
        limit = request.int_query("limit", THREADS_AT_ONCE, 1, THREADS_AT_ONCE)
        found, more = await self._follow.page(request.caller.account_no, since, upto, limit)
        body = told(found)
        if more:
            body["end"] = batch(found[-1])
        return body


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)
