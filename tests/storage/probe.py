"""Statements of the table `probe`, which only these tests have."""

from __future__ import annotations

from typing import Any

from kerwen.storage.database import Database
from kerwen.storage.sql import sql

CREATE = sql("create table if not exists probe (no {id}, n BIGINT, t TEXT, b {blob}, pos BIGINT)")
ADD = sql("insert into probe (no, n, t, b) values (:no, :n, :t, :b)")
ADD_NO = sql("insert into probe (no) values (:no)")
ADD_LATE = sql("insert into probe (no, pos) values (:no, :pos)")
LATE_FULL = sql("insert into probe (no, n, t, b, pos) values (:no, :n, :t, :b, :pos)")
SET = sql("update probe set n = :n where no = :no")
BUMP = sql("update probe set n = n + 1 where no = :no")
LOCK = sql("select n from probe where no = :no {for_update}")
GET = sql("select n, t, b from probe where no = :no")
POS = sql("select pos from probe where no = :no")
NUMBERS = sql("select no from probe order by no")
COUNT = sql("select count(*) from probe")
FEED = sql("select pos, items from feed order by pos")


async def numbers(db: Database) -> list[int]:
    """The keys in the table."""
    async with db.read() as snap:
        return [row[0] for row in await snap.all(NUMBERS)]


async def feed_rows(db: Database) -> list[tuple[Any, ...]]:
    """All rows of the feed."""
    async with db.read() as snap:
        return await snap.all(FEED)
