"""HTTP/1.1 for our one application: connections, requests in, replies out; no meaning.

The bytes are parsed by httptools (llhttp, Node's parser). What stands here is what a connection
needs around it: limits, time limits, back-pressure, keep-alive, pipelining and a clean end. The
application is called as ASGI has it (`scope, receive, send`), with the part of ASGI that it
uses. A parked request must stay small, so everything has slots, nothing has a timer of its own
(one sweep looks at all connections), and common header names are shared.
"""

# RFC 9110, RFC 9112

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, Protocol

import httptools

from kerwen.base import limits
from kerwen.net.http_exchange import DISCARD_MAX, STATUS_LINES, Application, Exchange, Scope

if TYPE_CHECKING:
    from kerwen.net.websocket import WebSocket

SWEEP_S: Final = 5.0
KEEP_ALIVE_S: Final = 75
HEADERS_S: Final = 20  # from the first byte to the end of the headers
STALL_S: Final = 60  # a body that does not come, a reply that is not taken
HEADERS_MAX: Final = 100  # header fields of a request
PIPELINE_MAX: Final = 32  # requests that wait behind one another on a connection
LINGER_S: Final = 5  # after our last word, while the peer still talks

_METHODS: Final = {
    m.encode(): m for m in ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH")
}
_SHARED: Final = (
    "Accept Accept-Encoding Access-Control-Request-Headers Access-Control-Request-Method"
    " Authorization Content-Disposition Content-Length Content-Type Host If-None-Match Origin"
    " Range Referer Transfer-Encoding User-Agent X-Forwarded-For X-Forwarded-Proto"
)
_NAMES: dict[bytes, bytes] = {}  # as sent → in small letters, one object for all requests
for _name in _SHARED.split():
    _small = _name.lower().encode()
    _NAMES[_name.encode()] = _NAMES[_small] = _small
_CODING: Final = _NAMES[b"transfer-encoding"]
_DROPPED: Final = frozenset(
    b"accept-language cache-control connection cookie dnt keep-alive pragma priority te"
    b" upgrade-insecure-requests".split()
)  # only pages read them, and a parked request would keep them
_PAGES: Final = (
    b"/_kerwen/my/",
    b"/_kerwen/oauth/",
    b"/_matrix/client/unstable/org.matrix.msc4108/",
    b"/_matrix/client/v3/auth/",
    b"/_matrix/client/r0/auth/",
)
_READ_BY_PAGES: Final = frozenset(
    (b"accept-language", b"cookie", b"sec-fetch-site", b"sec-fetch-mode")
)


