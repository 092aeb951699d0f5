"""What both engines promise: the `Database` interface."""

from __future__ import annotations

from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

ADD = sql("insert into ids (name, next) values (:name, :next)")
GET = sql("select next from ids where name = :name")
LATE = sql("insert into ids (name, next) values (:name, :pos)")


async def test_a_late_statement_knows_the_position(database: Database, feed: Feed) -> None:
    for wanted in (1, 2):
        async with database.write() as tx:
            tx.at_end(LATE, name=f"n{wanted}")
            tx.change(Kind.DEVICE_LIST, 7, 9)
        assert tx.pos == wanted
        assert feed.settled == wanted
        async with database.read() as snap:
            assert await snap.one(GET, name=f"n{wanted}") == (wanted,)
