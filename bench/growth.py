"""`python -m bench.growth [--members N] [--events N]`: what a send and a sync cost as all grows.

The server's processor time of one send and of one incremental sync, in a room of ten and in a
room of many members who do not wait, in a fresh database and in one with many events. A cost
that grows with the world shows as a ratio above 1; more than 1.5 is a defect.

Members and events are written by the generator while the server is down: members on the way
that every event takes, events as copies of rows that it made.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sqlite3
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from bench.wire import Line
from kerwen.base.config import Config
from kerwen.main import open_blobs
from kerwen.messenger import build_messenger
from kerwen.rooms.actions.append import Append, Draft
from kerwen.storage.database import Kind
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database

RATIO_MAX: Final = 1.5
READERS: Final = 12
_C: Final = "/_matrix/client/v3"
_PASSWORD: Final = "a-password-for-the-bench"
_BATCH: Final = 50
_COLD: Final = "sync after a restart"
_SLIDING: Final = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


@dataclass(frozen=True, slots=True)
class Size:
    """How far the world grows, and how long each figure is measured (batches)."""

    members: int
    events: int
    batches: int


FULL: Final = Size(10_000, 1_000_000, 12)
SMALL: Final = Size(4_000, 60_000, 6)


@dataclass
class Place:
    """A running server: where to ask, whose processor time to read, how to stop and start it."""

    url: str
    data: Path
    pid: Callable[[], int]
    start: Callable[[], object]
    stop: Callable[[], object]

    @property
    def domain(self) -> str:
        return (self.data / "domain").read_text().strip()


@dataclass
class Person:
    """Somebody with one device; `since` is the newest sync token."""

    user_id: str
    line: Line
    since: str = ""
    pos: str = ""  # of sliding sync


@dataclass
class World:
    """Who and what is measured."""

    place: Place
    size: Size
    sender: Person = field(init=False)
    readers: list[Person] = field(default_factory=list)
    rooms: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)  # row → column → µs


def cpu_us(pid: int) -> float:
    """The processor time that all threads of a process used, in microseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it ended
    return total / 1000


async def measure(place: Place, size: Size) -> World:
    """Grows a fresh server's world step by step and measures it after each."""
    world = World(place, size)
    await _settle(world)
    await _measure_all(world, "fresh", ["small room"])
    place.stop()
    await _add_members(world)
    place.start()
    await _measure_all(world, f"{size.members} members", ["large room"])
    place.stop()
    await _add_events(world)
    place.start()
    await _measure_all(world, f"{size.events} events", ["small room", "large room"])
    return world


def ratios(world: World) -> dict[str, float]:
    """Each figure against the same one in the small room of the fresh database."""
    base = world.figures["small room, fresh"]
    return {
        f"{deed}, {row}": cost / base[deed]
        for row, figures in world.figures.items()
        for deed, cost in figures.items()
        if row != "small room, fresh"
    }


# --- measuring -----------------------------------------------------------------------------


async def _settle(world: World) -> None:
    """One who speaks, some who read, and the two rooms that are compared."""
    url = world.place.url
    people = [await _register(url, f"p{n}") for n in range(READERS + 1)]
    world.sender, world.readers = people[0], people[1:]
    for name in ("small room", "large room"):
        made = await world.sender.line.ask(
            "POST", f"{_C}/createRoom", {"preset": "public_chat", "name": name}
        )
        world.rooms[name] = made["room_id"]
        for reader in world.readers:
            await reader.line.ask("POST", f"{_C}/join/{quote(made['room_id'])}", {})
    for reader in world.readers:
        await _sync(reader)


async def _register(url: str, name: str) -> Person:
    line = Line(url)
    body = {"username": name, "password": _PASSWORD, "auth": {"type": "m.login.dummy"}}
    made = await line.ask("POST", f"{_C}/register", body)
    line.token = made["access_token"]
    return Person(made["user_id"], line)


async def _sync(reader: Person) -> None:
    since = f"&since={reader.since}" if reader.since else ""
    answer = await reader.line.ask("GET", f"{_C}/sync?timeout=0{since}")
    reader.since = answer["next_batch"]


async def _slide(reader: Person) -> None:
    """Sliding sync (MSC4186) of the twenty newest rooms."""
    rooms = {"ranges": [[0, 19]], "timeline_limit": 10, "required_state": [["m.room.name", ""]]}
    path = f"{_SLIDING}?timeout=0" + (f"&pos={reader.pos}" if reader.pos else "")
    answer = await reader.line.ask("POST", path, {"lists": {"all": rooms}})
    reader.pos = answer["pos"]


async def _say(world: World, room: str) -> None:
    path = f"{_C}/rooms/{quote(world.rooms[room])}/send/m.room.message/{secrets.token_hex(8)}"
    body = {"msgtype": "m.text", "body": "Salam, ýagdaýlar nähili? " * 4}
    await world.sender.line.ask("PUT", path, body)


async def _measure_all(world: World, when: str, rooms: list[str]) -> None:
    for room in rooms:
        figures = world.figures.setdefault(f"{room}, {when}", {})
        figures[_COLD] = await _cost_cold(world, room)
        figures["send"] = await _cost_of_sends(world, room)
        figures["sync"] = await _cost_of_syncs(world, room, _sync)
        figures["sliding"] = await _cost_of_syncs(world, room, _slide)


