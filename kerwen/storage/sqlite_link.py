"""Connections to the SQLite file, their errors in our words, and snapshots to read."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.database import Row
from kerwen.storage.sql import Sql

_KEPT = 8  # connections that wait for the next reader
_WRITER_CACHE_KIB = 8_000
_READER_CACHE_KIB = 2_000
_CHECKPOINT_PAGES = 2_000  # by COMMIT, on the thread that commits

_CODES = {
    sqlite3.SQLITE_FULL: (Unready.DISK_FULL, 30_000),
    sqlite3.SQLITE_BUSY: (Unready.BUSY, 1_000),
    sqlite3.SQLITE_LOCKED: (Unready.BUSY, 1_000),
    sqlite3.SQLITE_INTERRUPT: (Unready.TIMEOUT, 5_000),
    sqlite3.SQLITE_IOERR: (Unready.DISK_FAULT, 30_000),
    sqlite3.SQLITE_READONLY: (Unready.DISK_FAULT, 30_000),
    sqlite3.SQLITE_CANTOPEN: (Unready.DISK_FAULT, 30_000),
    sqlite3.SQLITE_CORRUPT: (Unready.DISK_FAULT, 30_000),
    sqlite3.SQLITE_NOTADB: (Unready.DISK_FAULT, 30_000),
    sqlite3.SQLITE_NOMEM: (Unready.BUSY, 5_000),
}


def translated(error: BaseException) -> BaseException:
    """The engine's error as ours: a full or broken disk is told to the peer as such."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and (found := _CODES.get(code & 0xFF)) is not None:
            return Unavailable(*found, cause=f"{type(error).__name__}: {error}")
    elif isinstance(error, UnicodeEncodeError):
        return Refused(Reason.INVALID_PARAM, "A text holds a character that cannot be stored")
    return error


def is_busy(error: sqlite3.Error) -> bool:
    """True if another process writes just now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def connect(path: Path, *, query_only: bool = False, wait_s: float = 5) -> sqlite3.Connection:
    """A connection as we use it everywhere: no implicit transactions, durable commits."""
    conn = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=wait_s
    )
    try:
        conn.execute("pragma journal_mode = wal")
        conn.execute("pragma synchronous = full")
        conn.execute("pragma secure_delete = on")  # what is deleted is overwritten with zeros
        conn.execute("pragma temp_store = memory")
        conn.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        conn.execute(f"pragma journal_size_limit = {limits.WAL_KEPT_MAX}")
        kib = _READER_CACHE_KIB if query_only else _WRITER_CACHE_KIB
        conn.execute(f"pragma cache_size = -{kib}")
        if query_only:
            conn.execute("pragma query_only = on")
    except BaseException:
        conn.close()
        raise
    return conn


@contextmanager
def not_overwriting(conn: sqlite3.Connection) -> Iterator[None]:
    """What is deleted meanwhile is sealed: its pages are freed without being written once more."""
    _overwrite(conn, "fast")
    try:
        yield
    finally:
        _overwrite(conn, "on")


_texts = itertools.count()


def _overwrite(conn: sqlite3.Connection, how: str) -> None:
    # it works when it is compiled, so no text may come twice: a known one is not compiled again
    conn.execute(f"pragma secure_delete = {how} -- {next(_texts)}")


def bind(sql: Sql, params: dict[str, Any]) -> dict[str, Any]:
    """Turns lists into JSON, which `json_each` reads."""
    for name in sql.lists:
        params[name] = orjson.dumps(list(params[name])).decode()
    return params


class LiteSnap:
    """A snapshot whose statements run in the loop."""

    __slots__ = ("_conn",)

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        try:
            row: Row | None = self._conn.execute(
                sql.lite, bind(sql, params) if sql.lists else params
            ).fetchone()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise translated(error) from error
        return row

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        try:
            return self._conn.execute(
                sql.lite, bind(sql, params) if sql.lists else params
            ).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise translated(error) from error


class LiteLongSnap:
    """A snapshot whose statements run on a reader thread, each for a limited time."""

    __slots__ = ("_conn", "_pool", "running")

    def __init__(self, conn: sqlite3.Connection, pool: ThreadPoolExecutor) -> None:
        self._conn = conn
        self._pool = pool
        self.running: concurrent.futures.Future[list[Row]] | None = None

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        rows = await self.all(sql, **params)
        return rows[0] if rows else None

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        bound = bind(sql, params) if sql.lists else params
        work = self._pool.submit(self._fetch, sql.lite, bound)
        self.running = work
        loop = asyncio.get_running_loop()
        clock = loop.call_later(limits.LONG_READ_MAX_MS / 1000, self._conn.interrupt)
        try:
            rows = await asyncio.wrap_future(work)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            self.running = None
            raise translated(error) from error
        finally:
            clock.cancel()
        self.running = None
        return rows

    def _fetch(self, text: str, bound: dict[str, Any]) -> list[Row]:
        return self._conn.execute(text, bound).fetchall()


class Readers:
    """The connections for snapshots: bounded, kept for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: list[sqlite3.Connection] = []
        self._open = 0
        self._threads = ThreadPoolExecutor(2, "kerwen-read")
        self._closed = False

    def take(self, long: bool) -> tuple[sqlite3.Connection, LiteSnap | LiteLongSnap]:
        """Begins a snapshot."""
        conn = self._free.pop() if self._free else self._connect()
        try:
            conn.execute("begin")
        except sqlite3.Error as error:
            self._drop(conn)
            raise translated(error) from error
        return conn, LiteLongSnap(conn, self._threads) if long else LiteSnap(conn)

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise Unavailable(Unready.STOPPING)
        if self._open >= limits.READ_SNAPSHOTS_MAX:
            raise Unavailable(Unready.BUSY, 1_000)
        try:
            conn = connect(self._path, query_only=True)
        except sqlite3.Error as error:
            raise translated(error) from error
        self._open += 1
        return conn

    def give(self, conn: sqlite3.Connection, snap: LiteSnap | LiteLongSnap) -> None:
        """Ends a snapshot. One whose statement still runs on a thread ends with it."""
        if isinstance(snap, LiteLongSnap) and (work := snap.running) is not None:
            self._open -= 1
            if not work.cancel():
                conn.interrupt()
            work.add_done_callback(lambda _: conn.close())
            return
        if self._closed or len(self._free) >= _KEPT:
            self._drop(conn)
            return
        try:
            conn.execute("commit")
        except sqlite3.Error:
            self._drop(conn)
            return
        self._free.append(conn)

    def _drop(self, conn: sqlite3.Connection) -> None:
        self._open -= 1
        conn.close()

    def close(self) -> None:
        """Closes the free connections; those in use close when they are given back."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._free:
            self._drop(self._free.pop())


class Reading:
    """`async with db.read()`."""

    __slots__ = ("_conn", "_long", "_readers", "_snap")

    def __init__(self, readers: Readers, long: bool) -> None:
        self._readers = readers
        self._long = long

    async def __aenter__(self) -> LiteSnap | LiteLongSnap:
        self._conn, self._snap = self._readers.take(self._long)
        return self._snap

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._readers.give(self._conn, self._snap)
