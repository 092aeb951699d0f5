"""What relates to an event; the threads of a room (relations.yaml, threads_list.yaml)."""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.api.http import Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who, joined
from kerwen.rooms.actions.relations import Relations, Wanted

_LIMIT_DEFAULT = 20
_LIMIT_MAX = 100


class RelationsApi:
    """Handlers of relations."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def routes(self) -> list[Route]:
        room = "/_matrix/client/v1/rooms/{room_id}"
        all_of = f"{room}/relations/{{event_id}}"
        spec = "CS #relationships-api"
        return [
            Route("GET", all_of, self.children, spec=spec),
            Route("GET", f"{all_of}/{{rel_type}}", self.children, spec=spec),
            Route("GET", f"{all_of}/{{rel_type}}/{{event_type}}", self.children, spec=spec),
            Route("GET", f"{room}/threads", self.threads, spec="CS #querying-threads-in-a-room"),
        ]

    async def children(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}"""
        params = request.params
        direction = request.query("dir", "b")
        if direction not in ("b", "f"):
            raise Refused(Reason.INVALID_PARAM, "dir is b or f")
        wanted = Wanted(
            params.get("rel_type"),
            params.get("event_type"),
            request.query("from"),
            request.query("to"),
            max(request.int_query("limit", _LIMIT_DEFAULT, 0, _LIMIT_MAX), 1),
            direction == "b",
            request.bool_query("recurse"),
        )
        found = await self._relations.children(
            _who(request), params["room_id"], params["event_id"], wanted
        )
        parts = [b'"chunk":' + joined(found.chunk)]
        if found.next_batch is not None:
            parts.append(b'"next_batch":' + orjson.dumps(found.next_batch))
        if found.prev_batch is not None:
            parts.append(b'"prev_batch":' + orjson.dumps(found.prev_batch))
        if found.depth is not None:
            parts.append(b'"recursion_depth":%d' % found.depth)
        return b"{" + b",".join(parts) + b"}"

    async def threads(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rooms/{roomId}/threads"""
        include = request.query("include", "all")
        if include not in ("all", "participated"):
            raise Refused(Reason.INVALID_PARAM, "include is all or participated")
        chunk, following = await self._relations.threads(
            _who(request),
            request.params["room_id"],
            request.query("from"),
            request.int_query("limit", _LIMIT_DEFAULT, 1, _LIMIT_MAX),
            include == "participated",
        )
        parts = [b'"chunk":' + joined(chunk)]
        if following is not None:
            parts.append(b'"next_batch":' + orjson.dumps(following))
        return b"{" + b",".join(parts) + b"}"


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)
