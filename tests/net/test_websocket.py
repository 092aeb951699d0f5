"""WebSockets at their wire: handshake, messages, limits, signs of life, the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kerwen.api.http import Access, App, Cost, Request, Route, Upgrade
from kerwen.api.router import Router
from kerwen.base import limits
from kerwen.net import websocket
from kerwen.net.http import HttpServer
from kerwen.net.websocket import WebSocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: " + KEY + b"\r\n"
)


class Free:
    def spend(self, cost: Cost, account_no: int, address: str) -> None: ...


class Place:
    """An application with two sockets: one says all again, one reads only when it may."""

    def __init__(self) -> None:
        table = [
            Route("GET", "/echo", self.echo, Access.ANYONE),
            Route("GET", "/slow", self.slow, Access.ANYONE),
            Route("GET", "/flood", self.flood, Access.ANYONE),
            Route("GET", "/brusque", self.brusque, Access.ANYONE),
            Route("GET", "/bug", self.bug, Access.ANYONE),
        ]
        app = App(Router(table), None, Free())  # type: ignore[arg-type]
        self.server = HttpServer(app)
        self.ended = asyncio.Event()
        self.may_read = asyncio.Event()
        self.port = 0

    async def echo(self, request: Request) -> Upgrade:
        return Upgrade(self._echo, ("b.test", "a.test"), deflate=True, message_max=100_000)

    async def _echo(self, socket: WebSocket) -> None:
        while (message := await socket.receive()) is not None:
            socket.send(message)
        self.ended.set()

    async def slow(self, request: Request) -> Upgrade:
        async def serve(socket: WebSocket) -> None:
            await self.may_read.wait()
            await self._echo(socket)

        return Upgrade(serve)

    async def flood(self, request: Request) -> Upgrade:
        async def serve(socket: WebSocket) -> None:
            while socket.open:
                socket.send(bytes(100_000))
                await asyncio.sleep(0)
            self.ended.set()

        return Upgrade(serve)

    async def brusque(self, request: Request) -> Upgrade:
        async def serve(socket: WebSocket) -> None:
            await self.may_read.wait()
            socket.close(websocket.POLICY)

        return Upgrade(serve)

    async def bug(self, request: Request) -> Upgrade:
        async def serve(socket: WebSocket) -> None:
            raise KeyError("secret")

        return Upgrade(serve)

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    async def raw(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    found = Place()
    listener = await asyncio.get_running_loop().create_server(found.server.protocol, "127.0.0.1", 0)
    found.port = listener.sockets[0].getsockname()[1]
    found.server.start()
    yield found
    listener.close()
    await found.server.stop(0)


async def test_messages_come_back_whole(place: Place) -> None:
    async with connect(place.url("/echo"), compression=None) as peer:
        for message in ("", "çäşe", b"\x00\xff", "x" * 99_000):
            await peer.send(message)
            assert await peer.recv() == message
        await peer.send(["in ", "three ", "parts"])
        assert await peer.recv() == "in three parts"
        await (await peer.ping())
        assert len(place.server.connections) == 1
    await asyncio.wait_for(place.ended.wait(), 5)
    assert not place.server.connections


async def test_they_may_be_compressed(place: Place) -> None:
    async with connect(place.url("/echo")) as peer:
        assert "permessage-deflate" in peer.response.headers["sec-websocket-extensions"]
        for _ in range(3):
            await peer.send("word " * 10_000)
            assert await peer.recv() == "word " * 10_000


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["a.test"], "a.test"), (["a.test", "b.test"], "b.test"), (["c.test"], None), ([], None)],
)
async def test_the_best_common_protocol_is_spoken(
    place: Place, offered: list[Any], chosen: str | None
) -> None:
    async with connect(place.url("/echo"), subprotocols=offered or None) as peer:
        assert peer.subprotocol == chosen


async def test_the_answer_is_that_of_the_rfc(place: Place) -> None:
    reader, writer = await place.raw(HANDSHAKE + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n",
        HANDSHAKE.replace(b"13", b"8") + b"\r\n",
        HANDSHAKE.replace(KEY, b"short") + b"\r\n",
        HANDSHAKE + b"sec-websocket-key: " + KEY + b"\r\n\r\n",
        HANDSHAKE.replace(b"upgrade: websocket", b"upgrade: h2c") + b"\r\n",
        HANDSHAKE.replace(b"keep-alive, Upgrade", b"keep-alive") + b"\r\n",
        HANDSHAKE + b"sec-websocket-protocol: ,;,\r\n\r\n",
    ],
)
async def test_no_handshake_no_socket(place: Place, request_: bytes) -> None:
    reader, writer = await place.raw(request_)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 426 "), head
    assert b"sec-websocket-version: 13\r\n" in head
    writer.close()


async def test_whoever_speaks_before_our_answer_gets_no_socket(place: Place) -> None:
    reader, writer = await place.raw(HANDSHAKE + b"\r\nGET /echo HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 426 ")
    writer.close()


async def test_other_paths_and_errors_stay_http(place: Place) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(place.url("/nowhere")):
            pass
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize(
    ("message", "code"),
    [(b"x" * 100_001, 1009), ([b"x" * 60_000, b"x" * 60_000], 1009)],
)
async def test_a_message_has_a_limit(place: Place, message: Any, code: int) -> None:
    async with connect(place.url("/echo"), compression=None) as peer:
        with contextlib.suppress(ConnectionClosed):
            await peer.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            await peer.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2)
    size = bytes([size[0] | (0x80 if masked else 0)]) + size[1:]
    return bytes([first]) + size + (bytes(4) if masked else b"") + payload


def bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(bytes(20_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x81, b"hi", masked=False), 1002),
        (frame(0x81, b"\xff\xff"), 1007),
        (frame(0x83, b"?"), 1002),
        (frame(0x80, b"goes on"), 1002),
        (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
        (frame(0xC2, bomb()), 1009),
        (frame(0xC2, b"\xff" * 50), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x89, b"x" * 126), 1002),
    ],
)
async def test_broken_frames_end_it_with_a_word(place: Place, data: bytes, code: int) -> None:
    offer = b"sec-websocket-extensions: permessage-deflate\r\n\r\n"
    reader, writer = await place.raw(HANDSHAKE + offer)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer[0] == 0x88
    assert int.from_bytes(answer[2:4]) == code
    await asyncio.wait_for(place.ended.wait(), 5)


async def test_endless_empty_parts_take_no_memory(place: Place) -> None:
    reader, writer = await place.raw(HANDSHAKE + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(frame(0x01, b"") + frame(0x00, b"") * 50_000 + frame(0x80, b"end"))
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"\x81\x03end"
    writer.close()


async def test_a_slow_reader_slows_the_peer(place: Place) -> None:
    sent = 0

    async def pour(peer: Any) -> None:
        nonlocal sent
        for _ in range(400):
            await peer.send(bytes(200_000))
            sent += 1

    async with connect(place.url("/slow"), compression=None, close_timeout=0.1) as peer:
        task = asyncio.ensure_future(pour(peer))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 0.3)
        assert sent * 200_000 < 40 * limits.MIB
        task.cancel()
        peer.transport.abort()


async def test_a_peer_that_takes_nothing_is_cut(place: Place) -> None:
    _reader, writer = await place.raw(HANDSHAKE.replace(b"/echo", b"/flood") + b"\r\n")
    writer.transport.pause_reading()
    await asyncio.wait_for(place.ended.wait(), 5)
    assert not place.server.connections
    writer.close()


async def test_a_silent_peer_is_asked_and_then_cut(place: Place) -> None:
    reader, writer = await place.raw(HANDSHAKE + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    (socket,) = place.server.connections
    now = 1_000.0
    socket.check_time(now)
    socket.check_time(now + websocket.QUIET_S - 1)
    socket.check_time(now + websocket.QUIET_S)
    assert await reader.readexactly(2) == b"\x89\x00"
    writer.write(frame(0x8A, b"") + frame(0x81, b"still here"))
    await reader.readexactly(12)
    socket.check_time(now + 2 * websocket.QUIET_S)  # it answered
    socket.check_time(now + 3 * websocket.QUIET_S)
    socket.check_time(now + 3 * websocket.QUIET_S + websocket.ANSWER_S)
    await asyncio.wait_for(place.ended.wait(), 5)
    writer.close()


async def test_who_is_sent_away_while_behind_hears_it(place: Place) -> None:
    async with connect(place.url("/brusque"), compression=None) as peer:
        for _ in range(3 * websocket.MESSAGES_AHEAD_MAX):
            await peer.send("x")
        place.may_read.set()
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(peer.recv(), 5)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == websocket.POLICY


async def test_a_bug_ends_it_and_tells_nothing(place: Place) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        async with connect(place.url("/bug")) as peer:
            await peer.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "")


async def test_the_server_says_that_it_goes(place: Place) -> None:
    async with connect(place.url("/echo")) as peer:
        await peer.send("here")
        await peer.recv()
        await place.server.stop(5)
        with pytest.raises(ConnectionClosed) as caught:
            await peer.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == websocket.GOING_AWAY
    await asyncio.wait_for(place.ended.wait(), 5)


async def test_random_bytes_break_nothing_else(place: Place) -> None:
    for _ in range(20):
        reader, writer = await place.raw(HANDSHAKE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(os.urandom(3_000))
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
    async with connect(place.url("/echo")) as peer:
        await peer.send("well")
        assert await peer.recv() == "well"
