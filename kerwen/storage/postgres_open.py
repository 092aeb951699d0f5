"""Opens PostgreSQL: upgrade, follow, healthy."""

from __future__ import annotations

from kerwen.storage.feed import Feed
from kerwen.storage.feed_reader import FeedReader
from kerwen.storage.migrate import migrate_postgres
from kerwen.storage.postgres import PostgresDatabase
from kerwen.storage.postgres_feed import PostgresFeed, check_timeline
from kerwen.storage.postgres_pool import connect


async def open_postgres(
    dsn: str, feed: Feed, *, strict: bool = False, strict_locks: bool = False
) -> PostgresDatabase:
    """A worker's database, when its feed has settled all that was there."""
    link = await connect(dsn)
    try:
        await migrate_postgres(link)
        await check_timeline(link)
    finally:
        link.raw.terminate()
    reader = FeedReader(feed, PostgresFeed(dsn))
    await reader.start()
    return PostgresDatabase(dsn, feed, reader, strict=strict, strict_locks=strict_locks)
