"""Streams over real connections: bodies that break off, readers that are slow or leave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kerwen.media.rules import MediaRules
from kerwen.net.http import HttpServer
from kerwen.storage import blobs_files
from tests.media.house import House, until

MIB = 1 << 20
HEAD = "Host: kerwen.test\r\nAuthorization: Bearer ayna\r\n"


@asynccontextmanager
async def served(house: House) -> AsyncIterator[int]:
    """The house on a port of its own."""
    server = HttpServer(house.app)
    server.start()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.protocol, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.stop(1)


async def head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), headers


def post(size: int) -> bytes:
    return f"POST /_matrix/media/v3/upload HTTP/1.1\r\n{HEAD}Content-Length: {size}\r\n".encode()


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_up_and_down(house: House) -> None:
    data = os.urandom(7 * MIB + 13)
    async with served(house) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send(writer, post(len(data)) + b"\r\n" + data)
        status, headers = await head_of(reader)
        body = await reader.readexactly(int(headers["content-length"]))
        assert status == 200
        name = body.decode().split("mxc://")[1].rstrip('"}')
        path = f"/_matrix/client/v1/media/download/{name}"
        for extra, want in (("", data), ("Range: bytes=5-5000000\r\n", data[5:5000001])):
            await send(writer, f"GET {path} HTTP/1.1\r\n{HEAD}{extra}\r\n".encode())
            status, headers = await head_of(reader)
            assert status == (206 if extra else 200)
            assert await reader.readexactly(int(headers["content-length"])) == want
        writer.close()


async def test_a_body_without_a_length(house: House) -> None:
    async with served(house) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n"
        await send(writer, head.encode())
        for _ in range(30):
            await send(writer, b"186a0\r\n" + bytes(100_000) + b"\r\n")
        await send(writer, b"0\r\n\r\n")
        assert (await head_of(reader))[0] == 200
        writer.close()
    assert [path.stat().st_size for path in house.files()] == [3_000_000]


async def test_a_connection_that_breaks_leaves_nothing(house: House) -> None:
    async with served(house) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await send(writer, post(10 * MIB) + b"\r\n" + bytes(3 * MIB))
        await until(lambda: len(house.files()) == 1)
        writer.transport.abort()
        await until(lambda: house.files() == [])
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"]) == (0, 0)


async def test_too_large_is_told_before_the_body(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(upload_bytes_max=1000))
    async with served(house) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send(writer, post(2000) + b"Expect: 100-continue\r\n\r\n")
        status, _ = await head_of(reader)
        assert status == 413
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send(writer, post(1000) + b"Expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await send(writer, bytes(1000))
        assert (await head_of(reader))[0] == 200
        writer.close()
    await house.close()


def open_blobs(house: House) -> int:
    """How many files of the store this process holds open."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(str(house.folder / "blobs"))
        except OSError:
            pass
    return count


async def test_a_reader_that_leaves_holds_nothing_open(house: House) -> None:
    name = await house.upload(bytes(50 * MIB))
    async with served(house) as port:
        path = f"/_matrix/client/v1/media/download/{name}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MIB)
        await send(writer, f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode())
        await reader.readexactly(MIB)
        assert open_blobs(house) == 1
        writer.transport.abort()
        await until(lambda: open_blobs(house) == 0)


async def test_a_slow_reader_costs_little_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not take stays on disk: the server reads on only as it takes."""
    name = await house.upload(bytes(60 * MIB))
    read = 0
    exactly = blobs_files._read_exactly

    def counted(fd: int, wanted: int, offset: int) -> bytes:
        nonlocal read
        read += wanted
        return exactly(fd, wanted, offset)

    monkeypatch.setattr(blobs_files, "_read_exactly", counted)
    async with served(house) as port:
        path = f"/_matrix/client/v1/media/download/{name}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
        await send(writer, f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode())
        _, headers = await head_of(reader)
        seen, same = 0, 0
        while same < 100:  # nothing more is read for a while
            await asyncio.sleep(0.001)
            seen, same = read, same + 1 if seen == read else 0
        assert 0 < read < 30 * MIB  # what the sockets hold
        left = int(headers["content-length"])
        while left:
            left -= len(await reader.read(65_536))
        assert read == 60 * MIB
        writer.close()
