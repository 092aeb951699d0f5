"""Saying and reading what was said (CS #sending-events-to-a-room, #getting-events-for-a-room)."""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.api.http import Cost, Request, Route
from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.actions.read import Read, Who, joined
from kerwen.rooms.actions.send import Send
from kerwen.rooms.filters import EventFilter

_C = "/_matrix/client/v3"
_TXN_MAX = 255


class RoomEventsApi:
    """Handlers of events and state."""

    def __init__(self, send: Send, read: Read) -> None:
        self._send = send
        self._read = read

    def routes(self) -> list[Route]:
        room = f"{_C}/rooms/{{room_id}}"
        said: dict[str, Any] = {"cost": Cost.MESSAGE, "suspended": False}
        state = f"{room}/state/{{type}}"
        return [
            Route(
                "PUT", f"{room}/send/{{type}}/{{txn_id}}", self.send, spec="CS #put-send", **said
            ),
            Route("PUT", f"{state}/{{state_key}}", self.set_state, spec="CS #put-state", **said),
            Route("PUT", state, self.set_state, spec="CS #put-state", **said),
            Route(
                "PUT",
                f"{room}/redact/{{event_id}}/{{txn_id}}",
                self.redact,
                cost=Cost.MESSAGE,
                spec="CS #put-redact",
            ),
            Route("GET", f"{room}/state", self.all_state, spec="CS #get-state"),
            Route("GET", f"{state}/{{state_key}}", self.state, spec="CS #get-state-event"),
            Route("GET", state, self.state, spec="CS #get-state-event"),
            Route("GET", f"{room}/members", self.members, spec="CS #get-members"),
            Route("GET", f"{room}/joined_members", self.joined_members, spec="CS #get-members"),
            Route("GET", f"{room}/messages", self.messages, spec="CS #get-messages"),
            Route("GET", f"{room}/event/{{event_id}}", self.event, spec="CS #get-event"),
            Route("GET", f"{room}/context/{{event_id}}", self.context, spec="CS #get-context"),
            Route(
                "GET",
                "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event",
                self.nearest,
                spec="CS #get-timestamp-to-event",
            ),
        ]

    async def send(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"""
        params = request.params
        event_id = await self._send.message(
            _speaker(request),
            params["room_id"],
            _type(params["type"]),
            _txn(params["txn_id"]),
            _content(request),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def set_state(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"""
        params = request.params
        event_id = await self._send.state(
            _speaker(request),
            params["room_id"],
            _type(params["type"]),
            params.get("state_key", ""),
            _content(request),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def redact(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}"""
        params = request.params
        event_id = await self._send.redact(
            _speaker(request),
            params["room_id"],
            params["event_id"],
            _txn(params["txn_id"]),
            _content(request),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def all_state(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/state"""
        return joined(await self._read.room_state(_who(request), request.params["room_id"]))

    async def state(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"""
        params = request.params
        content, event = await self._read.state_event(
            _who(request), params["room_id"], params["type"], params.get("state_key", "")
        )
        kind = request.query("format", "content")
        if kind not in ("content", "event"):
            raise Refused(Reason.INVALID_PARAM, "format is content or event")
        return content if kind == "content" else event

    async def members(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/members"""
        chunk = await self._read.members(
            _who(request),
            request.params["room_id"],
            request.query("at"),
            request.query("membership"),
            request.query("not_membership"),
        )
        return b'{"chunk":' + joined(chunk) + b"}"

    async def joined_members(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/joined_members"""
        found = await self._read.joined_members(_who(request), request.params["room_id"])
        return {"joined": found}

    async def messages(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/messages"""
        direction = request.need_query("dir")
        if direction not in ("b", "f"):
            raise Refused(Reason.INVALID_PARAM, "dir is b or f")
        wanted = _filter(request)
        page = await self._read.messages(
            _who(request),
            request.params["room_id"],
            request.query("from"),
            request.query("to"),
            direction == "b",
            _limit(request, wanted),
            wanted,
        )
        parts = [b'"start":%b' % orjson.dumps(page.start), b'"chunk":' + joined(page.chunk)]
        if page.end is not None:
            parts.append(b'"end":"%b"' % page.end.encode())
        if page.state:
            parts.append(b'"state":' + joined(page.state))
        return b"{" + b",".join(parts) + b"}"

    async def event(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}"""
        params = request.params
        return await self._read.event(_who(request), params["room_id"], params["event_id"])

    async def context(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}"""
        params = request.params
        wanted = _filter(request)
        limit = request.int_query("limit", 10, 0, 100)
        return await self._read.context(
            _who(request), params["room_id"], params["event_id"], limit, wanted
        )

    async def nearest(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event"""
        direction = request.query("dir", "f")
        if direction not in ("b", "f"):
            raise Refused(Reason.INVALID_PARAM, "dir is b or f")
        request.need_query("ts")
        ts = request.int_query("ts", 0, -(2**53), 2**53)
        event_id, found = await self._read.nearest(
            _who(request), request.params["room_id"], ts, direction == "f"
        )
        return {"event_id": event_id, "origin_server_ts": found}


def _speaker(request: Request) -> tuple[str, int, int]:
    caller = request.caller
    return caller.user_id, caller.account_no, caller.device_no


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)


def _content(request: Request) -> dict[str, Any]:
    """The body as an event's content: strict JSON, since it will be signed."""
    try:
        found = canonical_json.decode(request.body or b"{}")
    except ValueError:
        raise Refused(Reason.NOT_JSON, "The body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(Reason.BAD_JSON, "The body must be a JSON object")
    return found


def _type(text: str) -> str:
    if not text or len(text.encode("utf-8", "replace")) > 255:
        raise Refused(Reason.INVALID_PARAM, "That is no event type")
    return text


def _txn(text: str) -> str:
    if not text or len(text) > _TXN_MAX:
        raise Refused(Reason.INVALID_PARAM, "A transaction id has 1 to 255 characters")
    return text


def _filter(request: Request) -> EventFilter:
    """A `RoomEventFilter` in the query."""
    text = request.query("filter")
    if text is None:
        return filters.EVERYTHING
    try:
        return filters.event_filter(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise Refused(Reason.NOT_JSON, "The filter is not JSON") from None


def _limit(request: Request, wanted: EventFilter) -> int:
    default = wanted.limit if wanted.limit is not None else 10
    return request.int_query("limit", default, 0, limits.MESSAGES_LIMIT_MAX)
