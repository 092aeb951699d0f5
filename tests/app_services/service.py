"""An application service for tests: keeps what it is told, answers as it is bidden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

Json = dict[str, Any]
HS_TOKEN = "hs-secret-of-irc"
AS_TOKEN = "as-secret-of-irc"


class FakeService:
    """`taken` are the transactions that it answered 200; `tried` all that came, as bytes."""

    def __init__(self) -> None:
        self.url = ""
        self.tried: list[tuple[str, bytes]] = []
        self.taken: list[tuple[str, Json]] = []
        self.status = 200
        self.hangs = False
        self.over = asyncio.Event()
        self.asked: list[str] = []
        self.users: dict[str, Callable[[], Awaitable[None]]] = {}
        self.rooms: dict[str, Callable[[], Awaitable[None]]] = {}
        self.third: dict[str, Any] = {}
        self.pings: list[Json] = []
        self.old = False  # knows the routes of old only

    @property
    def events(self) -> list[Json]:
        """All events that were taken, in order; each transaction id counts once."""
        seen: dict[str, Json] = {}
        for txn_id, body in self.taken:
            seen.setdefault(txn_id, body)
        return [event for body in seen.values() for event in body["events"]]

    def all(self, name: str) -> list[Json]:
        """What stood under a name in all transactions."""
        return [entry for _, body in self.taken for entry in body.get(name, [])]

    def bodies(self) -> list[str]:
        """The texts of messages."""
        return [e["content"]["body"] for e in self.events if e["type"] == "m.room.message"]

    def _check(self, request: web.Request) -> None:
        assert request.headers["Authorization"] == f"Bearer {HS_TOKEN}"

    async def transaction(self, request: web.Request) -> web.Response:
        self._check(request)
        if self.old and request.path.startswith("/_matrix"):
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        body = await request.read()
        txn_id = request.match_info["txn"]
        self.tried.append((txn_id, body))
        if self.hangs:
            await self.over.wait()
        if self.status == 200:
            self.taken.append((txn_id, orjson.loads(body)))
        return web.json_response({}, status=self.status)

    async def ping(self, request: web.Request) -> web.Response:
        self._check(request)
        self.pings.append(await request.json())
        if self.hangs:
            await self.over.wait()
        return web.json_response({"errcode": "M_FORBIDDEN"}, status=self.status)

    async def query(self, request: web.Request) -> web.Response:
        self._check(request)
        name = request.match_info["name"]
        self.asked.append(name)
        make = self.users.get(name) or self.rooms.get(name)
        if make is None:
            return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
        await make()
        return web.json_response({})

    async def third_party(self, request: web.Request) -> web.Response:
        self._check(request)
        self.asked.append(request.path_qs)
        found = self.third.get(request.match_info["path"])
        return web.json_response(found, status=404 if found is None else 200)


@asynccontextmanager
async def fake_service() -> AsyncIterator[FakeService]:
    made = FakeService()
    app = web.Application()
    add = app.router.add_route
    for prefix in ("/_matrix/app/v1", ""):
        add("PUT", prefix + "/transactions/{txn}", made.transaction)
        add("GET", prefix + "/users/{name}", made.query)
        add("GET", prefix + "/rooms/{name}", made.query)
    add("POST", "/_matrix/app/v1/ping", made.ping)
    add("GET", "/_matrix/app/v1/thirdparty/{path:.*}", made.third_party)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.over.set()
    await runner.cleanup()


def registration(url: str | None, **more: Any) -> Json:
    """A registration like a bridge's."""
    found = {
        "id": "irc",
        "url": url,
        "as_token": AS_TOKEN,
        "hs_token": HS_TOKEN,
        "sender_localpart": "_irc_bot",
        "namespaces": {
            "users": [{"exclusive": True, "regex": "@_irc_.*"}],
            "aliases": [{"exclusive": True, "regex": "#_irc_.*"}],
            "rooms": [],
        },
        "rate_limited": False,
        "receive_ephemeral": True,
        "org.matrix.msc3202": True,
        "protocols": ["irc"],
    }
    return found | more


def write(folder: Path, name: str, data: Json) -> str:
    """Writes a registration; JSON is YAML."""
    path = folder / name
    path.write_bytes(orjson.dumps(data))
    return str(path)
