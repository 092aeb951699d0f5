"""The torture of the feed: writers that die, hints that get lost, clients that hop.

Run as a program it is one writer process: `python -m tests.storage.torture DSN SEED BASE`.
It prints the id of each event that was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from kerwen.base.errors import Unavailable
from kerwen.storage.database import Database, Kind, Retry
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

ROOMS = 12
CREATE_ROOMS = sql("create table if not exists torture_room (room {id}, head BIGINT not null)")
CREATE_EVENTS = sql(
    "create table if not exists torture_event (id {id}, room BIGINT not null,"
    " seq BIGINT not null, pos BIGINT not null)"
)
CLEAR_ROOMS = sql("delete from torture_room")
CLEAR_EVENTS = sql("delete from torture_event")
ADD_ROOM = sql("insert into torture_room (room, head) values (:room, 0)")
LOCK_ROOM = sql("select head from torture_room where room = :room {for_update}")
SET_HEAD = sql("update torture_room set head = :seq where room = :room")
ADD_EVENT = sql("insert into torture_event (id, room, seq, pos) values (:id, :room, :seq, :pos)")
EVENTS = sql("select id, room, seq, pos from torture_event order by pos")
RANGE = sql("select id, pos from torture_event where pos > :since and pos <= :upto order by pos")
FEED = sql("select pos, items from feed order by pos")
SLOW = sql("select pg_sleep(cast(:ms as BIGINT) / 1000.0)")


async def prepare(db: Database) -> None:
    """Makes the rooms."""
    async with db.write() as tx:
        for statement in (CREATE_ROOMS, CREATE_EVENTS, CLEAR_ROOMS, CLEAR_EVENTS):
            await tx.run(statement)
        for room in range(ROOMS):
            await tx.run(ADD_ROOM, room=room)


class Writer:
    """Sends events; sometimes changes its mind, fails, dawdles or holds a lock for long."""

    def __init__(self, db: Database, seed: int, base: int) -> None:
        self._db = db
        self._chance = random.Random(seed)
        self._next = base
        self._base = base
        self._slow = type(db).__name__ == "PostgresDatabase"
        self.acknowledged: set[int] = set()

    async def run(self, told: Callable[[int], None]) -> None:
        """Writes until cancelled."""
        while True:
            self._next += 1
            try:
                await self._send(self._next, self._chance.randrange(ROOMS))
            except (Retry, Unavailable, ZeroDivisionError):
                continue
            except Exception as error:
                if "unique" not in str(error).lower():
                    raise
            else:
                self.acknowledged.add(self._next)
                told(self._next)
            await asyncio.sleep(self._chance.random() * 0.005)

    async def _send(self, key: int, room: int) -> None:
        fate = self._chance.random()
        async with self._db.write() as tx:
            row = await tx.one(LOCK_ROOM, room=room)
            assert row is not None
            seq = row[0] + 1
            tx.at_end(ADD_EVENT, id=key, room=room, seq=seq)
            tx.at_end(SET_HEAD, room=room, seq=seq)
            tx.change(Kind.EVENT, room, seq)
            if fate < 0.10:
                raise ZeroDivisionError
            if fate < 0.18:
                tx.at_end(ADD_EVENT, id=key, room=room, seq=seq)  # fails
            elif self._slow and fate < 0.22:
                tx.at_end(SLOW, ms=self._chance.randrange(100))
            elif self._slow and fate < 0.26:
                await asyncio.sleep(self._chance.random() * 0.03)


class Client:
    """Hops between workers with its token, loses answers, notes what it saw."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.token = 0
        self.seen: Counter[int] = Counter()
        self.faults: list[str] = []

    async def sync(self, db: Database, upto: int, may_lose: bool = True) -> None:
        """One answer: all that is in (token, upto]."""
        if upto < self.token:
            self.faults.append(f"token went back: {self.token} to {upto}")
            return
        async with db.read() as snap:
            rows = await snap.all(RANGE, since=self.token, upto=upto)
        if may_lose and self.chance.random() < 0.15:
            return  # the answer is lost: the same token is used again
        self.seen.update(row[0] for row in rows)
        self.token = upto


Settled = Callable[[Any, int], Awaitable[int]]


async def settled(db: Any, token: int) -> int:
    """What a right worker answers up to."""
    if not await db.feed.until(token, 10_000):
        reader = db.reader
        raise AssertionError(
            f"{token} did not settle; S is {db.feed.settled}, known {db.feed.known}, hole"
            f" {reader._hole}, {reader.hole_age_ms} ms, {reader._task}, {reader._source._turn}"
        )
    at: int = db.feed.settled
    return at


async def newest(db: Any, token: int) -> int:
    """What a wrong worker answers up to: the greatest position that it can see."""
    async with db.read() as snap:
        row = await snap.one(sql("select coalesce(max(pos), 0) from feed"))
    return max(token, row[0] if row else 0)


async def roam(client: Client, workers: list[Any], upto: Settled) -> None:
    """A client's life until cancelled."""
    while True:
        await asyncio.sleep(client.chance.random() * 0.02)
        db = client.chance.choice(workers)
        if db is None:
            continue  # this worker is down
        with contextlib.suppress(Unavailable):
            await client.sync(db, await upto(db, client.token))


async def faults(db: Database, clients: list[Client], acknowledged: set[int]) -> list[str]:
    """Everything that is wrong, after the end."""
    async with db.read() as snap:
        events = await snap.all(EVENTS)
        feed = dict(await snap.all(FEED))
    found = [fault for client in clients for fault in client.faults]
    if list(feed) != list(range(1, len(feed) + 1)):
        found.append("the feed is not dense")
    heads: Counter[int] = Counter()
    for key, room, seq, pos in events:  # in order of position
        heads[room] += 1
        if seq != heads[room]:
            found.append(f"room {room}: {seq} came as number {heads[room]}")
        if orjson.loads(feed.get(pos, "[]")) != [[1, room, seq]]:
            found.append(f"event {key} under {feed.get(pos)}")
    stored = {event[0] for event in events}
    if lost := acknowledged - stored:
        found.append(f"acknowledged and lost: {sorted(lost)[:5]}")
    for client in clients:
        if skipped := stored - client.seen.keys():
            found.append(f"skipped: {sorted(skipped)[:5]}")
        if doubled := [key for key, count in client.seen.items() if count > 1]:
            found.append(f"doubled: {doubled[:5]}")
        if ghosts := client.seen.keys() - stored:
            found.append(f"never stored: {sorted(ghosts)[:5]}")
    return found


async def _child(dsn: str, seed: int, base: int) -> None:
    from kerwen.storage.postgres_open import open_postgres

    db = await open_postgres(dsn, Feed())

    def told(key: int) -> None:
        sys.stdout.write(f"{key}\n")
        sys.stdout.flush()

    writers = [Writer(db, seed * 10 + n, base + n * 10_000_000) for n in range(4)]
    await asyncio.gather(*[writer.run(told) for writer in writers])


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
