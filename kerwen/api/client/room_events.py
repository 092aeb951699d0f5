"""Saying and reading what was said (CS #sending-events-to-a-room, #getting-events-for-a-room)."""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.api.client.delayed import asked_delay
from kerwen.api.client.event_parts import content_of, event_type, reader, speaker, txn_id
from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.actions.delay import Delay
from kerwen.rooms.actions.read import Read, joined
from kerwen.rooms.actions.send import Send
from kerwen.rooms.filters import EventFilter

_C = "/_matrix/client/v3"
_TS_MAX = 2**53 - 1


class RoomEventsApi:
    """Handlers of events and state."""

    def __init__(self, send: Send, delay: Delay, read: Read) -> None:
        self._send = send
        self._delay = delay
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
        if (later := asked_delay(request)) is not None:
            return await self._later(request, later, txn_id=txn_id(params["txn_id"]))
        event_id = await self._send.message(
            speaker(request),
            params["room_id"],
            event_type(params["type"]),
            txn_id(params["txn_id"]),
            content_of(request.body),
            ts=asked_ts(request),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def set_state(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"""
        params = request.params
        if (later := asked_delay(request)) is not None:
            return await self._later(request, later, state_key=params.get("state_key", ""))
        event_id = await self._send.state(
            speaker(request),
            params["room_id"],
            event_type(params["type"]),
            params.get("state_key", ""),
            content_of(request.body),
            ts=asked_ts(request),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def _later(self, request: Request, delay_ms: int, **more: str) -> Any:
        """MSC4140, as clients asked for it before it had a path of its own."""
        params = request.params
        try:
            delay_id = await self._delay.schedule(
                speaker(request),
                params["room_id"],
                event_type(params["type"]),
                content_of(request.body),
                delay_ms,
                **more,
            )
        except Refused as error:
            if error.extra and "org.matrix.msc4140.errcode" in error.extra:
                error.extra["errcode"] = "M_UNKNOWN"  # by which those clients know it
            raise
        return {"delay_id": delay_id}

    async def redact(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}"""
        params = request.params
        event_id = await self._send.redact(
            speaker(request),
            params["room_id"],
            params["event_id"],
            txn_id(params["txn_id"]),
            content_of(request.body),
        )
        return b'{"event_id":"%b"}' % event_id.encode()

    async def all_state(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/state"""
        return joined(await self._read.room_state(reader(request), request.params["room_id"]))

    async def state(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"""
        params = request.params
        content, event = await self._read.state_event(
            reader(request), params["room_id"], params["type"], params.get("state_key", "")
        )
        kind = request.query("format", "content")
        if kind not in ("content", "event"):
            raise Refused(Reason.INVALID_PARAM, "format is content or event")
        return content if kind == "content" else event

    async def members(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/members"""
        chunk = await self._read.members(
            reader(request),
            request.params["room_id"],
            request.query("at"),
            request.query("membership"),
            request.query("not_membership"),
        )
        return b'{"chunk":' + joined(chunk) + b"}"

    async def joined_members(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/joined_members"""
        found = await self._read.joined_members(reader(request), request.params["room_id"])
        return {"joined": found}

    async def messages(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/messages"""
        direction = request.need_query("dir")
        if direction not in ("b", "f"):
            raise Refused(Reason.INVALID_PARAM, "dir is b or f")
        wanted = _filter(request)
        page = await self._read.messages(
            reader(request),
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
        return await self._read.event(reader(request), params["room_id"], params["event_id"])

    async def context(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}"""
        params = request.params
        wanted = _filter(request)
        limit = request.int_query("limit", 10, 0, 100)
        return await self._read.context(
            reader(request), params["room_id"], params["event_id"], limit, wanted
        )

    async def nearest(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event"""
        direction = request.query("dir", "f")
        if direction not in ("b", "f"):
            raise Refused(Reason.INVALID_PARAM, "dir is b or f")
        request.need_query("ts")
        ts = request.int_query("ts", 0, -(2**53), 2**53)
        event_id, found = await self._read.nearest(
            reader(request), request.params["room_id"], ts, direction == "f"
        )
        return {"event_id": event_id, "origin_server_ts": found}


def asked_ts(request: Request) -> int | None:
    """AS #timestamp-massaging: the time that an application service gives an event."""
    text = request.query("ts")
    if text is None or not request.caller.service:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:20]) > _TS_MAX:
        raise Refused(Reason.INVALID_PARAM, "ts is a time in milliseconds")
    return int(text)


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
