"""Filling a new SQLite file in one go, through the stores that fill it every day.

`BulkTx` is a transaction for a database that nobody has open: its statements run at once, those
`at_end` too, with the position that the caller has set. It tells nobody. The file is written
without a journal and without syncs, so it is worth nothing until `BulkFile` has made it whole.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from kerwen.storage.backup import jump_sqlite
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sql import Sql
from kerwen.storage.sqlite_link import LiteSnap, bind, translated

_CACHE_KIB = 64_000
_SUFFIXES = ("", "-wal", "-shm", "-journal")


class BulkTx(LiteSnap):
    """A `Tx` whose `pos` is set from outside, before each statement that names it."""

    __slots__ = ("pos",)

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn)
        self.pos = 0

    async def run(self, sql: Sql, **params: Any) -> int:
        """Runs a statement; the number of rows it changed."""
        return self._now(sql, params)

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement for each mapping of parameters."""
        try:
            self._conn.executemany(sql.lite, rows)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise translated(error) from error

    def at_end(self, sql: Sql, **params: Any) -> None:
        """Runs a statement now."""
        if sql.uses_pos:
            params["pos"] = self.pos
        self._now(sql, params)

    def change(self, kind: int, subject: int, ref: int = 0) -> None:
        """There is nobody to be told."""

    def change_all(self, kind: int, subjects: Iterable[int]) -> None:
        """There is nobody to be told."""

    def lock(self, kind: int, subject: int) -> None:
        """There is nobody else."""

    def after(self, deed: Callable[[], None]) -> None:
        """What is written is seen at once."""
        deed()

    def _now(self, sql: Sql, params: dict[str, Any]) -> int:
        try:
            return self._conn.execute(sql.lite, bind(sql, params) if sql.lists else params).rowcount
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise translated(error) from error


class BulkFile:
    """A database under way: `with BulkFile(path) as bulk` gives `bulk.tx` and `bulk.take`;
    `bulk.finish(pos)` puts the whole file in its place, else nothing is left.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.with_name(target.name + ".import")
        self._taken: dict[str, int] = {}

    def __enter__(self) -> BulkFile:
        self._remove()
        migrate_sqlite(self._part)
        self._conn = sqlite3.connect(
            self._part, isolation_level=None, cached_statements=512, check_same_thread=False
        )
        self._conn.execute("pragma journal_mode = off")
        self._conn.execute("pragma synchronous = off")
        self._conn.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._conn.execute("begin exclusive")
        self.tx = BulkTx(self._conn)
        return self

    def take(self, name: str, count: int = 1) -> int:
        """The first of `count` fresh numbers of a series, as `Database.take_id` gives them."""
        first = self._taken.get(name, 1)
        self._taken[name] = first + count
        return first

    def finish(self, pos: int) -> None:
        """The file is whole: the feed goes on after `pos`. On disk when this returns."""
        rows = list(self._taken.items())
        self._conn.executemany("insert into ids (name, next) values (?, ?)", rows)
        self._conn.execute("commit")
        self._conn.close()
        jump_sqlite(self._part, pos + 1)
        for path in (self._part, self._part.parent):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)

    @property
    def path(self) -> Path:
        """Where the file lies until `place`."""
        return self._part

    def place(self) -> None:
        """Gives the finished file its name."""
        self._part.rename(self._target)
        folder = os.open(self._target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._conn.close()
        self._remove()

    def _remove(self) -> None:
        for suffix in _SUFFIXES:
            self._part.with_name(self._part.name + suffix).unlink(missing_ok=True)
