"""The messenger of `tests/rooms`, with everything that a configuration may switch on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.rooms.house import House, sqlite_house

SETTINGS = {
    "turn_uris": ["turn:turn.kerwen.test:3478?transport=udp"],
    "turn_secret": "a secret",
    "presence": "on",
}


@pytest.fixture
async def house(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[House]:
    """The messenger on an empty SQLite file."""
    made = sqlite_house(tmp_path, sqlite_template, **SETTINGS)
    yield made
    await made.close()
    assert not made.bugs, made.bugs


@pytest.fixture
async def both(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[House]:
    """The messenger on either engine."""
    made = House(database, feed, tmp_path, **SETTINGS)
    yield made
    assert not made.bugs, made.bugs
