"""A server's keys on either engine, and on both in turn."""

from __future__ import annotations

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.keys.house import House
from tests.storage.engines import (  # noqa: F401
    database,
    engine,
    feed,
    postgres_server,
    postgres_template,
    sqlite_template,
)


@pytest.fixture
async def house(database: Database, feed: Feed) -> House:  # noqa: F811
    """The keys' application with ayna (two devices), batyr and cemal."""
    made = House(database, feed)
    await made.add_people({"ayna": ["PHONE", "LAPTOP"], "batyr": ["B"], "cemal": ["C"]})
    return made
