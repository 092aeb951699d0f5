"""What was acknowledged is there after a stop and after a crash, under load."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import FreshServer, Server

V3 = "/_matrix/client/v3"


def ask(
    server: Server, method: str, path: str, token: str = "", body: Any = None
) -> dict[str, Any]:
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def person(server: Server, name: str) -> str:
    body = {"username": name, "password": "a long password", "auth": {"type": "m.login.dummy"}}
    return str(ask(server, "POST", f"{V3}/register", body=body)["access_token"])


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_no_acknowledged_message_is_lost(fresh_server: FreshServer, how: str) -> None:
    server = fresh_server("--cheap-passwords")
    people = [person(server, f"p{n}") for n in range(4)]
    rooms = [ask(server, "POST", f"{V3}/createRoom", token, {})["room_id"] for token in people]
    told: list[tuple[int, str]] = []
    enough = threading.Event()

    def talk(n: int) -> None:
        count = 0
        while True:
            count += 1
            path = f"{V3}/rooms/{quote(rooms[n])}/send/m.room.message/{count}"
            try:
                sent = ask(server, "PUT", path, people[n], {"msgtype": "m.text", "body": "x"})
            except (OSError, urllib.error.URLError, json.JSONDecodeError):
                return  # it has stopped
            told.append((n, sent["event_id"]))
            if len(told) >= 60:
                enough.set()

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(len(people))]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    getattr(server, how)()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    server.start()
    for n, event_id in told:
        path = f"{V3}/rooms/{quote(rooms[n])}/event/{quote(event_id)}"
        assert ask(server, "GET", path, people[n])["event_id"] == event_id


def test_a_parked_poll_is_answered_when_the_server_stops(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    token = person(server, "ayna")
    since = ask(server, "GET", f"{V3}/sync?timeout=0", token)["next_batch"]

    async def park() -> tuple[dict[str, Any], int]:
        path = f"{V3}/sync?timeout=60000&since={since}"
        poll = asyncio.ensure_future(asyncio.to_thread(ask, server, "GET", path, token))
        while "kerwen_http_running 2.0" not in await asyncio.to_thread(metrics, server):
            assert not poll.done()
        code = await asyncio.to_thread(server.stop)
        return await poll, code

    answer, code = asyncio.run(park())
    assert code == 0
    assert answer["next_batch"]


def metrics(server: Server) -> str:
    with urllib.request.urlopen(f"{server.url}/_kerwen/metrics") as answer:
        return str(answer.read().decode())