async def _cost_cold(world: World, room: str) -> float:
    """The first sync of each reader: a message came since its token, memory knows nothing."""
    costs = []
    for _ in range(max(2, world.size.batches // 3)):
        _hang_up(world)
        for reader in world.readers:
            await _sync(reader)
        world.place.stop()
        world.place.start()
        _hang_up(world)
        await _say(world, room)
        await _sync(world.readers[0])  # warms what the first request of all warms
        await _quiet(world)
        for reader in world.readers[1:]:
            before = cpu_us(world.place.pid())
            await _sync(reader)
            costs.append(cpu_us(world.place.pid()) - before)
    return statistics.median(costs)


async def _quiet(world: World) -> None:
    """Waits until the server has nothing else to do."""
    for _ in range(100):
        before = cpu_us(world.place.pid())
        await asyncio.sleep(0.3)
        if cpu_us(world.place.pid()) - before < 3_000:
            return
    raise RuntimeError("the server is never quiet")


def _hang_up(world: World) -> None:
    for person in (world.sender, *world.readers):
        person.line.close()


async def _cost_of_sends(world: World, room: str) -> float:
    costs = []
    await _quiet(world)
    for _ in range(world.size.batches):
        before = cpu_us(world.place.pid())
        for _ in range(_BATCH):
            await _say(world, room)
        costs.append((cpu_us(world.place.pid()) - before) / _BATCH)
    return statistics.median(costs)


async def _cost_of_syncs(
    world: World, room: str, sync: Callable[[Person], Awaitable[None]]
) -> float:
    costs = []
    for reader in world.readers:
        reader.pos = ""
        await sync(reader)
    await _quiet(world)
    for _ in range(world.size.batches * 4):
        await _say(world, room)
        before = cpu_us(world.place.pid())
        for reader in world.readers:
            await sync(reader)
        costs.append((cpu_us(world.place.pid()) - before) / len(world.readers))
    return statistics.median(costs)


# --- growing -------------------------------------------------------------------------------


async def _add_members(world: World) -> None:
    """People who joined the large room and never ask for anything."""
    place = world.place
    config = Config(dev=True, data=str(place.data), domain=place.domain, cheap_passwords=True)
    db = await open_database(place.data / "kerwen.db", Feed())
    first = await db.take_id("user", world.size.members)
    people = [(first + n, f"@member{n}:{place.domain}") for n in range(world.size.members)]
    await db.close()
    _add_people(place.data / "kerwen.db", people)
    feed = Feed()
    db = await open_database(place.data / "kerwen.db", feed)
    append = _append_of(build_messenger(config, db, feed, open_blobs(config)))
    for at in range(0, len(people), 100):
        async with append.room(world.rooms["large room"], 100) as room:
            for user_no, user_id in people[at : at + 100]:
                content = {"membership": "join", "displayname": f"Member {user_no}"}
                await room.add(Draft(user_id, user_no, "m.room.member", content, user_id))
    await db.close()


def _append_of(messenger: Any) -> Append:
    """The one way by which events are written, found where the API holds it."""
    for area in messenger.areas:
        found = getattr(getattr(area, "_send", None), "_append", None)
        if isinstance(found, Append):
            return found
    raise RuntimeError("no API area sends events")


def _add_people(path: Path, people: list[tuple[int, str]]) -> None:
    conn = sqlite3.connect(path)
    with conn:
        conn.executemany("insert into users (user_no, user_id) values (?, ?)", people)
        conn.executemany(
            "insert into accounts (account_no, localpart, created_ms) values (?, ?, 1)",
            [(no, user_id[1:].partition(":")[0]) for no, user_id in people],
        )
    conn.close()


async def _add_events(world: World) -> None:
    """Copies of messages, spread over many rooms of the sender's as time would spread them."""
    place, count = world.place, world.size.events
    place.start()
    world.sender.line.close()
    for n in range(max(10, count // 5_000)):
        body = {"preset": "private_chat", "name": f"Room {n}"}
        made = await world.sender.line.ask("POST", f"{_C}/createRoom", body)
        world.rooms[f"other {n}"] = made["room_id"]
        await _say(world, f"other {n}")
    world.sender.line.close()
    place.stop()
    Filler(place.data / "kerwen.db").fill(count)


class Filler:
    """Writes rows as a busy server would have written them in the course of years."""

    def __init__(self, path: Path) -> None:
        self._chance = random.Random(1)
        self._conn = sqlite3.connect(path, isolation_level=None)
        for setting in ("cache_size = -600000", "synchronous = off", "temp_store = memory"):
            self._conn.execute(f"pragma {setting}")

    def fill(self, count: int) -> None:
        """Adds events, their places on the feed and their transaction ids."""
        conn = self._conn
        rooms = conn.execute(
            "select r.room_no, r.head, max(e.event_no) from rooms r join events e"
            " on e.room_no = r.room_no and e.type = 'm.room.message'"
            " where r.room_no in (select room_no from members group by room_no"
            " having count(*) = 1) group by r.room_no"
        ).fetchall()
        rows = {no: self._template(event_no) for no, _, event_no in rooms}
        heads = {no: head for no, head, _ in rooms}
        pos = conn.execute("select max(pos) from feed").fetchone()[0]
        event_no = conn.execute("select max(event_no) from events").fetchone()[0] + 1_000_000
        conn.execute("begin")
        for at in range(0, count, 20_000):
            made, told, sent, words = [], [], [], []
            for _ in range(min(20_000, count - at)):
                room_no = self._chance.choice(rooms)[0]
                pos, event_no = pos + 1, event_no + 1
                heads[room_no] += 1
                row = self._copy(rows[room_no], event_no, heads[room_no], pos)
                made.append(row)
                told.append((pos, f"[[{int(Kind.EVENT)},{room_no},{heads[room_no]}]]"))
                words.append((event_no, self._words(room_no)))
                sent.append((row["device_no"], room_no, row["txn_id"], event_no))
            names = list(made[0])
            marks = ",".join(f":{name}" for name in names)
            conn.executemany(f"insert into events ({','.join(names)}) values ({marks})", made)
            conn.executemany("insert into feed (pos, items) values (?, ?)", told)
            conn.executemany("insert into search_index (rowid, words) values (?, ?)", words)
            conn.executemany("insert into sent_transactions values (?, ?, 'e', ?, ?)", sent)
        for room_no, _, first_no in rooms:
            self._move_head(room_no, heads[room_no], first_no)
        # those who follow the feed had all the time to do so
        conn.execute("update feed_cursor set pos = ? where pos < ?", (pos, pos))
        conn.execute("update ids set next = ? where name = 'event'", (event_no + 1_000_000,))
        conn.execute("commit")
        conn.execute("pragma wal_checkpoint(truncate)")
        conn.close()

    def _words(self, room_no: int) -> str:
        """Some of 50,000 words, the frequent ones often."""
        found = {int(self._chance.paretovariate(0.5)) % 50_000 for _ in range(8)}
        return f"room{room_no} " + " ".join(f"word{n}" for n in sorted(found))

    def _template(self, event_no: int) -> dict[str, Any]:
        cursor = self._conn.execute("select * from events where event_no = ?", (event_no,))
        return dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))

    def _copy(self, row: dict[str, Any], event_no: int, seq: int, pos: int) -> dict[str, Any]:
        event_id = f"${secrets.token_urlsafe(32)}"
        steps = seq - row["seq"]
        return row | {
            "event_no": event_no,
            "seq": seq,
            "pos": pos,
            "event_id": event_id,
            "depth": row["depth"] + steps,
            "loud": row["loud"] + steps,
            "ts": row["ts"] + steps,
            "txn_id": secrets.token_hex(8),
            "client": row["client"].replace(row["event_id"].encode(), event_id.encode()),
        }

    def _move_head(self, room_no: int, head: int, first_no: int) -> None:
        conn = self._conn
        event_id, depth, loud, pos = conn.execute(
            "select event_id, depth, loud, pos from events where room_no = ? and seq = ?",
            (room_no, head),
        ).fetchone()
        tips = orjson.dumps([event_id]).decode()
        conn.execute(
            "update rooms set head = ?, depth = ?, tips = ?, loud = ?, pos = ? where room_no = ?",
            (head, depth, tips, loud, pos, room_no),
        )
        conn.execute(
            "update members set read_seq = ?, read_loud = ? where room_no = ?",
            (head, loud, room_no),
        )


# --- by hand -------------------------------------------------------------------------------


def show(world: World) -> None:
    """A table of microseconds, and of ratios to the fresh small room."""
    against = ratios(world)
    widths = {"send": 12, "sync": 12, "sliding": 12, _COLD: 24}
    head = "".join(f"{deed:>{width}}" for deed, width in widths.items())
    print(f"{'µs of processor time':<32}{head}")
    for row, figures in world.figures.items():
        cells = []
        for deed, width in widths.items():
            ratio = against.get(f"{deed}, {row}")
            text = f"{figures[deed]:.0f}" + (f" x{ratio:.2f}" if ratio else "")
            cells.append(f"{text:>{width}}")
        print(f"{row:<32}" + "".join(cells))


def main() -> int:
    from bench import servers

    options = argparse.ArgumentParser("bench.growth", description=__doc__)
    options.add_argument("--members", type=int, default=FULL.members)
    options.add_argument("--events", type=int, default=FULL.events)
    chosen = options.parse_args()
    server = servers.kerwen()
    process = "_process"
    place = Place(
        server.url,
        Path(server.folder) / "data",
        lambda: getattr(server, process).pid,
        server.start,
        server.stop,
    )
    began = time.monotonic()
    try:
        server.start()
        world = asyncio.run(measure(place, Size(chosen.members, chosen.events, FULL.batches)))
    finally:
        server.stop()
        server.remove()
    show(world)
    print(f"took {time.monotonic() - began:.0f} s")
    return int(max(ratios(world).values()) > RATIO_MAX)


if __name__ == "__main__":
    sys.exit(main())
