"""Torture: no skip, no double, no token that goes back, each room in order, the feed dense.

Seeded by KERWEN_TORTURE_SEED; KERWEN_TORTURE_S makes it longer (nightly: 600).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerwen.storage.database import Change, Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.postgres import PostgresDatabase
from kerwen.storage.postgres_open import open_postgres
from kerwen.storage.postgres_pool import Link, connect
from kerwen.storage.sqlite import SqliteDatabase
from tests.storage import torture
from tests.storage.engines import emptied
from tests.storage.torture import Client, Settled, Writer, faults, prepare, roam, settled

SEED = int(os.environ.get("KERWEN_TORTURE_SEED", "1"))
SECONDS = float(os.environ.get("KERWEN_TORTURE_S", "8"))
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def _tasks(*deeds: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(deed) for deed in deeds]
    try:
        yield tasks
        for task in tasks:
            if task.done():
                task.result()  # it should have gone on: tell why it did not
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _finish(clients: list[Client], workers: list[Any], link_last: int) -> None:
    """Everybody reads to the end."""
    for number, client in enumerate(clients):
        db = workers[number % len(workers)]
        async with asyncio.timeout(15):
            while db.feed.settled < link_last:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await client.sync(db, db.feed.settled, may_lose=False)


async def test_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "kerwen.db"
    path.write_bytes(sqlite_template.read_bytes())  # noqa: ASYNC240
    db = SqliteDatabase(path, Feed(), strict=True)
    await prepare(db)
    writers = [Writer(db, SEED * 100 + n, n * 10_000_000) for n in range(16)]
    clients = [Client(SEED * 100 + n) for n in range(6)]
    deeds = [writer.run(lambda key: None) for writer in writers]
    deeds += [roam(client, [db], settled) for client in clients]
    async with _tasks(*deeds):
        await asyncio.sleep(SECONDS / 4)
    async with db.write() as tx:  # behind all that was under way
        tx.change(Kind.ACCOUNT, 1)
    await _finish(clients, [db], tx.pos)
    acknowledged = set().union(*[writer.acknowledged for writer in writers])
    assert len(acknowledged) > 500
    assert await faults(db, clients, acknowledged) == []
    await db.close()


class Cluster:
    """Workers of this process, with hints between them that get lost, doubled and late."""

    def __init__(self, dsn: str, seed: int) -> None:
        self.dsn = dsn
        self.chance = random.Random(seed)
        self.workers: list[PostgresDatabase | None] = []
        self.acknowledged: set[int] = set()
        self.bases = iter(range(10**9, 10**18, 10**9))
        self.kills = 0

    async def open(self) -> PostgresDatabase:
        feed = Feed()
        feed.outward = lambda pos, changes: self._hint(feed, pos, changes)
        return await open_postgres(self.dsn, feed)

    def _hint(self, sender: Feed, pos: int, changes: Any) -> None:
        for db in self.workers:
            if db is None or db.feed is sender:
                continue
            fate = self.chance.random()
            for _ in range(0 if fate < 0.15 else 2 if fate < 0.20 else 1):
                asyncio.get_running_loop().call_later(
                    self.chance.random() ** 4 * 0.3, self._arrive, db.feed, pos, changes
                )

    def _arrive(self, feed: Feed, pos: int, changes: list[Change]) -> None:
        feed.hint(pos, changes)

    async def restart_workers(self) -> None:
        """Now and then a worker ends and comes back with empty hands."""
        while True:
            await asyncio.sleep(0.5 + self.chance.random())
            number = self.chance.randrange(1, len(self.workers))
            db, self.workers[number] = self.workers[number], None
            assert db is not None
            await db.close()
            await asyncio.sleep(0.05)
            self.workers[number] = await self.open()

    async def run_writers(self, seed: int) -> None:
        """A writer process that is killed again and again, wherever it is."""
        chance = random.Random(seed)
        while True:
            child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "tests.storage.torture", self.dsn],
                *[str(chance.randrange(10**6)), str(next(self.bases))],
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            assert child.stdout is not None
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0 + chance.random()):
                        while line := await child.stdout.readline():
                            self.acknowledged.add(int(line))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                rest = await child.stdout.read()
                self.acknowledged.update(int(n) for n in rest[: rest.rfind(b"\n") + 1].split())
                await child.wait()
                self.kills += 1

    async def end_sessions(self, link: Link) -> None:
        """Now and then the database ends somebody's session."""
        while True:
            await asyncio.sleep(0.4 + self.chance.random() / 2)
            await link.call(
                link.raw.fetch,
                "select pg_terminate_backend(pid) from pg_stat_activity where"
                " datname = current_database() and pid <> pg_backend_pid()"
                " order by random() limit 1",
            )


