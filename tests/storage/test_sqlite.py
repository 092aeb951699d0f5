"""The embedded engine: shared commits, broken disks, other processes, the log's growth."""

# ruff: noqa: PT012, ASYNC110, ASYNC220  (a transaction is one statement; tests may poll)

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage import sqlite_link
from kerwen.storage.database import Kind
from kerwen.storage.ending import Broken
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from kerwen.storage.sqlite import SqliteDatabase
from kerwen.storage.sqlite_link import connect, translated
from tests.storage.probe import ADD, ADD_NO, COUNT, CREATE, feed_rows, numbers

GROW = sql("insert into probe (no, t) values (:no, hex(zeroblob(100000)))")
DROP = sql("delete from probe where no = 9")
DROP_SEALED = sql("delete from probe where no = 9", sealed=True)
ENDLESS = sql(
    "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
)


class Disk:
    """The writer's connection, with faults: the Nth statement of a text fails as told."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.faults: dict[str, list[int]] = {}  # text → codes of its next runs; 0: none
        self.lose = False  # the fault also ends the transaction, as SQLite may
        self.seen: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def execute(self, text: str, *args: Any) -> sqlite3.Cursor:
        self.seen.append(text)
        if text == "commit":
            self.gate.wait(10)
        codes = self.faults.get(text)
        code = codes.pop(0) if codes else 0
        if code:
            if self.lose:
                self.conn.execute("rollback")
            error = sqlite3.OperationalError("a fault")
            error.sqlite_errorcode = code
            raise error
        return self.conn.execute(text, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.conn, name)

    @property
    def commits(self) -> int:
        return self.seen.count("commit")


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(sqlite_template, tmp_path / "kerwen.db"))


@pytest.fixture
async def db(path: Path, feed: Feed) -> AsyncIterator[SqliteDatabase]:
    made = SqliteDatabase(path, feed, strict=True)
    async with made.write() as tx:
        await tx.run(CREATE)
    yield made
    await made.close()


@pytest.fixture
def disk(db: SqliteDatabase) -> Disk:
    made = Disk(db._conn)
    db._conn = made  # type: ignore[assignment]
    return made


async def _add(db: SqliteDatabase, key: int) -> int:
    async with db.write() as tx:
        await tx.run(ADD_NO, no=key)
        tx.change(Kind.ACCOUNT, key)
    return tx.pos


async def _reasons(*deeds: Any) -> list[Any]:
    results = await asyncio.gather(*deeds, return_exceptions=True)
    return [r.reason if isinstance(r, Unavailable) else r for r in results]


async def test_what_is_deleted_is_overwritten_unless_it_is_sealed(
    db: SqliteDatabase, path: Path
) -> None:
    marks = {True: b"sealed-and-gone", False: b"in-clear-and-gone"}

    def left() -> dict[bool, bool]:
        log = path.with_name(path.name + "-wal").read_bytes()
        # what lies behind the last frame that is in use was overwritten in a later one
        db._conn.execute("pragma wal_checkpoint(truncate)")
        assert log
        return {sealed: mark in path.read_bytes() for sealed, mark in marks.items()}

    for at in range(2):  # a known pragma is not compiled again: it must work a second time too
        for sealed, mark in marks.items():
            async with db.write() as tx:
                await tx.run(ADD, no=9, n=1, t="", b=mark * 2_000)
            assert left()[sealed]
            async with db.write() as tx:
                await tx.run(DROP_SEALED if sealed else DROP)
            assert left()[sealed] is sealed, at
    with pytest.raises(sqlite3.OperationalError):
        async with db.write() as tx:
            await tx.run(sql("delete from nowhere", sealed=True))
    assert db._conn.execute("pragma secure_delete").fetchone()[0] == 1


async def test_those_who_wait_share_a_commit(db: SqliteDatabase, disk: Disk) -> None:
    await asyncio.gather(*[_add(db, key) for key in range(40)])
    assert disk.commits == 1
    await _add(db, 40)
    assert disk.commits == 2
    assert await numbers(db) == list(range(41))


async def test_the_feed_adds_no_commit_and_no_sync(db: SqliteDatabase, disk: Disk) -> None:
    async with db.write() as tx:
        await tx.run(ADD_NO, no=1)
    plain, disk.seen = len(disk.seen), []
    await _add(db, 2)
    assert disk.commits == 1
    assert len(disk.seen) == plain + 1  # the feed's row


async def test_one_failure_fails_one(db: SqliteDatabase, feed: Feed, disk: Disk) -> None:
    async def fail() -> None:
        async with db.write() as tx:
            await tx.run(ADD_NO, no=100)
            tx.change(Kind.ACCOUNT, 100)
            tx.at_end(ADD_NO, no=1)  # it is there already

    results = await asyncio.gather(
        _add(db, 1), fail(), _add(db, 2), fail(), _add(db, 3), return_exceptions=True
    )
    assert [isinstance(result, Exception) for result in results] == [0, 1, 0, 1, 0]
    assert [results[n] for n in (0, 2, 4)] == [1, 2, 3]  # numbers were given back
    assert disk.commits == 1
    assert await numbers(db) == [1, 2, 3]
    assert feed.settled == 3


@pytest.mark.parametrize("lose", [False, True])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_FULL, Unready.DISK_FULL),
        (sqlite3.SQLITE_IOERR_FSYNC, Unready.DISK_FAULT),
        (sqlite3.SQLITE_IOERR_WRITE, Unready.DISK_FAULT),
        (sqlite3.SQLITE_READONLY, Unready.DISK_FAULT),
        (sqlite3.SQLITE_CORRUPT, Unready.DISK_FAULT),
    ],
)
async def test_a_commit_that_fails_fails_its_group(
    db: SqliteDatabase, feed: Feed, disk: Disk, code: int, reason: Unready, lose: bool
) -> None:
    told: list[int] = []
    feed.follow(lambda pos, changes: told.append(pos))
    assert await _add(db, 1) == 1
    disk.faults["commit"], disk.lose = [code], lose
    assert await _reasons(*[_add(db, key) for key in (2, 3, 4)]) == [reason] * 3
    assert await numbers(db) == [1]
    assert await _add(db, 5) == 2  # and the next goes on, under the next number
    assert (told, feed.settled) == ([1, 2], 2)


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize("lose", [False, True])
async def test_any_statement_may_fail(
    db: SqliteDatabase, feed: Feed, disk: Disk, nth: int, lose: bool
) -> None:
    """The Nth statement of a group meets a full disk: what is told is what is stored."""
    real, count = disk.conn, 0

    class Nth:
        def execute(self, text: str, *args: Any) -> sqlite3.Cursor:
            nonlocal count
            if text.startswith(("insert", "release", "savepoint", "begin")):
                count += 1
                if count == nth:
                    if lose and real.in_transaction:
                        real.execute("rollback")
                    error = sqlite3.OperationalError("a fault")
                    error.sqlite_errorcode = sqlite3.SQLITE_FULL
                    raise error
            return real.execute(text, *args)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    disk.conn = Nth()  # type: ignore[assignment]
    results = await _reasons(*[_add(db, key) for key in (1, 2, 3)])
    assert count >= nth
    stored = [key for key, result in zip((1, 2, 3), results, strict=True) if type(result) is int]
    assert len(stored) < 3
    assert set(results) - {1, 2, 3} == {Unready.DISK_FULL}
    assert await numbers(db) == stored
    assert [row[0] for row in await feed_rows(db)] == list(range(1, len(stored) + 1))
    assert await _add(db, 9) == len(stored) + 1 == feed.settled


async def test_a_connection_that_cannot_roll_back_is_replaced(
    db: SqliteDatabase, feed: Feed, disk: Disk
) -> None:
    disk.faults["commit"] = [sqlite3.SQLITE_IOERR_FSYNC]
    disk.faults["rollback"] = [sqlite3.SQLITE_IOERR]
    assert await _reasons(_add(db, 1), _add(db, 2)) == [Unready.DISK_FAULT] * 2
    assert await _add(db, 3) == 1
    assert await numbers(db) == [3]
    assert db._conn is not disk  # type: ignore[comparison-overlap]


async def test_a_disk_that_is_really_full(db: SqliteDatabase, feed: Feed) -> None:
    pages = db._conn.execute("pragma page_count").fetchone()[0]
    db._conn.execute(f"pragma max_page_count = {pages + 120}")

    async def grow(key: int) -> int:
        async with db.write() as tx:
            await tx.run(GROW, no=key)
            tx.change(Kind.ACCOUNT, key)
        return tx.pos

    results: list[Any] = []
    for key in range(0, 12, 4):
        results += await _reasons(*[grow(key + n) for n in range(4)])
    stored = [key for key, result in enumerate(results) if type(result) is int]
    assert await numbers(db) == stored
    assert Unready.DISK_FULL in results
    db._conn.execute("pragma max_page_count = 100000")
    assert await _add(db, 99) == len(stored) + 1
    assert [row[0] for row in await feed_rows(db)] == list(range(1, len(stored) + 2))


async def test_strict_sees_that_something_else_was_awaited(db: SqliteDatabase) -> None:
    with pytest.raises(Broken, match="something else was awaited"):
        async with db.write() as tx:
            await tx.run(ADD_NO, no=1)
            await asyncio.sleep(0)
            await tx.run(ADD_NO, no=2)
    assert await numbers(db) == []
    await asyncio.gather(*[_add(db, key) for key in range(5)])


async def test_cancelled_while_it_waits_for_its_turn(db: SqliteDatabase, disk: Disk) -> None:
    disk.gate.clear()
    first = asyncio.create_task(_add(db, 1))
    await asyncio.sleep(0.01)  # its commit hangs
    others = [asyncio.create_task(_add(db, key)) for key in (2, 3, 4)]
    await asyncio.sleep(0)
    others[1].cancel()
    disk.gate.set()
    others[0].cancel()
    assert await first == 1
    assert await others[2] == 2
    assert await numbers(db) == [1, 4]


async def test_cancelled_while_its_commit_runs_is_stored(
    db: SqliteDatabase, feed: Feed, disk: Disk
) -> None:
    disk.gate.clear()
    task = asyncio.create_task(_add(db, 1))
    while disk.commits < 1:
        await asyncio.sleep(0)
    task.cancel()
    disk.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await feed.until(1) if feed.known else True
    assert await _add(db, 2) == 2
    assert await numbers(db) == [1, 2]


async def test_a_full_queue_is_told(
    db: SqliteDatabase, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WRITE_QUEUE_MAX", 3)
    disk.gate.clear()
    tasks = [asyncio.create_task(_add(db, 0))]
    while disk.commits < 1:
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(_add(db, key)) for key in range(1, 6)]
    await asyncio.sleep(0)
    disk.gate.set()
    assert await _reasons(*tasks) == [1, 2, 3, 4, Unready.BUSY, Unready.BUSY]


async def test_another_process_writes_in_between(
    db: SqliteDatabase, path: Path, feed: Feed
) -> None:
    """`kerwen account add` beside a running server: waited for, and told as if it were ours."""
    seen: list[Any] = []
    feed.follow(lambda pos, changes: seen.append((pos, list(changes))))
    await _add(db, 1)
    other = connect(path)
    other.execute("begin immediate")
    other.execute("insert into feed (pos, items) values (2, '[[9,77,0]]')")
    task = asyncio.create_task(_add(db, 2))
    await asyncio.sleep(0.02)
    assert not task.done()
    other.execute("commit")
    other.close()
    assert await task == 3
    assert seen == [(1, [(9, 1, 0)]), (2, [(9, 77, 0)]), (3, [(9, 2, 0)])]


async def test_what_another_process_wrote_is_told_without_a_write_of_ours(
    db: SqliteDatabase, path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerwen.storage.sqlite._LOOK_S", 0.01)
    await _add(db, 1)
    db._look_again()
    other = connect(path)
    other.execute("insert into feed (pos, items) values (2, '[[9,77,0]]')")
    other.close()
    async with asyncio.timeout(5):
        while feed.settled < 2:
            await asyncio.sleep(0.005)


async def test_another_process_that_never_ends(
    db: SqliteDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOCK_WAIT_MAX_MS", 50)
    other = connect(path)
    other.execute("begin immediate")
    assert await _reasons(_add(db, 1)) == [Unready.BUSY]
    other.execute("rollback")
    other.close()
    assert await _add(db, 2) == 1


async def test_a_long_read_ends_when_nobody_waits(db: SqliteDatabase) -> None:
    async def scan() -> None:
        async with db.read(long=True) as snap:
            await snap.one(ENDLESS)

    tasks = [asyncio.create_task(scan()) for _ in range(4)]  # more than there are threads
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5), db.read(long=True) as snap:
        assert await snap.one(COUNT) == (0,)


async def test_a_long_read_has_a_limit(db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONG_READ_MAX_MS", 20)
    with pytest.raises(Unavailable) as caught:
        async with db.read(long=True) as snap:
            await snap.one(ENDLESS)
    assert caught.value.reason is Unready.TIMEOUT


async def test_snapshots_are_bounded(db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SNAPSHOTS_MAX", 2)
    async with db.read() as one, db.read() as two:
        assert await one.one(COUNT) == await two.one(COUNT) == (0,)
        with pytest.raises(Unavailable):
            async with db.read():
                pass
    async with db.read() as snap:
        assert await snap.one(COUNT) == (0,)


async def test_the_log_is_cut_back(
    db: SqliteDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied into the file every 2,000 pages, so it stays a little above that."""
    for key in range(40):
        async with db.write() as tx:
            await tx.many(
                ADD,
                [{"no": key * 100 + n, "n": 0, "t": "x" * 4000, "b": b""} for n in range(100)],
            )
    assert path.with_name("kerwen.db-wal").stat().st_size < 13 * 1024 * 1024


