"""One request and its reply, between a connection and the application."""

# RFC 9110, RFC 9112

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from kerwen.base import limits

if TYPE_CHECKING:
    from kerwen.net.http import HttpProtocol

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


class Exchange:
    """One request and its reply: the `receive` and `send` of ASGI."""

    __slots__ = (
        "_begun", "_body", "_chunked", "_connection", "_discarded", "_expects", "_head", "_keep",
        "_left", "_modern", "_over", "_scope", "_task", "_waiter", "whole",
    )  # fmt: skip

    def __init__(self, connection: HttpProtocol, scope: Scope, modern: bool, keep: bool) -> None:
        self._connection = connection
        self._scope = scope
        self._modern = modern  # HTTP/1.1: knows chunks
        self._keep = keep
        self.whole = False  # the request is here to its end
        self._body: bytearray | bytes = b""
        self._discarded = 0
        self._expects = modern and any(
            name == b"expect" and value.lower() == b"100-continue"
            for name, value in scope["headers"]
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
        server = self._connection.server
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            server.app(self._scope, self.receive, self.send)  # type: ignore[arg-type]
        )
        self._task = task
        server.tasks.add(task)
        task.add_done_callback(self._ended)

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
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body) if self._body else bytearray()
        self._body += part
        if len(self._body) > BODY_AHEAD_MAX:
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
        body, self._body = bytes(self._body), b""
        if not self.whole:
            self._connection.want_body()
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    # --- the reply

    async def send(self, message: Message) -> None:
        """The head of the reply, then its body in one or more parts."""
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

    def _make_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The reply's head. Header names must be in small letters."""
        server = self._connection.server
        server.statuses[status // 100] += 1
        parts = [STATUS_LINES[status], server.date_line()]
        for name, value in headers:
            parts.append(b"%s: %s\r\n" % (name, value))
            if name == b"content-length":
                self._left = int(value)
        lines = len(headers) + 3
        if self._scope["method"] == "HEAD" or status in (204, 304):
            self._left = 0
        elif self._left < 0:
            if self._modern:
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
                lines += 1
            else:
                self._keep = False
        if self._keep and server.stopping:
            self._keep = False
        if not self._keep:
            parts.append(b"connection: close\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise ValueError("a header holds a line break")  # would split the reply
        return head

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
        self._body = b""
        self._connection.done(self, self._keep)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The application returned; without a whole reply, the connection cannot go on."""
        self._connection.server.tasks.discard(task)
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("bug", exc_info=error)
        if self._over:
            return
        self._over = True
        self._connection.give_up(told=self._begun)
