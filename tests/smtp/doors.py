"""The doors of POP3 and ManageSieve on the mail house of the SMTP tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kerwen.base.config import Config
from kerwen.maildoors import build_managesieve, build_pop3
from kerwen.net.line_door import LineDoor
from tests.smtp.world import World


class Line:
    """One connection: sends what it is told, reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self) -> str:
        """The next line; empty at the end."""
        return (await self.reader.readline()).decode().removesuffix("\r\n")

    async def until(self, *ends: str) -> list[str]:
        """Lines up to one that begins so, or to the end."""
        found = []
        while True:
            line = await self.line()
            found.append(line)
            if not line and self.reader.at_eof():
                return found
            if line.startswith(ends):
                return found

    async def say(self, text: str | bytes) -> None:
        """Sends bytes."""
        self.writer.write(text if isinstance(text, bytes) else text.encode())
        await self.writer.drain()


class Doors:
    """Both doors, in the clear and under TLS."""

    def __init__(self, world: World, *, plain: bool) -> None:
        self.world = world
        config = Config(dev=plain, data=str(world.house.folder), domain="kerwen.test")
        more = (world.mail, world.sign_in, world.spent.append, world.given.append)
        self.pop3 = build_pop3(config, *more)
        self.sieve = build_managesieve(config, world.house.feed, *more)
        self._servers: list[asyncio.Server] = []
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Opens them."""
        loop = asyncio.get_running_loop()
        doors: dict[str, LineDoor] = {"pop3": self.pop3, "pop3s": self.pop3, "sieve": self.sieve}
        for kind, door in doors.items():
            door.take_tls(self.world._context)
            door.failed_s = 0.0
            server = await loop.create_server(
                door.secure if kind == "pop3s" else door.clear, "127.0.0.1", 0,
                ssl=self.world._context if kind == "pop3s" else None,
            )  # fmt: skip
            self._servers.append(server)
            self.ports[kind] = int(server.sockets[0].getsockname()[1])

    async def connect(self, kind: str) -> Line:
        """A new connection."""
        context = self.world.tls if kind == "pop3s" else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.ports[kind], ssl=context, limit=1 << 22
        )
        return Line(reader, writer)

    async def stop(self) -> None:
        """Closes them."""
        for server in self._servers:
            server.close()
        await asyncio.gather(self.pop3.stop(2), self.sieve.stop(2))


@asynccontextmanager
async def doors(world: World, *, plain: bool = True) -> AsyncIterator[Doors]:
    """The doors, open for a while."""
    made = Doors(world, plain=plain)
    await made.start()
    yield made
    await made.stop()
