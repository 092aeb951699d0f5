"""An HTTPS server that serves one MTA-STS policy, and keeps what is posted to it."""

from __future__ import annotations

import asyncio
import re
import ssl


class PolicyServer:
    """What it serves may be changed while it runs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.text = ""
        self.status = 200
        self.kind = "text/plain; charset=utf-8"
        self.asked = 0
        self.posted: list[bytes] = []
        self.port = 0

    async def start(self) -> PolicyServer:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def close(self) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST "):
                size = re.search(rb"(?i)content-length: (\d+)", head)
                assert size is not None
                assert b"application/tlsrpt+gzip" in head
                self.posted.append(await reader.readexactly(int(size[1])))
            else:
                assert head.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n")
                self.asked += 1
            body = self.text.encode()
            writer.write(
                f"HTTP/1.1 {self.status} x\r\nContent-Type: {self.kind}\r\nLocation: /other\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
