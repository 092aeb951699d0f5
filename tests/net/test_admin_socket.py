"""The door in the data folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerwen.api.admin_socket import LINE_MAX, AdminSocket, _reachable, ask
from kerwen.base.errors import Reason, Refused, Unavailable, Unready


async def double(n: int) -> int:
    return 2 * n


async def refuse() -> None:
    raise Refused(Reason.NOT_FOUND, "There is no such account", secret="x")


async def busy() -> None:
    raise Unavailable(Unready.BUSY)


async def break_down() -> None:
    raise KeyError("a secret")


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    deep = tmp_path / ("long" * 30)  # a socket's path may have 107 bytes, a folder's more
    deep.mkdir()
    deeds = {"double": double, "refuse": refuse, "busy": busy, "break": break_down}
    door = AdminSocket(deep, deeds)
    await door.start()
    yield deep
    door.close()
    assert not (deep / "admin.sock").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"do": "double", "n": 4}, {"done": 8}),
        ({"do": "refuse"}, {"refused": "There is no such account"}),
        ({"do": "busy"}, {"refused": "the server cannot do this now: busy"}),
        ({"do": "fly"}, {"refused": "this server does not know that command"}),
        ({}, {"refused": "this server does not know that command"}),
        ({"do": "break"}, {"refused": "an error in the server; its log says more"}),
        ({"do": "double"}, {"refused": "an error in the server; its log says more"}),
    ],
)
async def test_answers(folder: Path, asked: dict[str, Any], told: dict[str, Any]) -> None:
    assert await asyncio.to_thread(ask, folder, asked) == told


@pytest.mark.parametrize("raw", [b"nonsense\n", b"[1]\n", b"x" * (LINE_MAX + 10) + b"\n", b"half"])
async def test_nonsense_is_hung_up_on(folder: Path, raw: bytes) -> None:
    with _reachable(folder) as path:
        reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(raw)
    writer.write_eof()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert await asyncio.to_thread(ask, folder, {"do": "double", "n": 1}) == {"done": 2}


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    assert ask(tmp_path, {"do": "double"}) is None
    first = AdminSocket(tmp_path, {})
    await first.start()
    assert first._server is not None
    first._server.close()  # without unlinking, as a crash would
    assert await asyncio.to_thread(ask, tmp_path, {"do": "double"}) is None
    second = AdminSocket(tmp_path, {"double": double})
    await second.start()
    told = await asyncio.to_thread(ask, tmp_path, {"do": "double", "n": 3})
    assert json.dumps(told) == '{"done": 6}'
    second.close()
