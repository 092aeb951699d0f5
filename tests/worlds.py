"""Worlds of doors for fixtures: on SQLite alone, or on the engine that a test is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database


class World(Protocol):
    """What has doors that open and close."""

    async def start(self) -> None:
        """Opens them."""

    async def stop(self) -> None:
        """Closes everything."""


W = TypeVar("W", bound=World)
Make = Callable[[Database, Feed, Path], W]


@asynccontextmanager
async def opened(make: Make[W], database: Database, feed: Feed, folder: Path) -> AsyncIterator[W]:
    """A world on a database that is there."""
    made = make(database, feed, folder / "data")
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def opened_on_sqlite(make: Make[W], folder: Path) -> AsyncIterator[W]:
    """A world on a database of its own."""
    feed = Feed()
    database = await open_database(folder / "kerwen.db", feed)
    async with opened(make, database, feed, folder) as made:
        yield made
    await database.close()
