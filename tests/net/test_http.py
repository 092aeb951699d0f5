"""The HTTP connection at its wire: what goes in as bytes and what comes out as bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.net import http
from kerwen.net.http import HttpServer
from kerwen.net.http_exchange import BODY_AHEAD_MAX

OK = {"type": "http.response.start", "status": 200}


class Scene:
    """A server on a free port with an application of its own, and what the application saw."""

    def __init__(self, connections_max: int = 100) -> None:
        self.server = HttpServer(self.app, connections_max=connections_max)
        self.seen: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.parked: list[asyncio.Future[None]] = []
        self.cancelled = 0
        self.finished = 0
        self.sent_chunks = 0
        self.port = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        path = scope["raw_path"].decode()
        await getattr(self, path.strip("/").partition("/")[0] or "root")(scope, receive, send)
        self.finished += 1

    async def root(self, scope: Any, receive: Any, send: Any) -> None:
        await reply(send, scope["raw_path"] + b"?" + scope["query_string"])

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.bodies.append(body + b"<gone>")
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        await reply(send, body)

    async def refuse(self, scope: Any, receive: Any, send: Any) -> None:
        await reply(send, b"no", status=413)

    async def park(self, scope: Any, receive: Any, send: Any) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self.parked.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await reply(send, b"awake")

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await send({**OK, "headers": []})
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent_chunks += 1
        await send({"type": "http.response.body", "body": b""})

    async def nothing(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def split(self, scope: Any, receive: Any, send: Any) -> None:
        await send({**OK, "headers": [(b"x", b"a\r\nset-cookie: evil")]})

    async def bug(self, scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("secret")

    async def half(self, scope: Any, receive: Any, send: Any) -> None:
        await send({**OK, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})

    async def connect(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, request: bytes) -> bytes:
        """Everything that comes back on a connection of its own, until it is closed."""
        line = await self.connect()
        line.write(request)
        return await line.rest()

    async def until(self, so: Callable[[], Any]) -> None:
        """Waits for the loop to get there."""
        async with asyncio.timeout(5):
            while not so():  # noqa: ASYNC110 (there is no event for what is inside the server)
                await asyncio.sleep(0)


class Line:
    """A connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.write = writer.write

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
            return b""

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """One reply with a content-length."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    def close(self) -> None:
        self.writer.close()


async def reply(send: Callable[[Any], Awaitable[None]], body: bytes, status: int = 200) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def stage(connections_max: int = 100) -> AsyncIterator[Scene]:
    found = Scene(connections_max)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(found.server.protocol, "127.0.0.1", 0)
    found.port = listener.sockets[0].getsockname()[1]
    found.server.start()
    try:
        yield found
    finally:
        listener.close()
        await found.server.stop(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with stage() as found:
        yield found


CLOSE = b"connection: close\r\n\r\n"


async def test_a_request_whole_or_byte_by_byte(scene: Scene) -> None:
    request = b"POST /echo/a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    request += b"Content-Type:  text/plain\r\nX-Own: 1\r\nAccept-Language: tk\r\n\r\nhello"
    whole = await scene.connect()
    whole.write(request)
    status, headers, body = await whole.reply()
    assert (status, body) == (200, b"hello")
    assert headers["date"].endswith("GMT")
    assert "connection" not in headers
    bytewise = await scene.connect()
    for n in range(len(request)):
        bytewise.write(request[n : n + 1])
        await asyncio.sleep(0)
    assert (await bytewise.reply())[2] == b"hello"
    first, second = scene.seen
    assert first.pop("client")[0] == second.pop("client")[0] == "127.0.0.1"
    assert first == second
    assert first == {
        "type": "http",
        "secure": False,
        "method": "POST",
        "raw_path": b"/echo/a%20b",
        "query_string": b"c=d",
        "headers": [
            (b"host", b"x"),
            (b"content-length", b"5"),
            (b"content-type", b"text/plain"),
            (b"x-own", b"1"),
        ],
    }


async def test_pipelined_requests_are_answered_in_their_order(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"GET /park HTTP/1.1\r\n\r\nGET /?2 HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\n")
    line.write(b"Content-Length: 3\r\n\r\nabcGET /?4 HTTP/1.1\r\n\r\n")
    await scene.until(lambda: scene.parked)
    assert len(scene.seen) == 1
    scene.parked[0].set_result(None)
    assert [(await line.reply())[2] for _ in range(4)] == [b"awake", b"/?2", b"abc", b"/?4"]


async def test_what_came_whole_before_a_fault_is_answered(scene: Scene) -> None:
    line = await scene.connect()
    first = b"POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"
    line.write(first * 2 + b"garbage\r\n\r\n")
    assert [(await line.reply())[0] for _ in range(3)] == [200, 200, 400]
    assert await line.rest() == b""


async def test_a_broken_body_is_told(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    assert (await line.reply())[0] == 400
    assert await line.rest() == b""


async def test_too_many_pipelined_requests_end_the_connection(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"GET /park HTTP/1.1\r\n\r\n" * (http.PIPELINE_MAX + 2))
    assert await line.rest() == b""
    await scene.until(lambda: scene.cancelled)
    assert len(scene.seen) == 1


async def test_a_chunked_body_and_its_trailer(scene: Scene) -> None:
    told = await scene.ask(
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n"
    )
    assert told.endswith(b"\r\n\r\nhello world")
    assert b"authorization" not in dict(scene.seen[0]["headers"])


async def test_continue_is_said_when_the_body_is_wanted(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"PUT /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.write(b"hi")
    assert (await line.reply())[2] == b"hi"
    line.write(b"PUT /refuse HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await line.reply())[0] == 413


LONG = b"a" * (limits.HTTP_URL_MAX + 1)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + LONG + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nx: " + LONG + b"\r\ny: " + LONG + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + LONG * 4, 431),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\n c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    ],
)
async def test_what_breaks_a_rule_is_told_and_hung_up(
    scene: Scene, request_: bytes, status: int
) -> None:
    told = await scene.ask(request_)
    assert told.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in told
    assert scene.seen == []
    assert scene.server.malformed == 1


async def test_a_large_body_is_no_large_head(scene: Scene) -> None:
    line = await scene.connect()
    body = b"z" * (4 * limits.HTTP_HEADERS_MAX)
    for _ in range(2):
        line.write(b"POST /echo HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert (await line.reply())[2] == body


async def test_no_body_where_there_must_be_none(scene: Scene) -> None:
    told = await scene.ask(
        b"HEAD /refuse HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nGET /?x HTTP/1.1\r\n" + CLOSE
    )
    first, second, third, body = told.split(b"\r\n\r\n")
    assert b"content-length: 2" in first
    assert second.startswith(b"HTTP/1.1 204 No Content")
    assert b"content-length" not in second
    assert b"transfer-encoding" not in second
    assert third.startswith(b"HTTP/1.1 200 OK")
    assert body == b"/?x"


async def test_a_stream_is_chunked_or_ends_with_the_connection(scene: Scene) -> None:
    new = await scene.ask(b"GET /stream?2 HTTP/1.1\r\n" + CLOSE)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert new.endswith(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + chunk * 2
                        + b"0\r\n\r\n")  # fmt: skip
    old = await scene.ask(b"GET /stream?2 HTTP/1.0\r\n\r\n")
    assert old.endswith(b"connection: close\r\n\r\n" + b"x" * 131072)
    assert b"chunked" not in old


async def test_an_upgrade_is_not_taken_up(scene: Scene) -> None:
    ask = b"GET /?%d HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    line = await scene.connect()
    line.write(ask % 1 + ask % 2)
    assert (await line.reply())[2] == b"/?1"
    assert (await line.reply())[2] == b"/?2"
    line.write(ask % 3)
    assert (await line.reply())[2] == b"/?3"


async def test_an_unwanted_body_does_not_end_the_connection(scene: Scene) -> None:
    line = await scene.connect()
    body = b"y" * 500_000
    line.write(b"PUT /refuse HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert (await line.reply())[0] == 413
    line.write(b"GET /?next HTTP/1.1\r\n\r\n")
    assert (await line.reply())[2] == b"/?next"


async def test_an_endless_unwanted_body_does(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"PUT /refuse HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n")
    assert (await line.reply())[0] == 413
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            line.write(b"y" * 65536)
            await line.writer.drain()
    assert await line.rest() == b""
    await scene.until(lambda: not scene.server.connections)


async def test_who_hangs_up_is_not_waited_for(scene: Scene) -> None:
    for method in (b"GET", b"PUT"):
        line = await scene.connect()
        line.write(method + b" /park HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        await scene.until(lambda: scene.parked and not scene.parked[-1].done())
        line.close()
        await scene.until(lambda: not scene.server.connections)
    await scene.until(lambda: scene.cancelled)
    assert scene.cancelled == 1  # the GET; what may have changed something goes on
    scene.parked[-1].set_result(None)
    await scene.until(lambda: scene.finished and not scene.server.tasks)


async def test_a_body_that_breaks_off_is_told(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"PUT /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc")
    await scene.until(lambda: scene.seen)
    line.close()
    await scene.until(lambda: scene.bodies)
    assert scene.bodies == [b"abc<gone>"]


async def test_a_body_waits_outside_until_it_is_read(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"PUT /park HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n")
    await scene.until(lambda: scene.parked)
    line.writer.transport.set_write_buffer_limits(0)
    written = asyncio.ensure_future(pour(line, 20_000_000))
    await asyncio.wait([written], timeout=0.5)
    assert not written.done()
    written.cancel()
    held = next(iter(scene.server.connections))._running
    assert held is not None
    assert len(held._body) <= BODY_AHEAD_MAX + 256 * limits.KIB
    line.close()


async def pour(line: Line, size: int) -> None:
    """Writes a lot, as fast as it is taken."""
    for _ in range(size // 65536):
        line.write(b"y" * 65536)
        await line.writer.drain()


async def test_who_does_not_read_is_not_written_to(scene: Scene) -> None:
    line = await scene.connect()
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    line.write(b"GET /stream?3000 HTTP/1.1\r\n\r\n")
    connection = next(iter(scene.server.connections))
    await scene.until(lambda: connection._writable is not None)
    stopped_at = scene.sent_chunks
    for _ in range(100):
        await asyncio.sleep(0)
    assert scene.sent_chunks == stopped_at < 3000
    connection.check_time(scene.server.now + http.STALL_S + http.SWEEP_S + 1)
    await scene.until(lambda: not scene.server.connections)
    line.close()


@pytest.mark.parametrize(
    ("sent", "limit_s", "status"),
    [
        (b"", http.HEADERS_S, 0),
        (b"GET / HTTP/1.1\r\nslow: ", http.HEADERS_S, 408),
        (b"GET / HTTP/1.1\r\n\r\n", http.KEEP_ALIVE_S, 200),
        (b"PUT /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc", http.STALL_S, 0),
    ],
)
async def test_time_limits(scene: Scene, sent: bytes, limit_s: float, status: int) -> None:
    line = await scene.connect()
    line.write(sent)
    if status == 200:
        await line.reply()
    elif sent:
        await scene.until(lambda: scene.seen or any(c._headers for c in scene.server.connections)
                          or next(iter(scene.server.connections))._headers == [])  # fmt: skip
        await asyncio.sleep(0)
    await scene.until(lambda: scene.server.connections)
    connection = next(iter(scene.server.connections))
    connection.check_time(scene.server.now + limit_s - 1)
    assert not connection._transport.is_closing()
    connection.check_time(scene.server.now + limit_s + http.SWEEP_S + 1)
    told = await line.rest()
    assert told.startswith(b"HTTP/1.1 408 ") if status == 408 else told == b""


async def test_a_parked_request_has_no_time_limit_here(scene: Scene) -> None:
    line = await scene.connect()
    line.write(b"GET /park HTTP/1.1\r\n\r\n")
    await scene.until(lambda: scene.parked)
    next(iter(scene.server.connections)).check_time(scene.server.now + 1e6)
    scene.parked[0].set_result(None)
    assert (await line.reply())[2] == b"awake"


async def test_one_connection_too_many() -> None:
    async with stage(connections_max=2) as scene:
        lines = [await scene.connect() for _ in range(2)]
        await scene.until(lambda: scene.server.full)
        assert (await scene.ask(b"")).startswith(b"HTTP/1.1 503 ")
        assert scene.server.turned_away == 1
        lines[0].close()
        await scene.until(lambda: not scene.server.full)
        assert b"/?ok" in await scene.ask(b"GET /?ok HTTP/1.1\r\n" + CLOSE)


@pytest.mark.parametrize(
    ("proxies", "told", "caller"),
    [
        ((), b"X-Forwarded-For: 192.0.2.1", "127.0.0.1"),
        (("127.0.0.1",), b"X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
        (("127.0.0.1",), b"x-forwarded-for: 10.9.9.9, 2001:db8::1", "2001:db8::1"),
        (("127.0.0.1",), b"x-forwarded-for: lie\r\nx-forwarded-for: 192.0.2.2", "192.0.2.2"),
        (("127.0.0.1",), b"x: y", "127.0.0.1"),
        (("10.0.0.1",), b"X-Forwarded-For: 192.0.2.1", "127.0.0.1"),
    ],
)
async def test_who_calls_through_a_proxy(
    scene: Scene, proxies: tuple[str, ...], told: bytes, caller: str
) -> None:
    scene.server.proxies = frozenset(proxies)
    await scene.ask(b"GET / HTTP/1.1\r\n" + told + b"\r\n" + CLOSE)
    assert scene.seen[0]["client"][0] == caller


async def test_a_bug_is_no_silence_and_tells_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (b"/bug", b"/split"):
        told = await scene.ask(b"GET " + path + b" HTTP/1.1\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in told
        assert b"evil" not in told
    cut = await scene.ask(b"GET /half HTTP/1.1\r\n\r\n")
    assert not cut or cut.endswith(b"12345")
    assert [record.message for record in caplog.records] == ["bug", "bug"]


async def test_stopping_lets_requests_end_and_cuts_the_rest(scene: Scene) -> None:
    idle, quick, stuck = [await scene.connect() for _ in range(3)]
    for line in (quick, stuck):
        line.write(b"GET /park HTTP/1.1\r\n\r\n")
    await scene.until(lambda: len(scene.parked) == 2)
    stopping = asyncio.ensure_future(scene.server.stop(0.2))
    assert await idle.rest() == b""
    scene.parked[0].set_result(None)
    status, headers, body = await quick.reply()
    assert (status, headers["connection"], body) == (200, "close", b"awake")
    assert (await stuck.rest()).startswith(b"HTTP/1.1 503 ")
    await stopping
    assert not scene.server.tasks
    assert b"503" in await scene.ask(b"")


pieces = st.sampled_from(
    [
        b"GET /?a HTTP/1.1\r\n", b"POST /echo HTTP/1.1\r\n", b"HEAD /refuse HTTP/1.0\r\n",
        b"content-length: 4\r\n", b"transfer-encoding: chunked\r\n", b"connection: upgrade\r\n",
        b"upgrade: h2c\r\n", b"expect: 100-continue\r\n", b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
        b"abcd", b"\n", b"\0", b"\r", b" ", b":",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(pieces, st.binary(max_size=30)), max_size=12))
def test_any_bytes_do_no_harm(parts: list[bytes]) -> None:
    """No exception leaves a callback, and after the bytes the server still answers."""

    async def run() -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
        async with stage() as scene:
            line = await scene.connect()
            for part in parts:
                line.write(part)
                await asyncio.sleep(0)
            with contextlib.suppress(OSError):
                line.writer.write_eof()
            await line.rest()
            assert b"/?alive" in await scene.ask(b"GET /?alive HTTP/1.1\r\n" + CLOSE)
        assert faults == []

    asyncio.run(run())
