"""An IMAP door on a mail house in this process, with the accounts ayna and batyr."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.store.accounts import Account
from kerwen.api.http import Caller
from kerwen.base.config import Config
from kerwen.base.errors import Reason, Refused
from kerwen.imap.server import ImapServer
from kerwen.mail.actions.sign_in import SignIn
from kerwen.maildoors import build_imap
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.imap.client import Client
from tests.mail_store.house import SLOT, House

PEOPLE = {"ayna": (1, "secret-1"), "batyr": (2, "secret-2")}


class Accounts:
    """Stands for the accounts of the house: two people and their passwords."""

    async def password(self, localpart: str | None, password: str) -> tuple[Account, PasswordKeys]:
        account_no, right = PEOPLE.get(localpart or "", (0, None))
        if password != right:
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
        account = Account(account_no, localpart or "", "person", 0, False, False, False, 0, False)
        return account, PasswordKeys(b"", SLOT)

    async def check(self, localpart: str, password: str) -> None:
        return None

    async def caller(self, token: str) -> Caller:
        raise Refused(Reason.UNKNOWN_TOKEN, "Unknown access token")


class World:
    """The door, its port, and the house behind it."""

    def __init__(self, db: Database, feed: Feed, folder: Path) -> None:
        self.house = House(db, feed, folder)
        config = Config(
            dev=True, data=str(folder), domain="kerwen.test",
            turn_uris=["turn:turn.kerwen.test:3478?transport=udp"], turn_secret="x",
        )  # fmt: skip
        accounts = Accounts()
        self.sign_in = SignIn(
            db, feed, "kerwen.test", accounts, accounts, accounts, self.house.vaults,
            self.house.mail.vaults, self.house.clock,
        )  # fmt: skip
        self.spent: list[str] = []
        self.imap: ImapServer = build_imap(
            config, db, self.house.mail, self.sign_in, self.spent.append, self.house.clock
        )
        self._listener: asyncio.Server | None = None
        self._clients: list[Client] = []

    async def start(self) -> None:
        """Opens the door and makes the accounts."""
        for account_no, _ in PEOPLE.values():
            await self.house.account(account_no)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self.imap.imap, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def connect(self, tls: ssl.SSLContext | None = None) -> Client:
        """A new connection."""
        client = await Client.connect(self.port, tls)
        self._clients.append(client)
        return client

    async def ayna(self, mailbox: str = "") -> Client:
        """A connection of ayna's, with a mailbox open."""
        client = await self.connect()
        await client.login()
        if mailbox:
            await client.cmd(f"SELECT {mailbox}")
        return client

    async def stop(self) -> None:
        """Closes everything."""
        assert self._listener is not None
        self._listener.close()
        for client in self._clients:
            client.close()
        await self.imap.stop(2)
        self.house.mail.watches.stop()
        await self.house.close()
