"""A table of our own on both engines."""

from __future__ import annotations

import pytest

from kerwen.storage.database import Database
from tests.storage.probe import CREATE


@pytest.fixture
async def probe(database: Database) -> Database:
    """The database with the table `probe`."""
    async with database.write() as tx:
        await tx.run(CREATE)
    return database
