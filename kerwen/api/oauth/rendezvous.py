"""Rendezvous of two devices for a log-in by QR code: MSC4108 as of 2024, with ETags, and its
second form MSC4388, in JSON. One store stands behind both.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import msgspec
import orjson

from kerwen.api.http import CORS_HEADERS, JSON_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.rendezvous import Meeting, Rendezvous

_FIRST = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
_SECOND = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
TXN_ID_MAX = 255
_EXPOSED = (b"access-control-expose-headers", b"ETag")


class Leaving(msgspec.Struct):
    """The body of a POST or PUT of the second form."""

    data: str
    sequence_token: str = ""


class RendezvousApi:
    """`draw` gives names that nobody can guess."""

    def __init__(
        self, base_url: str, rendezvous: Rendezvous, draw: Callable[[], str], clock: Clock = now_ms
    ) -> None:
        self._base_url = base_url
        self._meetings = rendezvous
        self._draw = draw
        self._clock = clock

    def routes(self) -> list[Route]:
        """The table."""
        anyone, most = Access.ANYONE, limits.RENDEZVOUS_BYTES_MAX
        first, second = _FIRST + "/{name}", _SECOND + "/{name}"
        json_most = 2 * most + 1_024  # its text may be written with escapes
        heavy, read, write = Cost.HEAVY, Cost.READ, Cost.WRITE
        return [
            Route("POST", _FIRST, self.begin, anyone, heavy, "MSC4108", most),
            Route("GET", first, self.look, anyone, read, "MSC4108"),
            Route("PUT", first, self.replace, anyone, write, "MSC4108", most),
            Route("DELETE", first, self.end, anyone, write, "MSC4108"),
            Route("GET", _SECOND, self.discover, anyone, read, "MSC4388"),
            Route("POST", _SECOND, self.begin_json, anyone, heavy, "MSC4388", json_most),
            Route("GET", second, self.look_json, anyone, read, "MSC4388"),
            Route("PUT", second, self.replace_json, anyone, write, "MSC4388", json_most),
            Route(
                "PUT", second + "/{txnId}", self.replace_json, anyone, write, "MSC4388", json_most
            ),
            Route("DELETE", second, self.end_json, anyone, write, "MSC4388"),
        ]

    # --- the first form: the body is the text, the ETag tells one from another

    async def begin(self, request: Request) -> Any:
        """POST /_matrix/client/unstable/org.matrix.msc4108/rendezvous"""
        _check_plain(request)
        name = self._draw()
        meeting = self._meetings.begin(name, request.body, self._clock())
        body = orjson.dumps({"url": f"{self._base_url}{_FIRST}/{name}"})
        return Reply(body, 201, _headers(meeting, b"application/json"))

    async def look(self, request: Request) -> Any:
        """GET /_matrix/client/unstable/org.matrix.msc4108/rendezvous/{name}"""
        meeting = self._meetings.find(request.params["name"], self._clock())
        if request.header(b"sec-fetch-mode") == "navigate":  # for programs, not to be opened
            raise Refused(Reason.FORBIDDEN, "This is not a page")
        if request.header(b"if-none-match") == _tag(meeting):
            return Reply(b"", 304, _headers(meeting))
        return Reply(meeting.text, 200, _headers(meeting, b"text/plain"))

    async def replace(self, request: Request) -> Any:
        """PUT /_matrix/client/unstable/org.matrix.msc4108/rendezvous/{name}"""
        _check_plain(request)
        seen = request.header(b"if-match")
        if seen is None:
            raise Refused(Reason.MISSING_PARAM, "If-Match is missing")
        name, turn = request.params["name"], seen.strip('"')
        meeting, done = self._meetings.replace(name, turn, request.body, self._clock())
        if done:
            return Reply(b"", 202, _headers(meeting, b"text/plain"))
        body = {
            "errcode": "M_UNKNOWN",
            "org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE",
            "error": "Somebody else was faster",
        }
        return Reply(orjson.dumps(body), 412, _headers(meeting, b"application/json"))

    async def end(self, request: Request) -> Any:
        """DELETE /_matrix/client/unstable/org.matrix.msc4108/rendezvous/{name}"""
        self._meetings.end(request.params["name"], self._clock())
        return Reply(b"", 204, CORS_HEADERS)

    # --- the second form: JSON with a sequence token

    async def discover(self, request: Request) -> Any:
        """GET /_matrix/client/unstable/io.element.msc4388/rendezvous"""
        return {"create_available": True}

    async def begin_json(self, request: Request) -> Any:
        """POST /_matrix/client/unstable/io.element.msc4388/rendezvous"""
        text = request.json(Leaving).data.encode(errors="replace")
        name, now = self._draw(), self._clock()
        meeting = self._meetings.begin(name, text, now)
        left = {"sequence_token": meeting.turn, "expires_in_ms": meeting.expires_ms - now}
        return _uncached({"id": name, **left})

    async def look_json(self, request: Request) -> Any:
        """GET /_matrix/client/unstable/io.element.msc4388/rendezvous/{name}"""
        now = self._clock()
        meeting = self._meetings.find(request.params["name"], now)
        left = {"sequence_token": meeting.turn, "expires_in_ms": meeting.expires_ms - now}
        return _uncached({"data": meeting.text.decode(errors="replace"), **left})

    async def replace_json(self, request: Request) -> Any:
        """PUT /_matrix/client/unstable/io.element.msc4388/rendezvous/{name}; newer clients name
        a transaction, by which a repeated request is known.
        """
        body, name, now = request.json(Leaving), request.params["name"], self._clock()
        txn_id = request.params.get("txnId", "")[:TXN_ID_MAX]
        if txn_id and (known := self._meetings.answer(name, txn_id, now)):
            return _uncached({"sequence_token": known})
        text = body.data.encode(errors="replace")
        meeting, done = self._meetings.replace(name, body.sequence_token, text, now)
        if done and txn_id:
            self._meetings.keep_answer(name, txn_id, now)
        if done or meeting.text == text:  # the answer to the same request was lost
            return _uncached({"sequence_token": meeting.turn})
        code = "IO_ELEMENT_MSC4388_CONCURRENT_WRITE"
        return _uncached({"errcode": code, "error": "Somebody else was faster"}, 409)

    async def end_json(self, request: Request) -> Any:
        """DELETE /_matrix/client/unstable/io.element.msc4388/rendezvous/{name}"""
        self._meetings.end(request.params["name"], self._clock())
        return _uncached({})


def _tag(meeting: Meeting) -> str:
    return f'"{meeting.turn}"'


def _headers(meeting: Meeting, kind: bytes | None = None) -> list[tuple[bytes, bytes]]:
    headers = [
        *CORS_HEADERS,
        _EXPOSED,
        (b"etag", _tag(meeting).encode()),
        (b"expires", _date(meeting.expires_ms)),
        (b"last-modified", _date(meeting.changed_ms)),
        (b"cache-control", b"no-store"),
        (b"pragma", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
    ]
    return [*headers, (b"content-type", kind)] if kind else headers


def _date(ms: int) -> bytes:
    return formatdate(ms / 1000, usegmt=True).encode()


def _uncached(body: dict[str, Any], status: int = 200) -> Reply:
    return Reply(orjson.dumps(body), status, [*JSON_HEADERS, (b"cache-control", b"no-store")])


def _check_plain(request: Request) -> None:
    kind = request.header(b"content-type")
    if kind is None:
        raise Refused(Reason.MISSING_PARAM, "Content-Type is missing")
    if kind.partition(";")[0].strip().lower() != "text/plain":
        raise Refused(Reason.INVALID_PARAM, "Content-Type must be text/plain")
