"""SQLite → PostgreSQL: rows are copied with their positions, so clients' tokens go on."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from kerwen.storage.feed import settled_at
from kerwen.storage.migrate import migrate_postgres
from kerwen.storage.postgres_feed import SAVE_FLOOR, parse_items
from kerwen.storage.postgres_pool import Link, connect

_BATCH = 5_000
_TABLES = (
    "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'"
    " and name <> 'schema_version' and name not like 'search_index%' order by name"
)
# the index of words has a form of its own on each engine: it is made anew from the events
_INDEX_ANEW = (
    "insert into search_pending select event_no from events where redacted_by is null"
    " and type in ('m.room.message', 'm.room.name', 'm.room.topic') on conflict do nothing"
)


async def move_to_postgres(path: Path, dsn: str) -> int:
    """Copies a stopped server's SQLite database into an empty PostgreSQL one; the rows copied.

    One transaction: it is done whole or not at all. SystemExit if the target is not empty.
    """
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    link = await connect(dsn)
    try:
        await migrate_postgres(link)
        if await link.value("select exists (select 1 from feed) or exists (select 1 from ids)"):
            raise SystemExit("kerwen: the PostgreSQL database is not empty")
        async with link.raw.transaction():
            copied = 0
            for (table,) in source.execute(_TABLES).fetchall():
                copied += await _table(source, link, table)
            await link.call(link.raw.execute, _INDEX_ANEW)
            await _set_feed(source, link)
        return copied
    finally:
        link.raw.terminate()
        source.close()


async def _table(source: sqlite3.Connection, link: Link, table: str) -> int:
    columns = [row[1] for row in source.execute(f'pragma table_info("{table}")')]
    names = ", ".join(f'"{column}"' for column in columns)
    rows = source.execute(f'select {names} from "{table}"')
    copied = 0
    while batch := await asyncio.to_thread(rows.fetchmany, _BATCH):
        await link.raw.copy_records_to_table(table, records=batch, columns=columns)
        copied += len(batch)
    return copied


async def _set_feed(source: sqlite3.Connection, link: Link) -> None:
    row = source.execute("select pos, items from feed order by pos desc limit 1").fetchone()
    if row is None:
        return
    settled = settled_at(row[0], parse_items(row[1]))
    await link.value("select setval('feed_pos', $1)", settled)
    await link.call(link.raw.execute, SAVE_FLOOR, settled)
