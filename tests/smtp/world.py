"""The SMTP doors on a mail house in this process, with the accounts ayna and batyr."""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import ssl
from pathlib import Path
from typing import Any

from kerwen.accounts.store import accounts as account_store
from kerwen.base.config import Config
from kerwen.mail import dkim_keys
from kerwen.mail.actions.sign_in import SignIn
from kerwen.maildoors import build_smtp
from kerwen.net import certificates, tls
from kerwen.smtp.server import SmtpServer
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.imap.world import PEOPLE, Accounts
from tests.mail_store.house import House


@functools.cache
def _dkim_keys() -> dict[str, bytes]:
    """Made once a run: keys cost time."""
    return dkim_keys.generate(2048)


class Client:
    """One connection: sends what it is told, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """A whole reply, its lines joined by newlines."""
        lines = []
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    async def cmd(self, line: str | bytes) -> str:
        """Says a line and reads the reply."""
        await self.say((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return await self.reply()

    async def say(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, sender: str, to: list[str], raw: bytes, extra: str = "") -> str:
        """One whole message; the last reply."""
        said = await self.cmd(f"MAIL FROM:<{sender}>{extra}")
        for address in to:
            if said[0] == "2":
                said = await self.cmd(f"RCPT TO:<{address}>")
        if said[0] != "2":
            return said
        said = await self.cmd("DATA")
        return said if said[0] != "3" else await self.cmd(raw + b".")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS."""
        assert (await self.cmd("STARTTLS")).startswith("220")
        await self.writer.start_tls(context)

    async def at_end(self) -> bool:
        """Whether the server hangs up."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


class World:
    """The doors, their ports, and the house behind them."""

    def __init__(self, db: Database, feed: Feed, folder: Path, **settings: Any) -> None:
        keys = folder / "keys" / "dkim"
        keys.mkdir(parents=True)
        for kind, pem in _dkim_keys().items():
            (keys / f"k1-{kind}.pem").write_bytes(pem)
        (keys / "in-use").write_text("k1\n")
        self.house = House(db, feed, folder, **settings)
        self.mail = self.house.mail
        config = Config(dev=True, data=str(folder), domain="kerwen.test", **settings)
        accounts = Accounts()
        self.sign_in = SignIn(
            db, feed, "kerwen.test", accounts, accounts, accounts, self.house.vaults,
            self.mail.vaults, self.house.clock,
        )  # fmt: skip
        self.spent: list[str] = []
        self.given: list[str] = []
        self.smtp: SmtpServer = build_smtp(
            config, feed, self.mail, self.sign_in, self.spent.append, self.given.append
        )
        self.smtp_room = self.smtp._room
        found = certificates.for_development(folder, "kerwen.test")
        context = tls.server_context(found.cert, found.key)
        self.smtp.take_tls(context)
        self.tls = tls.client_context(folder / "dev-ca.pem", only=True)
        self.tls.check_hostname = False
        self._servers: list[asyncio.Server] = []
        self._clients: list[Client] = []
        self.ports: dict[str, int] = {}
        self._context = context

    async def start(self) -> None:
        """Opens the doors and makes the accounts."""
        async with self.house.db.write() as tx:
            for name, (account_no, _) in PEOPLE.items():
                await account_store.add(tx, account_no, name, 0, admin=False)
        for account_no, _ in PEOPLE.values():
            await self.house.account(account_no)
        loop = asyncio.get_running_loop()
        for kind in ("smtp", "submission", "submissions"):
            server = await loop.create_server(
                getattr(self.smtp, kind), "127.0.0.1", 0,
                ssl=self._context if kind == "submissions" else None,
            )  # fmt: skip
            self._servers.append(server)
            self.ports[kind] = int(server.sockets[0].getsockname()[1])

    async def connect(self, kind: str = "smtp", *, hello: bool = True) -> Client:
        """A new connection, greeted."""
        context = self.tls if kind == "submissions" else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.ports[kind], ssl=context, limit=1 << 26
        )
        client = Client(reader, writer)
        self._clients.append(client)
        assert (await client.reply()).startswith("220 kerwen.test ESMTP")
        if hello:
            assert (await client.cmd("EHLO client.test")).startswith("250")
        return client

    async def ayna(self) -> Client:
        """A connection of ayna's, who may send."""
        client = await self.connect("submissions")
        assert await client.cmd("AUTH PLAIN AGF5bmEAc2VjcmV0LTE=") == "235 2.7.0 Welcome"
        return client

    async def inbox(self, account_no: int = 1, mailbox: str = "INBOX") -> list[bytes]:
        """The messages of a mailbox."""
        view = await self.house.view(account_no, mailbox)
        return [await self.house.read(account_no, no) for no in view.nos]

    async def stop(self) -> None:
        """Closes everything."""
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.close()
        await self.smtp.stop(2)
        self.mail.watches.stop()
        await self.house.close()


def field(raw: bytes, name: str) -> str:
    """A header field's value, unfolded; empty if it is not there."""
    header = re.sub(rb"\r\n[ \t]+", b" ", raw.partition(b"\r\n\r\n")[0])
    match = re.search(rb"(?im)^%b: *(.*)$" % re.escape(name.encode()), header)
    return match[1].decode().strip() if match else ""


def mark() -> str:
    """A word that is nowhere else."""
    return f"w{secrets.token_hex(8)}"
