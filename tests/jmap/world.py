"""A JMAP door on a mail house in this process, with the accounts ayna and batyr, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path
from typing import Any

import aiohttp

from kerwen.accounts.store import accounts as account_store
from kerwen.api.http import App
from kerwen.api.limiter import TokenBuckets
from kerwen.api.routes import gather
from kerwen.base.config import Config
from kerwen.jmapdoor import JmapDoor, build_jmap
from kerwen.mail.actions.sign_in import SignIn
from kerwen.net.http import HttpServer
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.imap.world import PEOPLE, Accounts
from tests.mail_store.house import House

CORE = "urn:ietf:params:jmap:core"
MAIL = "urn:ietf:params:jmap:mail"
SUBMISSION = "urn:ietf:params:jmap:submission"
QUOTA = "urn:ietf:params:jmap:quota"
BLOB = "urn:ietf:params:jmap:blob"
SIEVE = "urn:ietf:params:jmap:sieve"
VACATION = "urn:ietf:params:jmap:vacationresponse"
USING = [CORE, MAIL, SUBMISSION, QUOTA, BLOB, SIEVE, VACATION]

Json = dict[str, Any]


class Bugs(logging.Handler):
    """Whatever was logged as a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class World:
    """The door, its port, and the house behind it."""

    def __init__(self, db: Database, feed: Feed, folder: Path) -> None:
        self.db = db
        self.house = House(db, feed, folder)
        config = Config(dev=True, data=str(folder), domain="kerwen.test")
        accounts = Accounts()
        self.sign_in = SignIn(
            db, feed, "kerwen.test", accounts, accounts, accounts, self.house.vaults,
            self.house.mail.vaults, self.house.clock,
        )  # fmt: skip
        self.door: JmapDoor = build_jmap(
            config, db, feed, self.house.mail, self.sign_in, lambda *_: None, lambda _: None,
            self.house.clock,
        )  # fmt: skip
        self.app = App(gather(self.door.areas), accounts, TokenBuckets({}))
        self.http = HttpServer(self.app)
        self.bugs = Bugs()
        self._listener: asyncio.Server | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Opens the door and makes the accounts."""
        logging.getLogger("kerwen").addHandler(self.bugs)
        for name, (account_no, _) in PEOPLE.items():
            async with self.db.write() as tx:
                await account_store.add(tx, account_no, name, 0, admin=False)
            await self.house.account(account_no)
        loop = asyncio.get_running_loop()
        self.http.start()
        self._listener = await loop.create_server(self.http.protocol, "127.0.0.1", 0)
        self._session = aiohttp.ClientSession()

    @property
    def base(self) -> str:
        """Where it listens."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client."""
        assert self._session is not None
        return self._session

    async def person(self, name: str = "ayna") -> Person:
        """Somebody who knows the session object."""
        person = Person(self, name)
        await person.sign_in()
        return person

    async def listening(self, count: int) -> None:
        """Waits until so many listen to push."""
        while len(self.door.listeners) != count:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Closes everything."""
        assert self._listener is not None
        assert self._session is not None
        await self._session.close()
        self._listener.close()
        self.door.stop()
        self.house.mail.watches.stop()
        await self.http.stop(1)
        await self.house.close()
        logging.getLogger("kerwen").removeHandler(self.bugs)
        assert not self.bugs.found, self.bugs.found


class Person:
    """One who speaks JMAP."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        told = base64.b64encode(f"{name}:{PEOPLE[name][1]}".encode()).decode()
        self.headers = {"authorization": f"Basic {told}"}
        self.session: Json = {}

    async def sign_in(self) -> None:
        """Reads the session object."""
        url = self.world.base + "/.well-known/jmap"
        async with self.world.session.get(url, headers=self.headers) as answer:
            assert answer.status == 200, await answer.text()
            self.session = await answer.json()

    @property
    def id(self) -> str:
        """The account's id."""
        return str(next(iter(self.session["accounts"])))

    async def post(self, body: Any, **headers: str) -> tuple[int, Json]:
        """A request as it is."""
        async with self.world.session.post(
            self.session["apiUrl"], json=body, headers=self.headers | headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def calls(self, *calls: tuple[str, Json], created: Json | None = None) -> list[Any]:
        """Calls; (name, arguments) of every answer."""
        body: Json = {
            "using": USING,
            "methodCalls": [
                [name, {"accountId": self.id, **arguments}, str(at)]
                for at, (name, arguments) in enumerate(calls)
            ],
        }
        if created is not None:
            body["createdIds"] = created
        status, told = await self.post(body)
        assert status == 200, told
        return [(name, arguments) for name, arguments, _ in told["methodResponses"]]

    async def call(self, method: str, **arguments: Any) -> Json:
        """One call that succeeds."""
        (name, told), *_ = await self.calls((method, arguments))
        assert name == method, told
        return told

    async def fails(self, method: str, **arguments: Any) -> Json:
        """One call that does not."""
        (name, told), *_ = await self.calls((method, arguments))
        assert name == "error", told
        return told

    async def mailboxes(self) -> dict[str, Json]:
        """All mailboxes by role or name."""
        told = await self.call("Mailbox/get", ids=None)
        return {one["role"] or one["name"]: one for one in told["list"]}

    async def inbox(self) -> str:
        """The inbox's id."""
        return str((await self.mailboxes())["inbox"]["id"])

    async def upload(self, data: bytes, kind: str = "application/octet-stream") -> str:
        """Uploads; the blob id."""
        url = self.session["uploadUrl"].replace("{accountId}", self.id)
        async with self.world.session.post(
            url, data=data, headers=self.headers | {"content-type": kind}
        ) as answer:
            told = await answer.json()
            assert answer.status == 201, told
            return str(told["blobId"])

    async def download(self, blob_id: str, account_id: str | None = None) -> tuple[int, bytes]:
        """Downloads."""
        url = self.session["downloadUrl"]
        for name, value in (
            ("accountId", account_id or self.id),
            ("blobId", blob_id),
            ("name", "a file.txt"),
            ("type", "text/plain"),
        ):
            url = url.replace("{" + name + "}", value)
        async with self.world.session.get(url, headers=self.headers) as answer:
            return answer.status, await answer.read()
