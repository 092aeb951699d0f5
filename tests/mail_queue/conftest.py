"""A world for the sender, on SQLite; on both engines where a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.mail_store.house import House

from .world import World


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    """What is between servers does not depend on the engine; a test may ask for both."""
    name: str = request.param
    return name


@pytest.fixture
async def world(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[World]:
    """A house with two accounts, a DNS server, and no other mail server yet."""
    house = House(database, feed, tmp_path / "data")
    for account_no in (1, 2):
        await house.account(account_no)
    made = await World(house, tmp_path / "world").start()
    made.build()
    yield made
    await made.close()
    await house.close()
