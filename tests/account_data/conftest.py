"""Fixtures of the account data tests."""

from __future__ import annotations

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.account_data.world import World
from tests.storage import engines

database = engines.database
engine = engines.engine
feed = engines.feed
postgres_server = engines.postgres_server
postgres_template = engines.postgres_template
sqlite_template = engines.sqlite_template


@pytest.fixture
async def world(database: Database, feed: Feed) -> World:
    """Ayna (1), Batyr (2) and a room (5) that is known here."""
    found = World(database, feed)
    await found.add_person("ayna")
    await found.add_person("batyr")
    await found.add_room(5, "!r:a.test")
    return found
