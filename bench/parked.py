"""`python -m bench.parked [--clients 500] [--rooms 20] [--classic]`: memory of those who wait.

Everybody is in the same rooms. Counted is all that a client adds to a server that knows those
rooms: its connection, its account's rooms, its device, and the request that waits.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any
from urllib.parse import quote

from bench import servers
from bench.scenarios import V3, person, room
from bench.servers import Server
from bench.wire import Line

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
AT_ONCE = 16
STATE = ("name", "topic", "avatar", "canonical_alias", "encryption", "create", "power_levels")
WISH: dict[str, Any] = {  # about what a phone asks for
    "conn_id": "room-list",
    "lists": {
        "all_rooms": {
            "ranges": [[0, 19]],
            "timeline_limit": 1,
            "required_state": [
                *([f"m.room.{name}", ""] for name in STATE),
                ["m.room.member", "$LAZY"],
                ["m.room.member", "$ME"],
            ],
        }
    },
    "extensions": {
        name: {"enabled": True}
        for name in ("to_device", "e2ee", "account_data", "receipts", "typing")
    },
}


async def measure(server: Server, clients: int, rooms: int, classic: bool) -> float:
    """KiB that one client adds."""
    first = await person(server)
    shared = [await room(first) for _ in range(rooms)]
    tokens = await _people(server, clients, shared)
    first.close()
    server.stop()
    server.start()  # what joining took must not hide what waiting takes
    await _first(first, classic)
    await asyncio.sleep(2)
    before = server.pss_kib()
    lines = [Line(server.url, token) for token in tokens]
    polls = []
    for line in lines:
        polls.append(asyncio.ensure_future(_wait(line, classic, await _first(line, classic))))
    await asyncio.sleep(3)
    assert not any(poll.done() for poll in polls), "all of them wait"
    each = (server.pss_kib() - before) / clients
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    return each


async def _people(server: Server, clients: int, shared: list[str]) -> list[str]:
    """New people in all rooms; their tokens. Their connections are closed again."""
    tokens: list[str] = []

    async def join() -> None:
        while len(tokens) < clients:
            line = await person(server)
            tokens.append(line.token)
            for at in shared:
                await line.ask("POST", f"{V3}/join/{quote(at)}", {})
            line.close()

    await asyncio.gather(*[join() for _ in range(min(AT_ONCE, clients))])
    return tokens[:clients]


async def _first(line: Line, classic: bool) -> str:
    """The first answer; where the next request begins."""
    if classic:
        since = (await line.ask("GET", f"{V3}/sync?timeout=0"))["next_batch"]
        return str((await line.ask("GET", f"{V3}/sync?timeout=0&since={since}"))["next_batch"])
    return str((await line.ask("POST", f"{SLIDING}?timeout=0", WISH))["pos"])


async def _wait(line: Line, classic: bool, since: str) -> None:
    if classic:
        await line.ask("GET", f"{V3}/sync?timeout=600000&since={since}")
    else:
        await line.ask("POST", f"{SLIDING}?timeout=600000&pos={since}", WISH)


def main() -> int:
    options = argparse.ArgumentParser("bench.parked", description=__doc__)
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--rooms", type=int, default=20)
    options.add_argument("--classic", action="store_true", help="/sync instead of sliding sync")
    chosen = options.parse_args()
    server = servers.kerwen()
    server.start()
    try:
        each = asyncio.run(measure(server, chosen.clients, chosen.rooms, chosen.classic))
    finally:
        server.stop()
        server.remove()
    kind = "sync" if chosen.classic else "sliding sync"
    print(f"{chosen.clients} clients in {chosen.rooms} rooms, {kind}: {each:.1f} KiB each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
