"""A push gateway for tests: says what it was told, and may be ill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class FakeGateway:
    """`told` are the notifications; `status` what it answers, `rejects` which pushkeys."""

    def __init__(self) -> None:
        self.url = ""
        self.told: list[Json] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.rejects: set[str] = set()
        self.hangs = False
        self.over = asyncio.Event()

    async def notify(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert request.content_type == "application/json"
        if self.hangs:
            await self.over.wait()
        if self.status != 200:
            return web.json_response({}, status=self.status, headers=self.headers)
        told = body["notification"]
        self.bodies.append(await request.read())
        self.told.append(told)
        keys = [device["pushkey"] for device in told["devices"]]
        return web.json_response({"rejected": [k for k in keys if k in self.rejects]})

    @property
    def events(self) -> list[str]:
        """The ids of the events that it was told of, in order."""
        return [told["event_id"] for told in self.told if "event_id" in told]


@asynccontextmanager
async def fake_gateway() -> AsyncIterator[FakeGateway]:
    made = FakeGateway()
    app = web.Application()
    app.router.add_post("/_matrix/push/v1/notify", made.notify)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/_matrix/push/v1/notify"
    yield made
    made.over.set()
    await runner.cleanup()
