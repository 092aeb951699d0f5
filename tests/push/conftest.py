"""A messenger (`house` on SQLite, `both` on either engine) and a push gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.push.gateway import FakeGateway, fake_gateway
from tests.rooms.house import House, sqlite_house


@pytest.fixture
async def house(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[House]:
    """The messenger on an empty SQLite file."""
    made = sqlite_house(tmp_path, sqlite_template)
    yield made
    await made.messenger.outgoing.close()
    await made.close()
    assert not made.bugs, made.bugs


@pytest.fixture
async def both(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[House]:
    """The messenger on either engine."""
    made = House(database, feed, tmp_path)
    yield made
    await made.messenger.outgoing.close()
    assert not made.bugs, made.bugs


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    """Somebody's push gateway."""
    async with fake_gateway() as made:
        yield made
