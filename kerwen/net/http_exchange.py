"""One request and its reply, between a connection and the application."""

# RFC 9110, RFC 9112

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from kerwen.base import limits

if TYPE_CHECKING:
    from kerwen.net.http import HttpProtocol
    from kerwen.net.websocket import WebSocket

log = logging.getLogger("kerwen.net.http")

Scope = dict[str, Any]
Message = dict[str, Any]
Application = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

BODY_AHEAD_MAX: Final = 64 * limits.KIB  # of a body that nobody has asked for yet
DISCARD_MAX: Final = 2 * limits.MIB  # of a body that is not wanted any more

STATUS_LINES: Final = {
    s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in http.HTTPStatus
}


Header = tuple[bytes, bytes]


class FixedHeaders(list[Header]):
    """Headers that many replies share: written out once. Never changed after they are made."""

    __slots__ = ("lines",)

    def __init__(self, headers: Iterable[Header]) -> None:
        super().__init__(headers)
        self.lines = header_lines(self)


def header_lines(headers: list[Header]) -> bytes:
    """Header fields as they are sent; names must be in small letters."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise ValueError("a header holds a line break")  # would split the reply
    return lines


class Exchange:
    """One request and its reply: the `receive` and `send` of ASGI."""

    __slots__ = (
        "_ahead", "_begun", "_body", "_chunked", "_connection", "_discarded", "_expects", "_head",
        "_keep", "_left", "_modern", "_over", "_scope", "_task", "_waiter", "whole",
    )  # fmt: skip

    def __init__(self, connection: HttpProtocol, scope: Scope, modern: bool, keep: bool) -> None:
        self._connection = connection
        self._scope = scope
        self._modern = modern  # HTTP/1.1: knows chunks
        self._keep = keep
        self.whole = False  # the request is here to its end
        self._body: list[bytes] | None = None  # parts that nobody has asked for yet
        self._ahead = 0  # bytes of them
        self._discarded = 0
        self._expects = (
            modern
            and scope["method"] != "GET"
            and any(
                name == b"expect" and value.lower() == b"100-continue"
                for name, value in scope["headers"]
            )
        )
        self._head: bytes | None = None  # status and headers, until the first of the body
        self._begun = False  # a part of the reply is on its way
        self._left = -1  # bytes of the reply still to come; -1: not said
        self._chunked = False
        self._over = False  # the reply is out, or nobody is there to read it
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Calls the application in a task of its own."""
        task = self._task = asyncio.get_running_loop().create_task(self._serve())
        self._connection.server.tasks.add(task)

    async def _serve(self) -> None:
        """The task: without a whole reply at its end, the connection cannot go on."""
        server = self._connection.server
        try:
            await server.app(self._scope, self.receive, self)
        except asyncio.CancelledError:
            pass  # the peer is gone, or the server stops: the task ends here
        except Exception:
            log.exception("bug")
        finally:
            server.tasks.discard(self._task)
            self._task = None
            if not self._over:
                self._over = True
                self._connection.give_up(told=self._begun)

    @property
    def begun(self) -> bool:
        """Whether a part of the reply is on its way."""
        return self._begun

    # --- the request

    def add_body(self, part: bytes) -> None:
        """A part of the body has come."""
        if self._over:
            self._discarded += len(part)
            if self._discarded > DISCARD_MAX:
                self._connection.cut()
            return
        if self._body is None:
            self._body = [part]
        else:
            self._body.append(part)
        self._ahead += len(part)
        if self._ahead > BODY_AHEAD_MAX:
            self._connection.pause_body()
        self._wake()

    def end_body(self) -> None:
        """The body has come whole."""
        self.whole = True
        self._wake()

    def lose(self) -> None:
        """The peer hung up. Reading may simply stop; a change under way is brought to its end."""
        self._over = True
        self._wake()
        if self._task is not None and self._scope["method"] in ("GET", "HEAD"):
            self._task.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """The next part of the body, or that the peer hung up."""
        if self._expects and not self._over and not self.whole:
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._expects = False
        while not (self._over or self._body or self.whole):
            self._connection.want_body()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._over:
            return {"type": "http.disconnect"}
        parts, self._body = self._body or (), None
        self._ahead = 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self.whole:
            self._connection.want_body()
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    # --- the reply

    def reply(self, status: int, headers: list[Header], body: bytes) -> None:
        """A whole reply at once; says its length itself. What two messages would do, quicker."""
        assert not self._begun, "a reply has one head"
        if self._over:
            return
        connection = self._connection
        server = connection.server
        server.statuses[status // 100] += 1
        lines = headers.lines if type(headers) is FixedHeaders else header_lines(headers)
        if self._keep and not server.stopping:
            last = b"\r\n"
        else:
            self._keep = False
            last = b"connection: close\r\n\r\n"
        if status not in (204, 304):
            last = b"content-length: %d\r\n%b" % (len(body), last)
            if self._scope["method"] != "HEAD":
                last += body
        self._begun = True
        connection.send(STATUS_LINES[status] + server.date_line() + lines + last)
        self._finish()

    async def upgrade(
        self,
        serve: Callable[[WebSocket], Awaitable[None]],
        protocols: Iterable[str] = (),
        *,
        message_max: int = limits.WEBSOCKET_MESSAGE_MAX,
        deflate: bool = False,
    ) -> bool:
        """Turns the connection into a WebSocket and serves it to its end; False, with nothing
        done, where the request was no handshake. The first of `protocols` that the client
        offers is chosen; without any in common, none."""
        from kerwen.net.websocket import BROKEN, accept, offer_of

        connection = self._connection
        offer = offer_of(self._scope["headers"]) if self._scope.get("upgrade") else None
        if offer is None or not connection.may_turn or self._over or self._begun:
            return False
        chosen = next((p for p in protocols if p in offer.protocols), "")
        headers, extension = accept(offer, chosen, deflate)
        connection.server.statuses[1] += 1
        connection.send(STATUS_LINES[101] + header_lines(headers) + b"\r\n")
        self._begun = self._over = True
        socket = connection.turn(self, extension, message_max)
        code = BROKEN
        try:
            await serve(socket)
            code = 1000
        finally:
            socket.close(code)
        return True

    async def __call__(self, message: Message) -> None:
        """The `send` of ASGI: the head of the reply, then its body in one or more parts."""
        if message["type"] == "http.response.start":
            assert self._head is None, "a reply has one head"
            self._head = self._make_head(message["status"], message["headers"])
            return
        if self._over:
            return
        more = message.get("more_body", False)
        self._begun = True
        self._connection.send(self._frame(message.get("body", b""), more))
        if not more:
            self._finish()
            return
        await self._connection.drained()

    def _make_head(self, status: int, headers: list[Header]) -> bytes:
        """The reply's head. Header names must be in small letters."""
        server = self._connection.server
        server.statuses[status // 100] += 1
        parts = [STATUS_LINES[status], server.date_line(), header_lines(headers)]
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
        if self._scope["method"] == "HEAD" or status in (204, 304):
            self._left = 0
        elif self._left < 0:
            if self._modern:
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self._keep = False
        if self._keep and server.stopping:
            self._keep = False
        if not self._keep:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _frame(self, body: bytes, more: bool) -> bytes:
        head, self._head = self._head or b"", None
        if self._scope["method"] == "HEAD":
            return head
        if self._chunked:
            parts = [head]
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
            return b"".join(parts)
        if self._left >= 0:
            self._left -= len(body)
            assert self._left >= 0, "the reply is longer than it said"
            assert more or not self._left, "the reply is shorter than it said"
        return head + body

    def _finish(self) -> None:
        self._over = True
        self._body = None
        self._connection.done(self, self._keep)
