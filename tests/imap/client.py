"""A small IMAP client: it sends what it is told and understands only lines, literals and tags."""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from dataclasses import dataclass, field

LITERAL = re.compile(rb"\{(\d+)\}\Z")


@dataclass
class Answer:
    """The end of a command, and the untagged answers before it (literals within them)."""

    status: str
    text: bytes
    lines: list[bytes] = field(default_factory=list)

    @property
    def code(self) -> bytes:
        """The response code."""
        found = re.match(rb"\[([^\]]*)\]", self.text)
        return found[1] if found else b""

    def of(self, word: bytes) -> list[bytes]:
        """The untagged answers of a kind, without `* ` (FETCH, EXISTS stand second)."""
        return [
            line
            for line in self.lines
            if word in line.upper().split(b" ", 2)[:2]
            or line.upper().startswith(word + b" ")
            or line.upper() == word
        ]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""
        self._count = 0
        self._inflate: zlib._Decompress | None = None
        self._deflate: zlib._Compress | None = None
        self._plain = b""

    @classmethod
    async def connect(
        cls, port: int, tls: ssl.SSLContext | None = None, *, greeted: bool = True
    ) -> Client:
        """Connects and reads the greeting."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 26)
        client = cls(reader, writer)
        if greeted:
            client.greeting = await client.line()
        return client

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self.writer.write(data)

    def compress(self) -> None:
        """Everything is deflated from now on."""
        self._inflate = zlib.decompressobj(-15)
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)

    async def _until_line(self) -> bytes:
        if self._inflate is None:
            return await self.reader.readuntil(b"\r\n")
        while b"\r\n" not in self._plain:
            await self._more()
        line, _, self._plain = self._plain.partition(b"\r\n")
        return line + b"\r\n"

    async def _exactly(self, size: int) -> bytes:
        if self._inflate is None:
            return await self.reader.readexactly(size)
        while len(self._plain) < size:
            await self._more()
        found, self._plain = self._plain[:size], self._plain[size:]
        return found

    async def _more(self) -> None:
        assert self._inflate is not None
        data = await self.reader.read(1 << 16)
        if not data:
            raise EOFError
        self._plain += self._inflate.decompress(data)

    async def line(self, timeout_s: float = 10) -> bytes:
        """A line with the literals in it, without its end."""
        async with asyncio.timeout(timeout_s):
            whole = b""
            while True:
                whole += (await self._until_line())[:-2]
                match = LITERAL.search(whole)
                if match is None:
                    return whole
                whole += b"\r\n" + await self._exactly(int(match[1]))

    async def cmd(self, text: bytes | str, *, ok: bool = True) -> Answer:
        """A command; `ok`: it must succeed."""
        if isinstance(text, str):
            text = text.encode()
        self._count += 1
        tag = b"t%d" % self._count
        self.send(tag + b" " + text + b"\r\n")
        answer = await self.end(tag)
        assert not ok or answer.status == "OK", (text[:80], answer)
        return answer

    async def end(self, tag: bytes) -> Answer:
        """Everything up to the end of a command."""
        lines = []
        while True:
            line = await self.line()
            if line.startswith(tag + b" "):
                status, _, rest = line[len(tag) + 1 :].partition(b" ")
                return Answer(status.decode(), rest, lines)
            assert line.startswith((b"* ", b"+ ")), line
            lines.append(line[2:])

    async def login(self, name: str = "ayna", password: str = "secret-1") -> Answer:
        """LOGIN."""
        return await self.cmd(f"LOGIN {name} {password}")

    async def append(self, mailbox: str, *messages: bytes, flags: str = "") -> Answer:
        """APPEND without waiting."""
        line = f"APPEND {mailbox}".encode()
        for message in messages:
            if flags:
                line += f" ({flags})".encode()
            line += b" {%d+}\r\n%b" % (len(message), message)
        return await self.cmd(line)

    async def idle(self) -> None:
        """Begins to idle."""
        self.send(b"i IDLE\r\n")
        assert await self.line() == b"+ idling"

    async def done(self) -> Answer:
        """Ends IDLE."""
        self.send(b"DONE\r\n")
        return await self.end(b"i")

    async def gone(self) -> bytes:
        """What is still sent, until the connection is closed."""
        async with asyncio.timeout(10):
            return await self.reader.read(-1)

    def close(self) -> None:
        """Closes the connection."""
        self.writer.close()
