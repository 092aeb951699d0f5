"""The doors on both engines, and on SQLite alone where the engine cannot matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.smtp.world import World
from tests.worlds import opened, opened_on_sqlite


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The doors on SQLite."""
    async with opened_on_sqlite(World, tmp_path) as made:
        yield made


@pytest.fixture
async def either_world(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[World]:
    """The doors on SQLite and on PostgreSQL."""
    async with opened(World, database, feed, tmp_path) as made:
        yield made
