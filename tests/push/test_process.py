"""The real server: pushes go out, and a kill -9 loses none."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

from tests.conftest import FreshServer, Server
from tests.push.gateway import FakeGateway, fake_gateway
from tests.push.world import pusher

Json = dict[str, Any]
PATIENCE_S = 90  # the claim that a killed worker held on a pusher ends after 60 s


class Person:
    """Somebody on a real server."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        body = {"username": name, "password": "a-password", "auth": {"type": "m.login.dummy"}}
        self.token = ""
        made = self.call("POST", "register", body)
        self.token, self.id = made["access_token"], made["user_id"]

    def call(self, method: str, path: str, body: Any = None) -> Json:
        request = urllib.request.Request(
            f"{self.server.url}/_matrix/client/v3/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}"} if self.token else {},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: Json = json.load(answer)
        return found

    async def do(self, method: str, path: str, body: Any = None) -> Json:
        return await asyncio.to_thread(self.call, method, path, body)


async def _told(gateway: FakeGateway, event_ids: list[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not set(event_ids) <= set(gateway.events):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_killed_server_tells_all_the_same(fresh_server: FreshServer) -> None:
    server = await asyncio.to_thread(fresh_server, "--cheap-passwords")
    async with fake_gateway() as gateway:
        ayna = await asyncio.to_thread(Person, server, "ayna")
        batyr = await asyncio.to_thread(Person, server, "batyr")
        wish = {"preset": "public_chat"}
        room = (await batyr.do("POST", "createRoom", wish))["room_id"]
        await ayna.do("POST", f"rooms/{room}/join", {})
        await ayna.do("POST", "pushers/set", pusher(gateway.url))

        async def say(n: int) -> str:
            body = {"msgtype": "m.text", "body": f"secret {n}"}
            path = f"rooms/{room}/send/m.room.message/t{n}"
            return str((await batyr.do("PUT", path, body))["event_id"])

        said = [await say(n) for n in range(5)]
        await _told(gateway, said)
        assert gateway.events == said, "once each, in order, while nothing is wrong"

        gateway.status = 503
        said += [await say(n) for n in range(5, 10)]
        server.kill9()  # the sender, the follower or nobody had come to them
        gateway.status = 200
        await asyncio.to_thread(server.start)
        said.append(await say(10))
        await _told(gateway, said)
        assert b"secret" not in b"".join(gateway.bodies)
        assert await asyncio.to_thread(server.stop) == 0
