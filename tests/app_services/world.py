"""A house with an application service, whose worker is driven step by step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from kerwen.app_services.sender import ServiceSender
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.app_services.service import AS_TOKEN, FakeService, registration, write
from tests.rooms.house import Answer, House, Person

Json = dict[str, Any]
SENDER = "@_irc_bot:kerwen.test"


class World:
    """`house` and its `service`."""

    def __init__(self, house: House, service: FakeService) -> None:
        self.house = house
        self.service = service

    @classmethod
    async def make(
        cls, db: Database, feed: Feed, folder: Path, service: FakeService, **more: Any
    ) -> World:
        file = write(folder, "irc.yaml", registration(service.url, **more))
        house = House(db, feed, folder, app_service=[file])
        for deed in house.messenger.at_start:
            await deed()
        made = cls(house, service)
        await made.sender.step()  # from now on it is told
        return made

    @classmethod
    async def on_sqlite(
        cls, template: Path, folder: Path, service: FakeService, **more: Any
    ) -> World:
        shutil.copyfile(template, folder / "kerwen.db")
        feed = Feed()
        db = SqliteDatabase(folder / "kerwen.db", feed, strict=True)
        return await cls.make(db, feed, folder, service, **more)

    async def close(self, *, database: bool = False) -> None:
        await self.sender._release()
        await self.house.messenger.outgoing.close()
        if database:
            await self.house.close()

    @property
    def sender(self) -> ServiceSender:
        return self.house.messenger.app_services.senders["irc"]

    async def tell(self, steps: int = 50) -> None:
        """Everything that is to be told is told."""
        for _ in range(steps):
            if await self.sender.step() > 0 and not self.sender._news.is_set():
                return
            self.sender._news.clear()
        raise AssertionError("no end of transactions")

    async def call(
        self,
        method: str,
        *parts: str,
        body: Any = None,
        acting: str | None = None,
        token: str = AS_TOKEN,
        v: str = "v3",
        **query: Any,
    ) -> Answer:
        """One request of the service, as its sender or as `acting`."""
        path = f"/_matrix/client/{v}/" + "/".join(quote(p, safe="") for p in parts)
        if acting is not None:
            query["user_id"] = acting
        if body is None and method != "GET":
            body = {}
        return await self.house.call(token, method, path, body, urlencode(query))

    async def must(self, method: str, *parts: str, **more: Any) -> Any:
        """One request of the service that is granted."""
        answer = await self.call(method, *parts, **more)
        assert answer.status in (200, 201), (method, parts, answer)
        return answer.json

    async def ghost(self, name: str) -> str:
        """Registers a user of the service."""
        body = {"type": "m.login.application_service", "username": f"_irc_{name}"}
        made = await self.must("POST", "register", body=body | {"inhibit_login": True})
        return str(made["user_id"])

    async def portal(self, owner: Person, *members: str) -> str:
        """A public room of somebody's in which users of the service are."""
        room = await owner.create_room(preset="public_chat")
        for user_id in members:
            await self.must("POST", "rooms", room, "join", acting=user_id)
        return room
