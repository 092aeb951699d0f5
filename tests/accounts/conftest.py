"""Fixtures of the account tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.accounts.world import World
from tests.storage import engines

database = engines.database
engine = engines.engine
feed = engines.feed
postgres_server = engines.postgres_server
postgres_template = engines.postgres_template
sqlite_template = engines.sqlite_template


@pytest.fixture
def world(database: Database, feed: Feed) -> Iterator[World]:
    """A server with open registration."""
    world = World(database, feed)
    yield world
    world.close()
