"""A small HTTP client: one keep-alive connection, so that the client costs little."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit


class Line:
    """One connection of one person."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, "a URL has a host"
        self._place = (parts.hostname, parts.port or 80)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.token = token

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The JSON answer; anything but 200 is a `RuntimeError`."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._place)
        assert self._reader is not None, "both were opened"
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
        if self.token:
            head += f"Authorization: Bearer {self.token}\r\n"
        self._writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
        status, answer = await self._answer(self._reader)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer[:200]!r}")
        found: dict[str, Any] = json.loads(answer)
        return found

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(None, 2)[1])
        if b"transfer-encoding: chunked" in head:
            parts = []
            while size := int(await reader.readline(), 16):
                parts.append(await reader.readexactly(size))
                await reader.readexactly(2)
            await reader.readexactly(2)
            return status, b"".join(parts)
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return status, await reader.readexactly(length)

    def close(self) -> None:
        """Hangs up."""
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None
