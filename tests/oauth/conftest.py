"""Fixtures of the OAuth tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.oauth.world import OAuthWorld
from tests.storage import engines

database = engines.database
engine = engines.engine
feed = engines.feed
postgres_server = engines.postgres_server
postgres_template = engines.postgres_template
sqlite_template = engines.sqlite_template


@pytest.fixture
async def world(database: Database, feed: Feed) -> AsyncIterator[OAuthWorld]:
    """A house where Ayna lives."""
    made = OAuthWorld(database, feed)
    await made.sign_up("ayna")
    yield made
    made.close()
