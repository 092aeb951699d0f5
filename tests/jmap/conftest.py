"""The door on both engines, and on SQLite alone where the engine cannot matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database
from tests.jmap.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The door on SQLite."""
    feed = Feed()
    database = await open_database(tmp_path / "kerwen.db", feed)
    made = World(database, feed, tmp_path / "data")
    await made.start()
    yield made
    await made.stop()
    await database.close()


@pytest.fixture
async def either_world(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[World]:
    """The door on SQLite and on PostgreSQL."""
    made = World(database, feed, tmp_path / "data")
    await made.start()
    yield made
    await made.stop()
