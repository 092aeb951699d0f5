"""POST /_matrix/client/v3/keys/upload, /keys/query, /keys/claim; GET /keys/changes"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kerwen.api.http import Caller, Cost, Request, Route
from kerwen.base import feed_token, limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.actions.changes import Changes
from kerwen.keys.actions.claim import Claim
from kerwen.keys.actions.federation import timeout_ms
from kerwen.keys.actions.query import Query
from kerwen.keys.actions.upload import Device, Upload

_BODY_MAX = 4 * limits.MIB


class QueryBody(msgspec.Struct):
    """What POST /keys/query takes."""

    device_keys: dict[str, list[str]]
    timeout: float | None = None


class ClaimBody(msgspec.Struct):
    """What POST /keys/claim takes."""

    one_time_keys: dict[str, dict[str, str]]
    timeout: float | None = None


def device_of(caller: Caller) -> Device:
    """Who acts, as the actions want it."""
    return Device(caller.account_no, caller.user_id, caller.device_no, caller.device_id)


def position(token: str) -> int:
    """The position of a sync token."""
    return feed_token.decode(token).pos


class KeysApi:
    """Keys of devices (CS #key-management-api)."""

    def __init__(
        self,
        upload: Upload,
        query: Query,
        claim: Claim,
        changes: Changes,
        read_token: Callable[[str], int] = position,
    ) -> None:
        self._upload = upload
        self._query = query
        self._claim = claim
        self._changes = changes
        self._read_token = read_token

    def routes(self) -> list[Route]:
        """The lines of the table."""
        at, spec = "/_matrix/client/v3/keys/", "CS #key-management-api"
        return [
            Route(
                "POST",
                at + "upload",
                self.upload,
                cost=Cost.HEAVY,
                spec=spec,
                body_max=_BODY_MAX,
            ),
            Route("POST", at + "query", self.query, spec=spec),
            Route("POST", at + "claim", self.claim, cost=Cost.WRITE, spec=spec),
            Route("GET", at + "changes", self.changes, spec=spec),
        ]

    async def upload(self, request: Request) -> Any:
        """POST /_matrix/client/v3/keys/upload"""
        if not request.caller.device_id:  # AS #identity-assertion
            raise Refused(Reason.MISSING_PARAM, "Keys are a device's: name it with device_id")
        counts = await self._upload(device_of(request.caller), request.object())
        return {"one_time_key_counts": counts}

    async def query(self, request: Request) -> bytes:
        """POST /_matrix/client/v3/keys/query"""
        body = request.json(QueryBody)
        return await self._query(
            request.caller.account_no, body.device_keys, timeout_ms(body.timeout)
        )

    async def claim(self, request: Request) -> bytes:
        """POST /_matrix/client/v3/keys/claim"""
        body = request.json(ClaimBody)
        return await self._claim(body.one_time_keys, timeout_ms(body.timeout))

    async def changes(self, request: Request) -> Any:
        """GET /_matrix/client/v3/keys/changes"""
        since = self._read_token(request.need_query("from"))
        upto = self._read_token(request.need_query("to"))
        lists = await self._changes(request.caller.account_no, since, upto)
        return {"changed": lists.changed, "left": lists.left}
