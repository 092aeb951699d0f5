"""A server with account data, profiles and nothing else, asked through the real `App`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from kerwen.accounts.actions.account_data import AccountData
from kerwen.accounts.actions.filters import Filters
from kerwen.accounts.actions.openid import OpenId
from kerwen.accounts.actions.profile import Profiles
from kerwen.accounts.actions.push_rules import EditPushRules
from kerwen.accounts.actions.pushers import Pushers
from kerwen.accounts.actions.user_directory import UserDirectory
from kerwen.accounts.profile_store import DirectoryEntry
from kerwen.accounts.push_rules_store import PushRules
from kerwen.api.client.account_data import AccountDataApi
from kerwen.api.client.filters import FiltersApi
from kerwen.api.client.openid import OpenIdApi
from kerwen.api.client.profile import ProfileApi
from kerwen.api.client.push_rules import PushRulesApi
from kerwen.api.client.tags import TagsApi
from kerwen.api.client.user_directory import UserDirectoryApi
from kerwen.api.http import App, Caller, Cost
from kerwen.api.router import Router
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store.heads import add_room
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

DOMAIN = "a.test"
V3 = "/_matrix/client/v3"
ADD_USER = sql("insert into users (user_no, user_id) values (:no, :user_id)")
ADD_ACCOUNT = sql(
    "insert into accounts (account_no, localpart, created_ms) values (:no, :localpart, 1)"
)


def part(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


@dataclass
class Answer:
    """What came back."""

    status: int
    raw: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return orjson.loads(self.raw)

    def ok(self) -> Any:
        """The body of what went well."""
        assert self.status == 200, self.raw
        return self.json

    def refused(self, status: int, errcode: str) -> None:
        """Asserts a refusal."""
        assert (self.status, self.json.get("errcode")) == (status, errcode), self.raw


class Free:
    """Counts nothing."""

    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        """Free."""


class World:
    """The server. People are numbers: 1 is @ayna:a.test, whose token is `ayna`."""

    def __init__(self, db: Database, feed: Feed) -> None:
        self.db = db
        self.feed = feed
        self.now_ms = 1_000_000
        self.callers: dict[str, Caller] = {}
        self.changed: list[int] = []
        self.visible: set[int] | None = None  # None: all
        self.others: list[DirectoryEntry] = []
        count = itertools.count(1)

        def draw(size: int) -> bytes:
            return next(count).to_bytes(size, "big")

        self.rules = PushRules(db, feed)
        self.filters = Filters(db)
        self.openid = OpenId(db, DOMAIN, draw, lambda: self.now_ms)
        self.profiles = Profiles(db, DOMAIN, self._on_profile_changed)
        account_data = AccountData(db)
        pushers = Pushers(db, lambda: self.now_ms)
        self.directory = UserDirectory(db, self._visible, others=self._others)
        apis = [
            AccountDataApi(account_data),
            TagsApi(account_data),
            FiltersApi(self.filters),
            PushRulesApi(EditPushRules(db), pushers),
            ProfileApi(self.profiles),
            UserDirectoryApi(self.directory),
            OpenIdApi(self.openid),
        ]
        routes = [route for api in apis for route in api.routes()]
        self.app = App(Router(routes), self, Free())

    async def caller(self, token: str) -> Caller:
        """The authenticator."""
        if token not in self.callers:
            raise Refused(Reason.UNKNOWN_TOKEN)
        return self.callers[token]

    async def add_person(self, localpart: str) -> int:
        """A new account; its token is its local part."""
        no = len(self.callers) + 1
        user_id = f"@{localpart}:{DOMAIN}"
        async with self.db.write() as tx:
            await tx.run(ADD_USER, no=no, user_id=user_id)
            await tx.run(ADD_ACCOUNT, no=no, localpart=localpart)
        self.callers[localpart] = Caller(no, user_id, no * 10, f"D{no}")
        return no

    async def add_room(self, room_no: int, room_id: str) -> None:
        """A room that is known here."""
        async with self.db.write() as tx:
            await add_room(tx, room_no, room_id, "11", self.now_ms)

    async def ask(
        self, method: str, path: str, body: Any = None, who: str = "ayna", raw: bytes = b""
    ) -> Answer:
        """One request; `who` '' asks without a token."""
        path, _, query = (path if path.startswith("/_") else V3 + path).partition("?")
        sent = raw or (b"" if body is None else orjson.dumps(body))
        headers = [(b"authorization", b"Bearer " + who.encode())] if who else []
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }
        found: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent}

        async def send(message: dict[str, Any]) -> None:
            found.append(message)

        await self.app(scope, receive, send)
        return Answer(found[0]["status"], b"".join(m.get("body", b"") for m in found))

    async def _on_profile_changed(self, account_no: int) -> None:
        self.changed.append(account_no)

    async def _visible(self, account_no: int, among: Sequence[int]) -> set[int]:
        return set(among) if self.visible is None else self.visible & set(among)

    async def _others(self, account_no: int, term: str, most: int) -> list[DirectoryEntry]:
        return self.others[:most]
