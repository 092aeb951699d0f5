"""A JMAP request and its response, without I/O: calls come out one by one, answers go in."""

# RFC 8620 §3

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import orjson

from kerwen.base import limits
from kerwen.mail.jmap import references
from kerwen.mail.jmap.errors import MethodError, RequestError
from kerwen.mail.jmap.references import Response


class Call(msgspec.Struct, frozen=True):
    """A method call, with its references replaced."""

    name: str
    arguments: dict[str, Any]
    id: str


class Batch:
    """The method calls of one request. For each of `calls` some `add` follows."""

    __slots__ = ("_calls", "created_ids", "responses", "tells_created", "using")

    def __init__(self, body: Any, capabilities: Collection[str]) -> None:
        """`body`: the request as JSON. Raises `RequestError`."""
        if not isinstance(body, dict):
            raise _not_request("A request is an object")
        using, calls, created = (body.get(name) for name in ("using", "methodCalls", "createdIds"))
        if not isinstance(using, list) or not all(isinstance(one, str) for one in using):
            raise _not_request("`using` is a list of texts")
        if not isinstance(calls, list) or not all(map(_is_call, calls)):
            raise _not_request("`methodCalls` is a list of invocations")
        if created is not None and not _is_id_map(created):
            raise _not_request("`createdIds` is an object of ids")
        unknown = [one for one in using if one not in capabilities]
        if unknown:
            raise RequestError("unknownCapability", f"{unknown[0][:200]} is unknown")
        if len(calls) > limits.JMAP_CALLS_MAX:
            raise RequestError(
                "limit", f"At most {limits.JMAP_CALLS_MAX} calls", limit="maxCallsInRequest"
            )
        self.using = frozenset(using)
        self._calls = calls
        self.created_ids: dict[str, str] = dict(created or {})
        self.tells_created = created is not None
        self.responses: list[Response] = []

    def calls(self) -> Iterator[Call]:
        """The calls in order; one whose references lead nowhere is answered already."""
        for name, arguments, call_id in self._calls:
            try:
                found = references.resolved(arguments, self.responses)
            except MethodError as error:
                self.fail(error, call_id)
                continue
            yield Call(name, found, call_id)

    def add(self, name: str, arguments: dict[str, Any], call_id: str) -> None:
        """An answer."""
        self.responses.append((name, arguments, call_id))

    def fail(self, error: MethodError, call_id: str) -> None:
        """A call that cannot be answered otherwise."""
        self.responses.append(("error", error.arguments(), call_id))

    def id_of(self, told: Any) -> Any:
        """An id, or what was created under `#name` in this request (RFC 8620 §5.3)."""
        if isinstance(told, str) and told.startswith("#"):
            return self.created_ids.get(told[1:], told)
        return told

    def response(self, state: str) -> dict[str, Any]:
        """The whole response. # RFC 8620 §3.4"""
        told: dict[str, Any] = {"methodResponses": self.responses, "sessionState": state}
        if self.tells_created:
            told["createdIds"] = self.created_ids
        return told


def parse(raw: bytes) -> Any:
    """The JSON of a request. Raises `RequestError`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RequestError("notJSON", "The body is not JSON") from None


def _is_call(one: Any) -> bool:
    return (
        isinstance(one, list)
        and len(one) == 3
        and isinstance(one[0], str)
        and isinstance(one[1], dict)
        and isinstance(one[2], str)
    )


def _is_id_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _not_request(why: str) -> RequestError:
    return RequestError("notRequest", why)