class _Transport(Protocol):
    """What we use of a transport, plain or TLS."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def can_write_eof(self) -> bool: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str) -> Any: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...


class _Connection(Protocol):
    """What the server looks after: a connection of HTTP, or a WebSocket that began as one."""

    def finish(self) -> None: ...
    def cut(self) -> None: ...
    def check_time(self, now: float) -> None: ...


class HttpServer:
    """All HTTP connections of the process, on whatever listener, and what they have in common.

    The numbers are for the metrics: plain integers that are read when somebody asks.
    """

    def __init__(
        self,
        app: Application,
        *,
        connections_max: int = limits.HTTP_CONNECTIONS_MAX,
        proxies: Iterable[str] = (),
        fault: Callable[[int], bytes] | None = None,
    ) -> None:
        self.app = app
        self._fault = fault  # the JSON that explains a status to the peer
        self.proxies = frozenset(proxies)
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.now = time.monotonic()  # as old as the last sweep; good enough for time limits
        self.accepted = 0
        self.turned_away = 0
        self.malformed = 0
        self.statuses = [0] * 6  # replies by their first digit
        self._connections_max = connections_max
        self._sweep: asyncio.TimerHandle | None = None
        self._date = b""
        self._date_s = 0

    def protocol(self) -> HttpProtocol:
        """A protocol for a new connection."""
        return HttpProtocol(self)

    def start(self) -> None:
        """Begins to look after time limits; needs the running loop."""
        self.now = time.monotonic()
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    def _look(self) -> None:
        self.start()
        for connection in tuple(self.connections):
            connection.check_time(self.now)

    @property
    def full(self) -> bool:
        """Whether one connection more would be too many."""
        return len(self.connections) >= self._connections_max

    def date_line(self) -> bytes:
        """The `date` header, made once a second."""
        second = int(time.time())
        if second != self._date_s:
            self._date_s = second
            self._date = b"date: %s\r\n" % formatdate(second, usegmt=True).encode()
        return self._date

    def fault(self, status: int) -> bytes:
        """The whole reply to what the application never saw; the connection ends with it."""
        head = b"%bcontent-length: %d\r\nconnection: close\r\n"
        if self._fault is None:
            return head % (STATUS_LINES[status], 0) + b"\r\n"
        body = self._fault(status)
        kind = b"content-type: application/json\r\naccess-control-allow-origin: *\r\n\r\n"
        return head % (STATUS_LINES[status], len(body)) + kind + body

    async def stop(self, patience_s: float) -> None:
        """Lets running requests end for `patience_s`, then cuts what is left."""
        self.stopping = True
        for connection in tuple(self.connections):
            connection.finish()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience_s)
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=1)
        for connection in tuple(self.connections):
            connection.cut()
        if self._sweep is not None:
            self._sweep.cancel()


class HttpProtocol(asyncio.Protocol):
    """One connection. At most one exchange runs; later ones wait in `_behind`."""

    __slots__ = (
        "_behind", "_broken", "_client", "_deadline", "_fed", "_headers", "_newest", "_parser",
        "_paused", "_running", "_server", "_size", "_transport", "_url", "_writable",
    )  # fmt: skip

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: _Transport = None  # type: ignore[assignment]
        self._parser: Any = None
        self._client: Any = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] | None = None  # while a request's head comes
        self._size = 0  # of the head so far, as parsed
        self._fed = 0  # bytes since the last head was whole, as they came
        self._newest: Exchange | None = None  # the one whose body comes
        self._running: Exchange | None = None  # the one that is answered
        self._behind: list[Exchange] | None = None
        self._broken = 0  # the status for what came behind them and cannot be understood
        self._paused = False
        self._writable: asyncio.Future[None] | None = None  # while the peer does not read
        self._deadline = 0.0

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        server = self._server
        server.accepted += 1
        if server.full or server.stopping:
            server.turned_away += 1
            server.statuses[5] += 1
            self.send(server.fault(503))
            transport.close()
            return
        self._client = transport.get_extra_info("peername")
        self._parser = httptools.HttpRequestParser(self)
        self._deadline = server.now + HEADERS_S + SWEEP_S
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._parser = None
        self._behind = None
        self.resume_writing()
        running, self._running = self._running, None
        self._newest = None
        if running is not None:
            running.lose()

    def data_received(self, data: bytes) -> None:
        self._fed += len(data)
        if self._parser is None:
            if self._fed > DISCARD_MAX:
                self.cut()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Flood):
                self._server.malformed += 1
                self.cut()
                return
            self._fail(cause.status if isinstance(cause, _Fault) else 400)
            return
        if self._newest is None and self._fed > limits.HTTP_HEADERS_MAX + limits.HTTP_URL_MAX:
            self._fail(431)

    def eof_received(self) -> None:
        """The peer is done; the transport closes."""

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()
        self._deadline = self._server.now + STALL_S + SWEEP_S

    def resume_writing(self) -> None:
        self._deadline = 0.0
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- the parser calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._size = 0
        if self._running is None:
            self._deadline = self._server.now + HEADERS_S + SWEEP_S

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > limits.HTTP_URL_MAX:
            raise _Fault(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # a trailer: nobody reads those
        self._size += len(name) + len(value)
        if self._size > limits.HTTP_HEADERS_MAX or len(headers) >= HEADERS_MAX:
            raise _Fault(431)
        known = _NAMES.get(name)
        if known is None:
            known = name.lower()
            dropped = known in _DROPPED or known.startswith(b"sec-")
            dropped = dropped and not known.startswith(b"sec-websocket-")
            if dropped and not (known in _READ_BY_PAGES and self._url.startswith(_PAGES)):
                return
            known = _NAMES.get(known, known)
        if known is _CODING and value.lower() != b"chunked":
            raise _Fault(400)  # RFC 9112 §6.3: the end of the body could not be known
        headers.append((known, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method()
        path, query = _split(self._url)
        scope: Scope = {
            "type": "http",
            "method": _METHODS.get(method) or method.decode("latin-1"),
            "headers": self._headers,
            "client": self._client if not self._server.proxies else self._caller(),
            "raw_path": path,
            "query_string": query,
            "secure": self._transport.get_extra_info("sslcontext") is not None,
        }
        modern = parser.get_http_version() != "1.0"
        if parser.should_upgrade() and modern:
            scope["upgrade"] = True
        exchange = Exchange(self, scope, modern, modern and parser.should_keep_alive())
        self._url = b""
        self._headers = None
        self._fed = 0
        self._newest = exchange
        if self._running is None:
            self._run(exchange)
            return
        if self._behind is None:
            self._behind = []
        if len(self._behind) >= PIPELINE_MAX:
            raise _Flood
        self._behind.append(exchange)
        self._pause()

    def on_body(self, body: bytes) -> None:
        if self._newest is not None:
            self._newest.add_body(body)
            if self._newest is self._running and self._writable is None:
                self._deadline = self._server.now + STALL_S + SWEEP_S

    def on_message_complete(self) -> None:
        newest, self._newest = self._newest, None
        self._fed = 0  # what was fed so far was the body: only heads are counted
        if newest is None:
            return
        if newest is self._running and self._writable is None:
            self._deadline = 0.0
        newest.end_body()

    def _caller(self) -> tuple[str, int] | None:
        """Who asks: the peer, or whom a proxy that we know asks for."""
        peer: tuple[str, int] | None = self._client
        if peer is None or peer[0] not in self._server.proxies:
            return peer
        for name, value in reversed(self._headers or ()):
            if name == b"x-forwarded-for":
                return value.rpartition(b",")[2].strip().decode("latin-1")[:64], 0
        return peer

    # --- what the exchange calls

    def send(self, data: bytes) -> None:
        """Writes bytes to the peer."""
        self._transport.write(data)

    async def drained(self) -> None:
        """Waits while the peer does not read what we write."""
        if self._writable is not None:
            await self._writable

    def want_body(self) -> None:
        """The application reads: more of the body may come."""
        if self._paused and not self._behind:
            self._paused = False
            self._transport.resume_reading()

    def pause_body(self) -> None:
        """Enough of a body waits already."""
        self._pause()

    def done(self, exchange: Exchange, keep: bool) -> None:
        """The reply is sent whole: on to the next request, or the end."""
        if exchange is not self._running:
            return
        self._running = None
        if not keep or self._server.stopping:
            if exchange.whole and not self._broken:
                self.close()
            else:
                self.hang_up()
            return
        self._deadline = self._server.now + KEEP_ALIVE_S
        if self._newest is exchange:  # its body still comes, and nobody wants it
            self._deadline = self._server.now + STALL_S
            self.want_body()
        elif self._behind:
            self._run(self._behind.pop(0))
        elif self._broken:
            self._end(self._broken)
            return
        if not self._behind:
            self.want_body()

    def turn(self, exchange: Exchange, extension: Any, message_max: int) -> WebSocket:
        """The reply was 101: from here on the line is a WebSocket, and no longer ours."""
        from kerwen.net.websocket import WebSocket, server_side

        server, frames = self._server, server_side(extension, message_max)
        self._parser = self._running = self._newest = None
        self.resume_writing()
        socket = WebSocket(frames, self._transport, lambda: server.connections.discard(socket))
        server.connections.discard(self)
        server.connections.add(socket)
        self._transport.set_protocol(socket)
        return socket

    @property
    def may_turn(self) -> bool:
        """Whether nothing was said after the request that is answered (RFC 6455 §4.1)."""
        return not self._behind and self._newest is None and self._headers is None

    def give_up(self, *, told: bool) -> None:
        """The application broke off: says so if the reply has not begun, and hangs up."""
        if told:
            self.cut()
            return
        self._running = None
        self._fail(503 if self._server.stopping else 500)

    def cut(self) -> None:
        """Ends the connection at once; bytes on their way may be lost."""
        self._transport.abort()

    def close(self) -> None:
        """Ends the connection when what was written is sent."""
        self._parser = None
        self._deadline = self._server.now + STALL_S
        self._transport.close()

    def hang_up(self) -> None:
        """Ends the connection while the peer still talks.

        To close now would throw away what it has not read yet of our reply (RFC 9112 §9.6), so
        we only stop to speak, and listen a little longer without understanding.
        """
        self._parser = None
        self._behind = self._headers = self._newest = None
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self.close()
            return
        self._fed = 0
        self._deadline = self._server.now + LINGER_S
        self._transport.write_eof()
        self.want_body()

    # --- the server calls

    @property
    def server(self) -> HttpServer:
        """The server that it belongs to."""
        return self._server

    def finish(self) -> None:
        """The server stops: closes an idle connection, lets a running exchange be the last."""
        if self._running is None:
            self.close()

    def check_time(self, now: float) -> None:
        """Cuts the connection when it is over its time."""
        if not self._deadline or now < self._deadline:
            return
        if self._headers is not None and not self._transport.is_closing():
            self._fail(408)
        elif self._running is None and not self._transport.is_closing():
            self.close()
        else:
            self.cut()

    # --- inside

    def _run(self, exchange: Exchange) -> None:
        self._running = exchange
        self._deadline = 0.0 if exchange.whole else self._server.now + STALL_S + SWEEP_S
        exchange.start()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _decline_upgrade(self, rest: bytes) -> None:
        """We stay with HTTP/1.1, as RFC 9110 §7.8 lets us: the peer goes on in it."""
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    def _fail(self, status: int) -> None:
        """Answers what cannot be understood or served, after the requests that came whole
        before it, and hangs up."""
        self._server.malformed += status < 500
        running, newest = self._running, self._newest
        self._parser = self._headers = self._newest = None
        if newest is not None and newest is running:  # its own body is what is broken
            if running.begun:
                self.cut()
                return
            self._running = None
            running.lose()
        elif self._behind and newest is self._behind[-1]:
            self._behind.pop()
        if self._running is None:
            self._end(status)
        else:
            self._broken = status

    def _end(self, status: int) -> None:
        self._server.statuses[status // 100] += 1
        self.send(self._server.fault(status))
        self.hang_up()


class _Flood(Exception):
    """Raised through the parser: more requests at once than anybody needs."""


class _Fault(Exception):
    """Raised through the parser: the request breaks a limit."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target."""
    if url.startswith(b"/"):
        path, _, query = url.partition(b"?")
        return path, query
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return url, b""
    return parsed.path or b"/", parsed.query or b""
