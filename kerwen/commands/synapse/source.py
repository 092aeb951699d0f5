"""Reading a Synapse database: SQLite or PostgreSQL, as it stands at one moment.

Nothing is ever written to it. Columns that a version of Synapse does not have read as null, and a
table that it does not have is empty, so older and newer ones are read alike.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from kerwen.base.config import BadConfig

BATCH = 2_000
Row = tuple[Any, ...]


class Source(Protocol):
    """One consistent view."""

    def rows(self, text: str, *params: Any) -> Iterator[Row]:
        """Rows of a query as they are fetched, never all at once; `?` marks a parameter."""

    def columns(self, table: str) -> set[str]:
        """The columns of a table; empty if there is none."""

    def close(self) -> None:
        """Ends the connection."""


def open_source(where: str) -> Source:
    """The database behind a path or a DSN. Raises `BadConfig`."""
    if re.match(r"postgres(ql)?://", where):
        return PostgresSource(where)
    path = Path(where)
    if not path.is_file():
        raise BadConfig(f"{path}: there is no such file")
    return SqliteSource(path)


def select(source: Source, table: str, *columns: str, rest: str = "") -> str:
    """A query for columns of a table, null where the table has them not; empty: no such table."""
    known = source.columns(table)
    if not known:
        return ""
    named = ", ".join(c if c in known else f"null as {c}" for c in columns)
    return f"select {named} from {table} {rest}"


def read(source: Source, table: str, *columns: str, rest: str = "") -> Iterator[Row]:
    """Rows of a table; none if there is no such table."""
    text = select(source, table, *columns, rest=rest)
    return source.rows(text) if text else iter(())


class SqliteSource:
    """A file of Synapse's; `mode=ro` keeps even its log untouched by writes of ours."""

    def __init__(self, path: Path) -> None:
        try:
            self._conn = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            self._conn.execute("begin")
            self._conn.execute("select count(*) from schema_version").fetchone()
        except sqlite3.Error as error:
            raise BadConfig(f"{path}: {error}") from None

    def rows(self, text: str, *params: Any) -> Iterator[Row]:
        cursor = self._conn.execute(text, params)
        cursor.arraysize = BATCH
        while batch := cursor.fetchmany():
            yield from batch

    def columns(self, table: str) -> set[str]:
        found = self._conn.execute("select name from pragma_table_info(?)", (table,))
        return {row[0] for row in found}

    def close(self) -> None:
        self._conn.close()


class PostgresSource:
    """A database of Synapse's, in a read-only transaction; on a thread that has its own loop."""

    def __init__(self, dsn: str) -> None:
        import asyncpg  # type: ignore[import-untyped]

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._conn = self._do(asyncpg.connect(dsn))
            start = self._conn.transaction(isolation="repeatable_read", readonly=True)
            self._do(start.start())
            self._do(self._conn.fetchval("select count(*) from schema_version"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise BadConfig(f"the database of Synapse: {error}") from None
        self._columns: dict[str, set[str]] = {}

    def _do(self, deed: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(deed), self._loop).result()

    def rows(self, text: str, *params: Any) -> Iterator[Row]:
        numbers = iter(range(1, 100))
        text = re.sub(r"\?", lambda _: f"${next(numbers)}", text)
        cursor = self._do(self._cursor(text, params))
        while batch := self._do(cursor.fetch(BATCH)):
            for record in batch:
                yield tuple(record)

    async def _cursor(self, text: str, params: tuple[Any, ...]) -> Any:
        return await self._conn.cursor(text, *params)

    def columns(self, table: str) -> set[str]:
        if table not in self._columns:
            found = self._do(
                self._conn.fetch(
                    "select column_name from information_schema.columns"
                    " where table_name = $1 and table_schema = any (current_schemas(false))",
                    table,
                )
            )
            self._columns[table] = {record[0] for record in found}
        return self._columns[table]

    def close(self) -> None:
        self._do(self._conn.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _awaited(deed: Any) -> Any:
    return await deed