async def test_nothing_is_left_open(db: SqliteDatabase, path: Path) -> None:
    async with db.read() as snap:
        await _add(db, 1)
        await db.close()
        assert await snap.one(COUNT) == (0,) or True
    assert not path.with_name("kerwen.db-wal").exists()


def test_a_bug_stays_a_bug() -> None:
    error = sqlite3.IntegrityError("UNIQUE constraint failed")
    assert translated(error) is error
    assert sqlite_link.translated(KeyError("x")).args == ("x",)


_CHILD = """
import asyncio, sys
from pathlib import Path
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.storage.probe import ADD_NO, ADD_LATE
async def main():
    feed = Feed()
    db = SqliteDatabase(Path(sys.argv[1]), feed)
    base = int(sys.argv[2])
    async def writer(n):
        for k in range(10**6):
            key = base + n * 10**7 + k * 2
            async with db.write() as tx:
                await tx.run(ADD_NO, no=key)
                tx.at_end(ADD_LATE, no=key + 1)
                tx.change(9, key)
            sys.stdout.write(f"{key} {tx.pos}\\n")
            sys.stdout.flush()
    await asyncio.gather(*[writer(n) for n in range(16)])
asyncio.run(main())
"""


async def test_what_was_acknowledged_outlives_a_kill(db: SqliteDatabase, path: Path) -> None:
    await db.close()
    acknowledged: dict[int, int] = {}
    for round_no in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), str((round_no + 1) * 10**9)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(700 + round_no * 131):
            key, pos = child.stdout.readline().split()
            acknowledged[int(key)] = int(pos)
        child.kill()
        for line in child.stdout.read().splitlines():
            if len(parts := line.split()) == 2:
                acknowledged[int(parts[0])] = int(parts[1])
        child.wait()
        child.stdout.close()
    conn = connect(path)
    stored = dict(conn.execute("select no, pos from probe"))
    rows = dict(conn.execute("select pos, items from feed order by pos"))
    conn.close()
    for key, pos in acknowledged.items():
        assert key in stored
        assert stored[key + 1] == pos
        assert rows[pos] == f"[[9,{key},0]]"
    assert list(rows) == list(range(1, len(rows) + 1))  # dense
    assert len(stored) == 2 * len(rows)  # each transaction whole, or not at all


def test_starting_up_loads_no_other_engine() -> None:
    code = (
        "import sys, kerwen.storage.open_database;"
        "bad = [m for m in ('asyncpg', 'sqlalchemy', 'ssl') if m in sys.modules];"
        "sys.exit(repr(bad) if 'asyncpg' in bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
