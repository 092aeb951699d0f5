"""Opens whichever engine the configuration names, upgraded and ready."""

from __future__ import annotations

from pathlib import Path

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase

_POSTGRES = ("postgres://", "postgresql://")


async def open_database(where: str | Path, feed: Feed, *, strict: bool = False) -> Database:
    """The database behind a path (SQLite) or a DSN that begins with `postgres`.

    When it returns, the schema is current and the feed has settled what was there. Raises
    SystemExit with a line for the operator, or `Unavailable` if PostgreSQL is away.
    """
    name = str(where)
    if name.startswith(_POSTGRES):
        from kerwen.storage.postgres_open import open_postgres  # asyncpg costs memory and time

        return await open_postgres(name, feed, strict=strict)
    migrate_sqlite(Path(name))
    return SqliteDatabase(Path(name), feed, strict=strict)