async def _cluster(
    dsn: str, seed: int, *, processes: int, secs: float, upto: Settled = settled
) -> list[str]:
    """Tortures PostgreSQL; what was wrong."""
    cluster = Cluster(dsn, seed)
    link = await connect(dsn)
    cluster.workers = [await cluster.open() for _ in range(3)]
    await prepare(_some(cluster.workers))
    clients = [Client(seed * 100 + n) for n in range(6)]
    local = [Writer(_some(cluster.workers), seed * 10 + n, n * 10_000_000) for n in range(4)]
    deeds = [writer.run(cluster.acknowledged.add) for writer in local]
    deeds += [roam(client, cluster.workers, upto) for client in clients]
    deeds += [cluster.run_writers(seed * 7 + n) for n in range(processes)]
    if processes:
        deeds += [cluster.restart_workers(), cluster.end_sessions(link)]
    async with _tasks(*deeds):
        await asyncio.sleep(secs)
    workers = [db if db is not None else await cluster.open() for db in cluster.workers]
    for db in workers:
        while db._behind:
            await asyncio.wait(db._behind)
    while await link.value(  # noqa: ASYNC110
        "select count(*) from pg_stat_activity where state <> 'idle' and"
        " datname = current_database() and pid <> pg_backend_pid() and query ~ 'feed_claim'"
    ):
        await asyncio.sleep(0.01)
    last = await link.value("select coalesce(max(pos), 0) from feed")
    await _finish(clients, workers, last)
    found = await faults(workers[0], clients, cluster.acknowledged)
    print(f"{last} positions, {cluster.kills} kills, {len(cluster.acknowledged)} acknowledged")
    for db in workers:
        await db.close()
    link.raw.terminate()
    return found


def _some(workers: list[PostgresDatabase | None]) -> Database:
    db = workers[0]
    assert db is not None
    return db


async def test_postgres(postgres_template: str) -> None:
    dsn = await emptied(postgres_template)
    assert await _cluster(dsn, SEED, processes=2, secs=SECONDS) == []


async def test_a_follower_that_takes_the_newest_for_settled_is_caught(
    postgres_template: str,
) -> None:
    """The harness can fail: `max(pos)` skips what commits late."""
    for seed in range(5):
        dsn = await emptied(postgres_template)
        found = await _cluster(dsn, seed, processes=0, secs=1.0, upto=torture.newest)
        if any(fault.startswith("skipped") for fault in found):
            return
    pytest.fail("nobody skipped anything")


class EarlyWriter(Writer):
    """A wrong writer: it draws its number before it has the room's lock."""

    async def _send(self, key: int, room: int) -> None:
        db: Any = self._db
        link = await db.writers.take()
        try:
            await link.execute("begin")
            pos = await link.value("select nextval('feed_pos')")
            await asyncio.sleep(self._chance.random() * 0.01)
            head = await link.value(torture.LOCK_ROOM.postgres, room)
            await link.execute(
                f"insert into torture_event values ({key}, {room}, {head + 1}, {pos});"
                f"update torture_room set head = {head + 1} where room = {room};"
                f"insert into feed values ({pos}, '[[1,{room},{head + 1}]]'); commit"
            )
        except BaseException:
            link.busy = True
            raise
        finally:
            db.writers.give(link)


async def test_a_number_drawn_before_the_lock_is_caught(
    postgres_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness can fail: then order of lock and order of position differ."""
    monkeypatch.setattr(sys.modules[__name__], "Writer", EarlyWriter)
    for seed in range(10):
        dsn = await emptied(postgres_template)
        found = await _cluster(dsn, seed, processes=0, secs=0.5)
        if any(fault.startswith("room ") for fault in found):
            return
    pytest.fail("every room was in order")
