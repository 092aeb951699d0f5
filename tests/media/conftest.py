"""A media API on either engine and real files, called through the real App."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.media.house import House


@pytest_asyncio.fixture
async def house(tmp_path: Path, database: Database, feed: Feed) -> AsyncIterator[House]:
    built = House(tmp_path, database=(database, feed))
    yield built
    await built.close()
