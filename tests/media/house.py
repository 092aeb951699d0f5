"""The media API as an application, without a network: `call` is one HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from kerwen.api.client.media import MediaApi
from kerwen.api.http import App, Caller, Cost
from kerwen.api.router import Router
from kerwen.base.errors import Reason, Refused
from kerwen.media.rules import MediaRules
from kerwen.media.thumbnailer import Thumbnailer
from kerwen.storage.blobs import Blobs
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase

DOMAIN = "kerwen.test"
PEOPLE = {"ayna": 1, "batyr": 2, "suspended": 3}


class Tokens:
    """Each token is the name of its owner."""

    async def caller(self, token: str) -> Caller:
        if token not in PEOPLE:
            raise Refused(Reason.UNKNOWN_TOKEN, "Unknown token")
        no = PEOPLE[token]
        return Caller(no, f"@{token}:{DOMAIN}", no, "D", suspended=token == "suspended")


class NoLimiter:
    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        pass


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str:
        return str(self.json["errcode"])


async def until(true: Callable[[], bool]) -> None:
    """Waits for what another task or process does."""
    for _ in range(10_000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


class Time:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


def _sqlite(folder: Path) -> tuple[Database, Feed]:
    migrate_sqlite(folder / "kerwen.db")
    feed = Feed()
    return SqliteDatabase(folder / "kerwen.db", feed), feed


class House:
    def __init__(
        self,
        folder: Path,
        *,
        blobs: Blobs | None = None,
        rules: MediaRules | None = None,
        thumbnailer: Thumbnailer | None = None,
        database: tuple[Database, Feed] | None = None,
    ) -> None:
        self.folder = folder
        self.clock = Time()
        self._own = database is None
        self.db, self.feed = database or _sqlite(folder)
        self.blobs = blobs or FileBlobs(folder / "blobs", clock=self.clock, ready=False)
        self.thumbnailer = thumbnailer or Thumbnailer()
        self.api = MediaApi(
            self.db,
            self.blobs,
            self.feed,
            DOMAIN,
            self.thumbnailer,
            rules=rules,
            clock=self.clock,
        )
        self.app = App(Router(self.api.routes()), Tokens(), NoLimiter())

    async def close(self) -> None:
        await self.thumbnailer.close()
        if self._own:
            await self.db.close()
        await self.blobs.close()

    def files(self) -> list[Path]:
        """Every file of the blob store, whole or half."""
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "ayna",
        headers: dict[str, str] | None = None,
        chunks: Iterable[bytes] = (),
        cut: bool = False,
        declare: bool = True,
    ) -> Answer:
        """One request; `cut` hangs up after the chunks instead of ending the body."""
        parts = list(chunks)
        target, _, query = path.partition("?")
        lines = [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()]
        if token is not None:
            lines.append((b"authorization", b"Bearer " + token.encode()))
        if parts and declare:
            lines.append((b"content-length", b"%d" % sum(map(len, parts))))
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": quote(target, safe="/%").encode(),
            "query_string": query.encode(),
            "headers": lines,
            "client": ("127.0.0.1", 1),
        }
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        messages.append(
            {"type": "http.disconnect"}
            if cut
            else {"type": "http.request", "body": b"", "more_body": False}
        )
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        if not sent:
            return Answer(0, {}, b"")
        got = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], got, body)

    async def upload(
        self, data: bytes, content_type: str | None = None, name: str = "", token: str = "ayna"
    ) -> str:
        """Uploads; the media's name as it stands in paths: `server/id`."""
        answer = await self.call(
            "POST",
            "/_matrix/media/v3/upload" + (f"?filename={quote(name)}" if name else ""),
            token=token,
            headers={"Content-Type": content_type} if content_type else {},
            chunks=[data],
        )
        assert answer.status == 200, answer
        uri: str = answer.json["content_uri"]
        assert uri.startswith(f"mxc://{DOMAIN}/")
        return uri.removeprefix("mxc://")

    async def download(self, name: str, **more: Any) -> Answer:
        return await self.call("GET", f"/_matrix/client/v1/media/download/{name}", **more)
