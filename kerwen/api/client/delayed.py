"""Delayed events (MSC4140): scheduling, looking, sending now, cancelling, restarting.

The names are those of the proposal's last form, and beside them those that clients still use.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from kerwen.api import replies
from kerwen.api.client.event_parts import content_of, event_type, speaker, txn_id
from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.delay import Delay
from kerwen.rooms.store.delayed import Delayed

_UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"
_DELAY = "org.matrix.msc4140.delay"


class ScheduleBody(msgspec.Struct):
    """The body of `PUT …/delayed_event/{eventType}/{txnId}`."""

    delay_ms: int
    content: msgspec.Raw
    state_key: str | None = None


class ActionBody(msgspec.Struct):
    """The body of the older `POST …/delayed_events/{delayId}`."""

    action: str


def asked_delay(request: Request) -> int | None:
    """How much later a `PUT …/send` or `…/state` is meant; None: now."""
    if request.query(_DELAY) is None:
        return None
    return request.int_query(_DELAY, 0, 1, 2**53)


class DelayedApi:
    """The routes of MSC4140."""

    def __init__(self, delay: Delay) -> None:
        self._delay = delay

    def routes(self) -> list[Route]:
        """The table."""
        found = []
        for put, base in (
            ("/_matrix/client/v3/rooms/{roomId}", "/_matrix/client/v1"),
            (f"{_UNSTABLE}/rooms/{{roomId}}", _UNSTABLE),
        ):
            found += [
                Route(
                    "PUT",
                    f"{put}/delayed_event/{{eventType}}/{{txnId}}",
                    self.schedule,
                    cost=Cost.MESSAGE,
                    spec="MSC4140",
                    suspended=False,
                ),
                Route("GET", f"{base}/delayed_events", self.list, spec="MSC4140"),
                Route("GET", f"{base}/delayed_events/{{delayId}}", self.one, spec="MSC4140"),
                Route(
                    "POST",
                    f"{base}/delayed_events/{{delayId}}/{{action}}",
                    self.manage,
                    cost=Cost.WRITE,
                    spec="MSC4140",
                ),
            ]
        older = f"{_UNSTABLE}/delayed_events/{{delayId}}"
        found.append(Route("POST", older, self.manage_older, cost=Cost.WRITE, spec="MSC4140"))
        return found

    async def schedule(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/delayed_event/{eventType}/{txnId}"""
        params, body = request.params, request.json(ScheduleBody)
        delay_id = await self._delay.schedule(
            speaker(request),
            params["roomId"],
            event_type(params["eventType"]),
            content_of(bytes(body.content)),
            body.delay_ms,
            state_key=body.state_key,
            txn_id=txn_id(params["txnId"]),
        )
        return {"delay_id": delay_id}

    async def one(self, request: Request) -> Any:
        """GET /_matrix/client/v1/delayed_events/{delayId}"""
        return _shown(await self._delay.one(request.caller.account_no, request.params["delayId"]))

    async def list(self, request: Request) -> Any:
        """GET /_matrix/client/v1/delayed_events"""
        status = request.query("status")
        if status not in (None, "scheduled", "finalised"):
            raise Refused(Reason.INVALID_PARAM, "status is scheduled or finalised")
        waiting, done = await self._delay.list(request.caller.account_no)
        answer: dict[str, Any] = {}
        if status != "finalised":
            answer["delayed_events"] = answer["scheduled"] = [_shown(d) for d in waiting]
        if status != "scheduled":
            answer["finalised"] = [_ended(d) for d in done]
        return answer

    async def manage(self, request: Request) -> Any:
        """POST /_matrix/client/v1/delayed_events/{delayId}/{action}"""
        params = request.params
        await self._delay.manage(request.caller.account_no, params["delayId"], params["action"])
        return b"{}"

    async def manage_older(self, request: Request) -> Any:
        """POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}"""
        action = request.json(ActionBody).action
        await self._delay.manage(request.caller.account_no, request.params["delayId"], action)
        return b"{}"


def _shown(delayed: Delayed) -> dict[str, Any]:
    found: dict[str, Any] = {
        "delay_id": delayed.delay_id,
        "room_id": delayed.room_id,
        "type": delayed.type,
        "content": orjson.loads(delayed.content),
        "delay_ms": delayed.delay_ms,
        "delayed_since_ts": delayed.since_ms,
        "delay": delayed.delay_ms,
        "running_since": delayed.since_ms,
    }
    if delayed.state_key is not None:
        found["state_key"] = delayed.state_key
    if delayed.done_ms:
        found["finalised"] = {"finalised_ts": delayed.done_ms, **_outcome(delayed)}
    return found


def _outcome(delayed: Delayed) -> dict[str, Any]:
    if delayed.event_id is not None:
        return {"event_id": delayed.event_id}
    if delayed.error is not None:
        reason, _, text = delayed.error.partition(":")
        return {"error": {"errcode": replies.CODES[Reason(reason)][1], "error": text}}
    return {}


def _ended(delayed: Delayed) -> dict[str, Any]:
    """A finished one in the older list."""
    early = delayed.done_ms < delayed.send_ms
    reason = "error" if delayed.error is not None else "action" if early else "delay"
    return {
        "delayed_event": _shown(delayed),
        "outcome": "send" if delayed.event_id is not None else "cancel",
        "reason": reason,
        "origin_server_ts": delayed.done_ms,
        **_outcome(delayed),
    }
