"""A messenger with one application service, on SQLite (`world`) or on both engines (`both`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.app_services.service import FakeService, fake_service
from tests.app_services.world import World


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    """Somebody's bridge."""
    async with fake_service() as made:
        yield made


@pytest.fixture
async def both(
    database: Database, feed: Feed, tmp_path: Path, service: FakeService
) -> AsyncIterator[World]:
    """The messenger on either engine."""
    made = await World.make(database, feed, tmp_path, service)
    yield made
    await made.close()
    assert not made.house.bugs, made.house.bugs


@pytest.fixture
async def world(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> AsyncIterator[World]:
    """The messenger on SQLite."""
    made = await World.on_sqlite(sqlite_template, tmp_path, service)
    yield made
    await made.close(database=True)
    assert not made.house.bugs, made.house.bugs
