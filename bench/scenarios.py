"""What is measured: each scenario takes a running server and returns figures by name.

Names end with their unit. `better` tells which way is good, for the comparison.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from urllib.parse import quote

from bench.servers import Server
from bench.wire import Line

V3 = "/_matrix/client/v3"
Figures = dict[str, float]
Scenario = Callable[[Server, bool], Awaitable[Figures]]

_series = iter(range(10**9))
_TEXT = (
    "salam dost kerwen çaý bazar gün aý ýyldyz köl dag ýol şäher kitap mekdep ene ata dogan"
    " uýa goňşy nahar çörek suw tomus gyş bahar güýz ak gara gyzyl ýaşyl gök uly kiçi täze köne"
    " привет друг караван базар солнце дорога город книга школа вода хлеб лето зима"
)
_WORDS = tuple(_TEXT.split())


async def startup(server: Server, quick: bool) -> Figures:
    """Starts on existing data, the last one is left running."""
    times = []
    for _ in range(2 if quick else 4):
        server.stop()
        times.append(server.start())
    await asyncio.sleep(1)
    return {"restart_s": median(times), "idle_mib": server.pss_kib() / 1024}


async def send(server: Server, quick: bool) -> Figures:
    """Messages by one person, then by sixteen, each in a room of their own."""
    found: Figures = {}
    for people in (1, 16):
        lines = [await person(server) for _ in range(people)]
        rooms = [await room(line) for line in lines]
        count = (100 if quick else 400) if people == 1 else (40 if quick else 150)
        cpu, began = server.cpu_s(), time.monotonic()
        took = await asyncio.gather(
            *[_sends(line, at, count) for line, at in zip(lines, rooms, strict=True)]
        )
        seconds = time.monotonic() - began
        every = sorted(t for each in took for t in each)
        found[f"send_{people}_per_s"] = len(every) / seconds
        found[f"send_{people}_cpu_ms"] = (server.cpu_s() - cpu) * 1000 / len(every)
        found[f"send_{people}_p99_ms"] = quantiles(every, n=100)[98] * 1000
        for line in lines:
            line.close()
    return found


async def deliver(server: Server, quick: bool) -> Figures:
    """From the send to another person's long poll."""
    ayna, batyr = await person(server), await person(server)
    at = await room(ayna)
    await batyr.ask("POST", f"{V3}/join/{quote(at)}", {})
    since = (await batyr.ask("GET", f"{V3}/sync?timeout=0"))["next_batch"]
    took = []
    for _ in range(30 if quick else 100):
        poll = asyncio.ensure_future(batyr.ask("GET", f"{V3}/sync?timeout=30000&since={since}"))
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await say(ayna, at)
        while at not in (found := await poll).get("rooms", {}).get("join", {}):
            since = found["next_batch"]
            poll = asyncio.ensure_future(batyr.ask("GET", f"{V3}/sync?timeout=30000&since={since}"))
        took.append(time.monotonic() - began)
        since = found["next_batch"]
    ayna.close()
    batyr.close()
    return {"deliver_p50_ms": median(took) * 1000, "deliver_p99_ms": max(took) * 1000}


async def initial_sync(server: Server, quick: bool) -> Figures:
    """The first sync of a person in twenty rooms of thirty messages."""
    line = await person(server)
    for _ in range(5 if quick else 20):
        at = await room(line)
        for _ in range(30):
            await say(line, at)
    took = []
    for _ in range(5):
        began = time.monotonic()
        await line.ask("GET", f"{V3}/sync?timeout=0")
        took.append(time.monotonic() - began)
    line.close()
    return {"initial_sync_ms": median(took) * 1000}


async def search(server: Server, quick: bool) -> Figures:
    """Full-text search in clear rooms: pages of ten hits, newest first, for many words."""
    line = await person(server)
    rooms = [await room(line) for _ in range(3)]
    count = 300 if quick else 1_500
    for number in range(count):
        words = " ".join(_WORDS[(number * step) % len(_WORDS)] for step in (1, 7, 13, 29))
        path = f"{V3}/rooms/{quote(rooms[number % 3])}/send/m.room.message/{next(_series)}"
        await line.ask("PUT", path, {"msgtype": "m.text", "body": f"{words} {number}"})
    rounds = 30 if quick else 200
    took = []
    for number in range(-10, rounds):  # the first ones let both write their indexes
        if number == 0:
            cpu, start = server.cpu_s(), time.monotonic()
        wish = {"search_term": _WORDS[number % len(_WORDS)], "order_by": "recent"}
        began = time.monotonic()
        found = await line.ask("POST", f"{V3}/search", {"search_categories": {"room_events": wish}})
        took.append(time.monotonic() - began)
        assert found["search_categories"]["room_events"]["results"], "every word is there"
    seconds = time.monotonic() - start
    line.close()
    return {
        "search_per_s": rounds / seconds,
        "search_cpu_ms": (server.cpu_s() - cpu) * 1000 / rounds,
        "search_p50_ms": median(took[10:]) * 1000,
    }


async def parked(server: Server, quick: bool) -> Figures:
    """Memory of people who wait in a long poll."""
    lines = [await person(server) for _ in range(60 if quick else 300)]
    sinces = [(await line.ask("GET", f"{V3}/sync?timeout=0"))["next_batch"] for line in lines]
    before = server.pss_kib()
    polls = [
        asyncio.ensure_future(line.ask("GET", f"{V3}/sync?timeout=60000&since={since}"))
        for line, since in zip(lines, sinces, strict=True)
    ]
    await asyncio.sleep(3)
    each = (server.pss_kib() - before) / len(lines)
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    for line in lines:
        line.close()
    return {"parked_each_kib": each}


SCENARIOS: tuple[Scenario, ...] = (startup, send, deliver, initial_sync, search, parked)


async def person(server: Server) -> Line:
    """A new person, logged in."""
    line = Line(server.url)
    body = {
        "username": f"bench{next(_series)}x{time.time_ns() % 10**9}",
        "password": "a bench password",
        "auth": {"type": "m.login.dummy"},
    }
    line.token = (await line.ask("POST", f"{V3}/register", body))["access_token"]
    return line


async def room(line: Line) -> str:
    """A new public room of a person."""
    made = await line.ask("POST", f"{V3}/createRoom", {"preset": "public_chat"})
    return str(made["room_id"])


async def say(line: Line, at: str) -> None:
    """One message."""
    path = f"{V3}/rooms/{quote(at)}/send/m.room.message/{next(_series)}"
    await line.ask("PUT", path, {"msgtype": "m.text", "body": "a short word between friends"})


async def _sends(line: Line, at: str, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.monotonic()
        await say(line, at)
        took.append(time.monotonic() - began)
    return took
