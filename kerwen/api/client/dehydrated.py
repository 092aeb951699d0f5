"""Dehydrated devices (MSC3814), under the unstable path that clients in use call."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from kerwen.api.http import Cost, Reply, Request, Route
from kerwen.base import limits
from kerwen.keys.actions.dehydrate import Dehydrate

_BATCH = 100
_BATCH_MAX = 1_000


class EventsBody(msgspec.Struct):
    """The body of `POST …/events`, as the first draft had it."""

    next_batch: str | None = None


class DehydratedApi:
    """One sleeping device of each account."""

    def __init__(self, dehydrate: Dehydrate) -> None:
        self._dehydrate = dehydrate

    def routes(self) -> list[Route]:
        """The table."""
        path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
        events, spec = path + "/{deviceId}/events", "MSC3814"
        most = 4 * limits.MIB
        return [
            Route("PUT", path, self.put, cost=Cost.HEAVY, spec=spec, body_max=most),
            Route("GET", path, self.get, spec=spec),
            Route("DELETE", path, self.remove, cost=Cost.WRITE, spec=spec),
            Route("GET", events, self.events, spec=spec),
            Route("POST", events, self.events_of_first_draft, spec=spec),
        ]

    async def put(self, request: Request) -> Any:
        """PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"""
        caller = request.caller
        body = request.object()
        return {"device_id": await self._dehydrate.put(caller.account_no, caller.user_id, body)}

    async def get(self, request: Request) -> Any:
        """GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"""
        return Reply(orjson.dumps(await self._dehydrate.get(request.caller.account_no)))

    async def remove(self, request: Request) -> Any:
        """DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"""
        return {"device_id": await self._dehydrate.remove(request.caller.account_no)}

    async def events(self, request: Request) -> Any:
        """GET …/dehydrated_device/{deviceId}/events"""
        after = request.query("from")
        bodies, last, more = await self._batch(request, after)
        return _answer(bodies, last if more else None)

    async def events_of_first_draft(self, request: Request) -> Any:
        """POST …/dehydrated_device/{deviceId}/events: there the end is a batch without events."""
        after = request.json(EventsBody).next_batch
        bodies, last, _ = await self._batch(request, after)
        return _answer(bodies, last)

    async def _batch(self, request: Request, after: str | None) -> tuple[list[bytes], str, bool]:
        limit = request.int_query("limit", _BATCH, 1, _BATCH_MAX)
        account_no = request.caller.account_no
        return await self._dehydrate.events(account_no, request.params["deviceId"], after, limit)


def _answer(bodies: list[bytes], next_batch: str | None) -> bytes:
    tail = b"" if next_batch is None else b',"next_batch":' + orjson.dumps(next_batch)
    return b'{"events":[%b]%b}' % (b",".join(bodies), tail)
