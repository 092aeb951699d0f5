"""A mail house on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.mail_store.house import House


@pytest.fixture(autouse=True)
def _locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of mail without its account's lock is refused in every test here."""
    monkeypatch.setenv("KERWEN_STRICT_LOCKS", "1")


@pytest.fixture
async def house(database: Database, feed: Feed, tmp_path: Path) -> AsyncIterator[House]:
    """A house with accounts 1 and 2."""
    made = House(database, feed, tmp_path / "data")
    for account_no in (1, 2):
        await made.account(account_no)
    yield made
    await made.close()
