"""A mail server on loopback that behaves as it is told, mostly badly. It keeps what it accepted.

It is written apart from our own protocol code, so that a mistake there does not hide here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

_PATH = re.compile(r"(?:MAIL FROM|RCPT TO):<([^>]*)>(.*)", re.IGNORECASE)


@dataclass
class Behaviour:
    """What the server does; each may be changed between messages."""

    greeting: str = "220 remote ESMTP"
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 10000000")
    tls: str = "none"  # `good`, `broken` (garbage instead of a handshake), `refused` (454)
    mail: Callable[[str], str] = lambda sender: "250 2.1.0 ok"
    rcpt: Callable[[str, int], str] = lambda to, time: "250 2.1.5 ok"
    """The answer to the recipient's `time`th try."""
    data: str = "354 go on"
    end: Callable[[int], str] = lambda time: "250 2.0.0 kept"
    """The answer to the `time`th message; it is kept if that begins with 250."""
    drop: str = ""  # where it hangs up: greeting, mail, data, body, dot (unkept), kept (after that)
    wait_s: float = 0.0  # before each reply
    speaks_early: bool = False  # says more before hands are shaken
    login: str = ""  # the base64 that AUTH PLAIN must give


@dataclass
class Kept:
    """A message that was accepted."""

    sender: str
    recipients: list[str]
    raw: bytes
    parameters: list[str]
    tls: bool
    connection: int
    logged_in: bool = False


@dataclass
class Remote:
    """The server; `at` is where it listens."""

    name: str = "mx.far.test"
    behaviour: Behaviour = field(default_factory=Behaviour)
    context: ssl.SSLContext | None = None
    kept: list[Kept] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    ends: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0
    at: tuple[str, int] = ("", 0)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Waits until something is so, looking whenever something happens here."""
        async with asyncio.timeout(seconds):
            while not true():
                self.news.clear()
                await self.news.wait()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Remote:
        self._server = await asyncio.start_server(self._talk, host, port, limit=2**20)
        self.at = self._server.sockets[0].getsockname()[:2]
        return self

    def close(self) -> None:
        self._server.close()

    def copies(self) -> dict[tuple[str, str], int]:
        """How often each message (by its Message-ID) came for each recipient."""
        found: dict[tuple[str, str], int] = {}
        for one in self.kept:
            match = re.search(rb"Message-ID: <([^>]*)>", one.raw)
            name = match[1].decode() if match else "?"
            for to in one.recipients:
                found[name, to] = found.get((name, to), 0) + 1
        return found

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        self.news.set()
        try:
            await _Talk(self, reader, writer, self.connections).run()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.close()


class _HungUp(OSError):
    pass


class _Talk:
    def __init__(
        self, of: Remote, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.of = of
        self.reader = reader
        self.writer = writer
        self.number = number
        self.tls = False
        self.logged_in = False
        self.sender = ""
        self.to: list[str] = []
        self.parameters: list[str] = []

    def hang_up(self, where: str) -> None:
        if self.of.behaviour.drop == where:
            raise _HungUp(where)

    async def say(self, text: str) -> None:
        if self.of.behaviour.wait_s:
            await asyncio.sleep(self.of.behaviour.wait_s)
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    async def run(self) -> None:
        self.hang_up("greeting")
        await self.say(self.of.behaviour.greeting)
        while True:
            line = (await self.reader.readuntil(b"\r\n"))[:-2].decode()
            self.of.commands.append(line)
            verb = line.split(" ")[0].upper()
            handler = getattr(self, f"do_{verb.lower()}", None)
            if handler is None:
                await self.say("502 5.5.1 what?")
            elif await handler(line):
                return

    async def do_ehlo(self, line: str) -> None:
        told = [self.of.name, *self.of.behaviour.extensions]
        if self.of.behaviour.tls != "none" and not self.tls:
            told.append("STARTTLS")
        if self.of.behaviour.login:
            told.append("AUTH PLAIN LOGIN")
        lines = [f"250-{one}" for one in told[:-1]] + [f"250 {told[-1]}"]
        await self.say("\r\n".join(lines))

    async def do_helo(self, line: str) -> None:
        await self.say(f"250 {self.of.name}")

    async def do_starttls(self, line: str) -> None:
        how = self.of.behaviour.tls
        if how == "refused":
            await self.say("454 4.7.0 not now")
            return
        more = "\r\n250 smuggled" if self.of.behaviour.speaks_early else ""
        await self.say("220 2.0.0 go on" + more)
        if how == "broken":
            self.writer.write(b"\x15\x03\x03 this is no handshake\r\n")
            await self.writer.drain()
            raise _HungUp("tls")
        assert self.of.context is not None
        await self.writer.start_tls(self.of.context)
        self.tls = True

    async def do_auth(self, line: str) -> None:
        self.logged_in = line == f"AUTH PLAIN {self.of.behaviour.login}"
        await self.say("235 2.7.0 welcome" if self.logged_in else "535 5.7.8 no")

    async def do_mail(self, line: str) -> None:
        self.hang_up("mail")
        match = _PATH.match(line)
        assert match is not None
        self.sender, self.to, self.parameters = match[1], [], [line]
        await self.say(self.of.behaviour.mail(self.sender))

    async def do_rcpt(self, line: str) -> None:
        match = _PATH.match(line)
        assert match is not None
        to = match[1]
        self.of.tries[to] = self.of.tries.get(to, 0) + 1
        answer = self.of.behaviour.rcpt(to, self.of.tries[to])
        if answer.startswith("2"):
            self.to.append(to)
            self.parameters.append(line)
        await self.say(answer)

    async def do_data(self, line: str) -> None:
        self.hang_up("data")
        if not self.to:
            await self.say("503 5.5.1 no recipients")
            return
        await self.say(self.of.behaviour.data)
        if not self.of.behaviour.data.startswith("354"):
            return
        self.hang_up("body")
        lines = []
        while (one := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(one[1:] if one.startswith(b".") else one)
        self.hang_up("dot")
        self.of.ends += 1
        answer = self.of.behaviour.end(self.of.ends)
        if answer.startswith("250"):
            self.of.kept.append(
                Kept(self.sender, self.to, b"".join(lines), self.parameters, self.tls,
                     self.number, self.logged_in)
            )  # fmt: skip
            self.of.news.set()
        self.hang_up("kept")
        await self.say(answer)

    async def do_rset(self, line: str) -> None:
        self.sender, self.to = "", []
        await self.say("250 2.0.0 ok")

    async def do_quit(self, line: str) -> bool:
        await self.say("221 2.0.0 bye")
        return True
