"""Copies taken while it runs, put back, and tokens that outlive both."""

# ruff: noqa: ASYNC240  (small files)

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.base.feed_token import FeedToken, decode, encode
from kerwen.storage import backup
from kerwen.storage.backup import backup_sqlite, copy_sqlite, restore_sqlite
from kerwen.storage.database import Kind
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from kerwen.storage.sqlite_link import connect
from tests.storage.probe import ADD_LATE, CREATE, feed_rows, numbers


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


async def _add(db: SqliteDatabase, key: int) -> int:
    async with db.write() as tx:
        tx.at_end(ADD_LATE, no=key)
        tx.change(Kind.ACCOUNT, key)
    return tx.pos


async def test_a_copy_under_writing_is_whole(
    db: SqliteDatabase, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_PAGES", 2)  # many steps
    target = tmp_path / "copy.db"
    for key in range(500):
        await _add(db, key)
    copying = asyncio.create_task(backup_sqlite(path, target))
    key = 500
    while not copying.done():
        await _add(db, key)
        key += 1
    await copying
    assert key > 505  # writers went on
    conn = sqlite3.connect(target)
    rows = conn.execute("select pos from feed order by pos").fetchall()
    probe = conn.execute("select no, pos from probe order by no").fetchall()
    conn.close()
    assert rows == [(n,) for n in range(1, len(rows) + 1)]
    assert probe == [(n, n + 1) for n in range(len(rows))]
    assert 500 <= len(rows) < key
    assert not list(tmp_path.glob("*.part"))


def test_a_copy_that_fails_leaves_nothing(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with pytest.raises(FileNotFoundError):
        copy_sqlite(tmp_path / "nothing.db", target)
    (tmp_path / "broken.db").write_bytes(path.read_bytes()[:9000])
    with pytest.raises(sqlite3.DatabaseError):
        copy_sqlite(tmp_path / "broken.db", target)
    assert not target.exists()
    assert not list(tmp_path.glob("*.part"))


async def test_tokens_newer_than_the_copy_stay_valid(
    db: SqliteDatabase, path: Path, tmp_path: Path
) -> None:
    """And no change made after the restore hides under one of them."""
    copy = tmp_path / "copy.db"
    for key in range(3):
        await _add(db, key)
    await backup_sqlite(path, copy)
    for key in range(3, 50):
        await _add(db, key)
    token = encode(FeedToken(db.feed.settled))
    await db.close()
    with pytest.raises(FileExistsError):
        restore_sqlite(copy, path)
    path.unlink()
    following = restore_sqlite(copy, path)
    assert following == 3 + 2**32
    feed = Feed()
    told: list[int] = []
    feed.follow(lambda pos, changes: told.append(pos))
    again = SqliteDatabase(path, feed)
    since = decode(token).pos
    assert since == 50
    assert await feed.until(since)  # not refused, not waited for
    assert await numbers(again) == [0, 1, 2]
    pos = await _add(again, 100)
    assert pos == following == feed.settled > since
    assert told == [following]
    assert [row[0] for row in await feed_rows(again)] == [1, 2, 3, 4, following]
    assert len(encode(FeedToken(feed.settled))) <= 32
    await again.close()
    other = SqliteDatabase(path, Feed())  # and so it starts again
    assert other.feed.settled == following
    assert await _add(other, 101) == following + 1
    await other.close()


def test_a_jump_upon_a_jump(path: Path) -> None:
    first = backup.jump_sqlite(path, 1000)
    second = backup.jump_sqlite(path, 1000)
    assert (first, second) == (1000, 1999)
    conn = connect(path)
    rows = conn.execute("select pos, items from feed order by pos").fetchall()
    conn.close()
    assert rows == [(1, "[[0,0,1000]]"), (1000, "[[0,0,1999]]")]


async def test_a_long_running_copy_does_not_stall_the_loop(
    db: SqliteDatabase, path: Path, tmp_path: Path
) -> None:
    conn = connect(path)
    conn.execute("begin")
    conn.execute("create table big (t TEXT)")
    conn.executemany("insert into big values (?)", [("x" * 4000,)] * 4000)
    conn.execute("commit")
    conn.close()
    copying = asyncio.create_task(backup_sqlite(path, tmp_path / "copy.db"))
    loop, longest, count = asyncio.get_running_loop(), 0.0, 0
    while not copying.done():
        began = loop.time()
        await asyncio.sleep(0)
        await _add(db, count)
        longest, count = max(longest, loop.time() - began), count + 1
    await copying
    assert count > 20
    assert longest < 0.5
