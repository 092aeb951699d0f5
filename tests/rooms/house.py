"""The whole messenger in this process, without sockets: people call it as clients would.

    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(invite=[batyr.id])
    await batyr.must("POST", "rooms", room, "join")
    event_id = await ayna.say(room, "Salam")
    answer = await batyr.call("GET", "rooms", room, "event", event_id)

Parts of a path are percent-encoded one by one; keyword arguments are the query, but `body` and
`v` (the API's version).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import orjson

from kerwen.api import routes
from kerwen.api.http import App, Cost
from kerwen.base.config import Config
from kerwen.messenger import build_messenger
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase

DOMAIN = "kerwen.test"
PATIENCE_S = 20  # for whatever should come at once, on a busy machine
T = TypeVar("T")
Json = dict[str, Any]


class Time:
    """A clock that goes on by a millisecond whenever somebody looks."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


class NoLimiter:
    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        pass


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str:
        return str(self.json["errcode"])

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:2000]!r}"


class House:
    """A messenger on a database. `bugs` are the answers that no client may ever get."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        folder: Path,
        clock: Time | None = None,
        **settings: Any,
    ) -> None:
        self.db = db
        self.feed = feed
        self.folder = folder
        self.clock = clock or Time()
        (folder / "keys").mkdir(exist_ok=True)
        config = Config(dev=True, cheap_passwords=True, data=str(folder), domain=DOMAIN, **settings)
        blobs = FileBlobs(folder / "blobs", ready=False)
        self.messenger = build_messenger(config, db, feed, blobs, self.clock)
        self.router = routes.gather(self.messenger.areas, self.messenger.later)
        self.app = App(
            self.router,
            self.messenger.accounts.authenticate,
            NoLimiter(),
            self.messenger.masks,
            self.messenger.admin.audit,
        )
        self._numbers = itertools.count(1)
        self.bugs: list[str] = []

    async def reopen(self) -> House:
        """The same data folder after a restart (SQLite only)."""
        await self.close()
        feed = Feed()
        db = SqliteDatabase(self.folder / "kerwen.db", feed, strict=True)
        return House(db, feed, self.folder, self.clock)

    async def close(self) -> None:
        """Ends whoever waits, then the database."""
        for deed in self.messenger.at_stop:
            deed()
        for _ in range(1_000):
            if self.messenger.sync.parked == 0:
                break
            await asyncio.sleep(0)
        for _ in range(100):  # those who were answered read a little more
            await asyncio.sleep(0)
        await self.db.close()

    async def person(self, name: str) -> Person:
        """Registers somebody."""
        body = {
            "username": name,
            "password": "a-password",
            "auth": {"type": "m.login.dummy"},
        }
        answer = await self.call(None, "POST", "/_matrix/client/v3/register", body)
        assert answer.status == 200, answer
        made = answer.json
        return Person(self, made["user_id"], made["device_id"], made["access_token"])

    async def people(self, *names: str) -> list[Person]:
        """Registers several."""
        return [await self.person(name) for name in names]

    async def call(
        self,
        token: str | None,
        method: str,
        path: str,
        body: Any = None,
        query: str = "",
        kind: str = "application/json",
    ) -> Answer:
        """One request; `path` percent-encoded already. `body`: bytes as they are, else JSON."""
        raw = b"" if body is None else body if isinstance(body, bytes) else _json(body)
        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        headers.append((b"content-type", kind.encode()))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        sent: list[Json] = []

        async def receive() -> Json:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Json) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        answer = Answer(sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]))
        if answer.status >= 500:
            self.bugs.append(f"{method} {path}?{query} {raw[:500]!r}: {answer}")
        return answer


class Person:
    """Somebody with one device."""

    def __init__(self, house: House, user_id: str, device_id: str, token: str) -> None:
        self.house = house
        self.id = user_id
        self.device_id = device_id
        self.token = token
        self._txns = itertools.count(1)

    def __repr__(self) -> str:
        return self.id

    async def call(
        self, method: str, *parts: str, body: Any = None, v: str = "v3", **query: Any
    ) -> Answer:
        """One request."""
        path = f"/_matrix/client/{v}/" + "/".join(quote(p, safe="") for p in parts)
        if body is None and method != "GET":
            body = {}
        text = urlencode({k: _value(a) for k, a in query.items() if a is not None}, doseq=True)
        return await self.house.call(self.token, method, path, body, text)

    async def must(self, method: str, *parts: str, **more: Any) -> Any:
        """One request that is granted; its JSON."""
        answer = await self.call(method, *parts, **more)
        assert answer.status == 200, (self, method, parts, answer)
        return answer.json

    async def refused(
        self, status: int, errcode: str, method: str, *parts: str, **more: Any
    ) -> None:
        """One request that is refused in just this way."""
        answer = await self.call(method, *parts, **more)
        assert (answer.status, answer.json.get("errcode")) == (status, errcode), answer

    async def log_in(self) -> Person:
        """Another device of the same person."""
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.id},
            "password": "a-password",
        }
        made = await self.must("POST", "login", body=body)
        return Person(self.house, made["user_id"], made["device_id"], made["access_token"])

    # --- deeds ------------------------------------------------------------------------------

    async def create_room(self, **wish: Any) -> str:
        """The id of a new room; a public one by `preset`."""
        return str((await self.must("POST", "createRoom", body=wish))["room_id"])

    async def say(self, room: str, text: str = "Salam", **content: Any) -> str:
        """Sends a message; its event id."""
        body = {"msgtype": "m.text", "body": text, **content}
        return await self.send(room, "m.room.message", body)

    async def send(self, room: str, event_type: str, content: Json) -> str:
        """Sends an event; its id."""
        txn = f"t{next(self._txns)}"
        sent = await self.must("PUT", "rooms", room, "send", event_type, txn, body=content)
        return str(sent["event_id"])

    async def set_state(
        self, room: str, event_type: str, content: Json, state_key: str = ""
    ) -> str:
        """Sets a piece of state; the event's id."""
        sent = await self.must("PUT", "rooms", room, "state", event_type, state_key, body=content)
        return str(sent["event_id"])

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        """Redacts an event; the redaction's id."""
        body = {} if reason is None else {"reason": reason}
        txn = f"t{next(self._txns)}"
        sent = await self.must("PUT", "rooms", room, "redact", event_id, txn, body=body)
        return str(sent["event_id"])

    async def join(self, room: str) -> None:
        await self.must("POST", "rooms", room, "join")

    async def leave(self, room: str) -> None:
        await self.must("POST", "rooms", room, "leave")

    async def invite(self, room: str, whom: Person) -> None:
        await self.must("POST", "rooms", room, "invite", body={"user_id": whom.id})

    async def kick(self, room: str, whom: Person) -> None:
        await self.must("POST", "rooms", room, "kick", body={"user_id": whom.id})

    async def ban(self, room: str, whom: Person) -> None:
        await self.must("POST", "rooms", room, "ban", body={"user_id": whom.id})

    async def unban(self, room: str, whom: Person) -> None:
        await self.must("POST", "rooms", room, "unban", body={"user_id": whom.id})

    async def read(self, room: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
        """Sets a receipt."""
        await self.must("POST", "rooms", room, "receipt", kind, event_id, body=body)

    async def levels(self, room: str, **change: Any) -> None:
        """Changes the power levels: the given top-level keys."""
        now = await self.state(room, "m.room.power_levels")
        await self.set_state(room, "m.room.power_levels", now | change)

    # --- looks ------------------------------------------------------------------------------

    async def sync(
        self, since: str | None = None, timeout: int = 0, filter: Any = None, **query: Any
    ) -> Json:
        """One `/sync`."""
        if filter is not None and not isinstance(filter, str):
            filter = json.dumps(filter)
        found: Json = await self.must(
            "GET", "sync", since=since, timeout=timeout, filter=filter, **query
        )
        return found

    async def now(self) -> str:
        """Where the feed stands now."""
        return str((await self.sync())["next_batch"])

    async def state(self, room: str, event_type: str, state_key: str = "") -> Json:
        """The content of a piece of state."""
        found: Json = await self.must("GET", "rooms", room, "state", event_type, state_key)
        return found

    async def membership(self, room: str, whom: Person) -> str | None:
        """Somebody's membership, as this person is shown it."""
        answer = await self.call("GET", "rooms", room, "state", "m.room.member", whom.id)
        return answer.json["membership"] if answer.status == 200 else None

    async def event(self, room: str, event_id: str) -> Json:
        """One event."""
        found: Json = await self.must("GET", "rooms", room, "event", event_id)
        return found

    async def messages(self, room: str, dir: str = "b", filter: Any = None, **query: Any) -> Json:
        """A page of history."""
        if filter is not None:
            filter = json.dumps(filter)
        found: Json = await self.must(
            "GET", "rooms", room, "messages", dir=dir, filter=filter, **query
        )
        return found

    async def history(self, room: str, dir: str = "b", page: int = 50) -> list[Json]:
        """The whole history as this person may see it, in the order of `dir`."""
        found: list[Json] = []
        token = None
        for _ in range(100):
            start = {"from": token} if token else {}
            answer = await self.messages(room, dir, limit=page, **start)
            found += answer["chunk"]
            token = answer.get("end")
            if token is None:
                return found
        raise AssertionError("history without an end")


async def soon(deed: Coroutine[Any, Any, T]) -> T:
    """What a deed gives, if it comes to an end at all."""
    return await asyncio.wait_for(deed, PATIENCE_S)


async def parked(house: House, count: int = 1) -> None:
    """Waits until so many syncs wait for news."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while house.messenger.sync.parked < count:
        assert loop.time() < end, f"{house.messenger.sync.parked} syncs wait, not {count}"
        await asyncio.sleep(0)


def sqlite_house(folder: Path, template: Path, **settings: Any) -> House:
    """A house on a new SQLite file, in strict mode."""
    shutil.copyfile(template, folder / "kerwen.db")
    feed = Feed()
    return House(SqliteDatabase(folder / "kerwen.db", feed, strict=True), feed, folder, **settings)


def bodies(events: list[Json]) -> list[str]:
    """The texts of messages."""
    return [e["content"].get("body", "") for e in events if e["type"] == "m.room.message"]


def ids(events: list[Json]) -> list[str]:
    """Event ids."""
    return [e["event_id"] for e in events]


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _value(value: Any) -> Any:
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
