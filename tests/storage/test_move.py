"""SQLite → PostgreSQL with live tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kerwen.base.feed_token import FeedToken, decode, encode
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.move import move_to_postgres
from kerwen.storage.postgres_open import open_postgres
from kerwen.storage.postgres_pool import connect
from kerwen.storage.sqlite import SqliteDatabase
from tests.storage.engines import emptied
from tests.storage.probe import ADD_LATE, CREATE, LATE_FULL, feed_rows


async def _add(db: Database, key: int) -> int:
    async with db.write() as tx:
        tx.at_end(ADD_LATE, no=key)
        tx.change(Kind.ACCOUNT, key)
    return tx.pos


async def test_tokens_go_on(sqlite_template: Path, tmp_path: Path, postgres_template: str) -> None:
    path = Path(shutil.copyfile(sqlite_template, tmp_path / "kerwen.db"))
    dsn = await emptied(postgres_template)
    lite = SqliteDatabase(path, Feed(), strict=True)
    async with lite.write() as tx:
        await tx.run(CREATE)
        tx.at_end(LATE_FULL, no=1000, n=-5, t="it's é", b=b"\x00\xff")
        tx.change(Kind.ACCOUNT, 1)
    for key in range(1, 30):
        await _add(lite, key)
    first_id = await lite.take_id("event")
    token = encode(FeedToken(lite.feed.settled))
    rows = await feed_rows(lite)
    await lite.close()
    link = await connect(dsn)
    await link.execute(CREATE.postgres)

    assert await move_to_postgres(path, dsn) >= 60
    with pytest.raises(SystemExit, match="not empty"):
        await move_to_postgres(path, dsn)

    feed = Feed()
    db = await open_postgres(dsn, feed, strict=True)
    assert feed.settled == decode(token).pos == 30
    assert await feed_rows(db) == rows
    assert await feed.until(30)
    assert await _add(db, 500) == 31
    assert db.reader.fills == 0
    assert await db.take_id("event") > first_id
    row = await link.call(link.raw.fetchrow, "select n, t, b from probe where no = 1000")
    assert tuple(row) == (-5, "it's é", b"\x00\xff")
    link.raw.terminate()
    await db.close()
