"""The embedded engine: SQLite in WAL mode, one writer, group commit.

Statements of a transaction run in the event loop itself (a look-up by key costs 7 µs, a hop to
a thread 40); only COMMIT, which waits for the disk, runs in a thread. While it runs, the next
transactions queue; when it ends they run one after the other, a savepoint each, and share the
next COMMIT. So a busy server pays a part of an fsync per transaction, and a failure fails one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.database import Change, Row
from kerwen.storage.feed import Feed
from kerwen.storage.sql import Sql, sql

_ID_BLOCK = 1_000
_FEED_ROW = sql("insert into feed (pos, items) values (:pos, :items)")


def connect(path: Path, *, query_only: bool = False) -> sqlite3.Connection:
    """A connection as we use it everywhere: no implicit transactions, durable commits."""
    conn = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=5
    )
    conn.execute("pragma journal_mode = wal")
    conn.execute("pragma synchronous = full")
    conn.execute("pragma temp_store = memory")
    conn.execute("pragma cache_size = -8000")
    if query_only:
        conn.execute("pragma query_only = on")
    return conn


def _bind(sql: Sql, params: dict[str, Any]) -> dict[str, Any]:
    for name in sql.lists:
        params[name] = orjson.dumps(list(params[name])).decode()
    return params


class LiteSnap:
    """A snapshot whose statements run in the loop."""

    __slots__ = ("_conn",)

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        row: Row | None = self._conn.execute(
            sql.lite, _bind(sql, params) if sql.lists else params
        ).fetchone()
        return row

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        return self._conn.execute(
            sql.lite, _bind(sql, params) if sql.lists else params
        ).fetchall()


class LiteLongSnap:
    """A snapshot whose statements run on a reader thread."""

    __slots__ = ("_conn", "_pool")

    def __init__(self, conn: sqlite3.Connection, pool: ThreadPoolExecutor) -> None:
        self._conn = conn
        self._pool = pool

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        rows = await self.all(sql, **params)
        return rows[0] if rows else None

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        bound = _bind(sql, params) if sql.lists else params
        loop = asyncio.get_running_loop()
        rows: list[Row] = await loop.run_in_executor(
            self._pool, lambda: self._conn.execute(sql.lite, bound).fetchall()
        )
        return rows


class LiteTx(LiteSnap):
    """A transaction: a savepoint in the group that shares one commit."""

    __slots__ = ("_after", "_changes", "_done", "_tail", "pos")

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn)
        self.pos = 0
        self._tail: list[tuple[Sql, dict[str, Any]]] = []
        self._changes: list[Change] = []
        self._after: list[Callable[[], None]] = []
        self._done: asyncio.Future[None] | None = None

    async def run(self, sql: Sql, **params: Any) -> int:
        return self._conn.execute(
            sql.lite, _bind(sql, params) if sql.lists else params
        ).rowcount

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        self._conn.executemany(sql.lite, rows)

    def at_end(self, sql: Sql, **params: Any) -> None:
        assert len(self._tail) < limits.TAIL_STATEMENTS_MAX
        self._tail.append((sql, params))

    def change(self, kind: int, subject: int, ref: int = 0) -> None:
        self._changes.append((int(kind), subject, ref))

    def after(self, deed: Callable[[], None]) -> None:
        self._after.append(deed)

    def finish(self, pos: int) -> bool:
        """Runs the tail; true if the position was used."""
        conn = self._conn
        if self._changes:
            self.pos = pos
            items = "[" + ",".join("[%d,%d,%d]" % c for c in self._changes) + "]"
            conn.execute(_FEED_ROW.lite, {"pos": pos, "items": items})
        for statement, params in self._tail:
            if statement.uses_pos:
                assert self._changes, "a statement with :pos needs a change to tell"
                params["pos"] = pos
            conn.execute(statement.lite, _bind(statement, params) if statement.lists else params)
        return bool(self._changes)


class _Reading:
    __slots__ = ("_conn", "_db", "_long")

    def __init__(self, db: SqliteDatabase, long: bool) -> None:
        self._db = db
        self._long = long

    async def __aenter__(self) -> LiteSnap | LiteLongSnap:
        free = self._db.free
        self._conn = free.pop() if free else connect(self._db.path, query_only=True)
        self._conn.execute("begin")
        if self._long:
            return LiteLongSnap(self._conn, self._db.readers)
        return LiteSnap(self._conn)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._long and kind is asyncio.CancelledError:
            # its statement may still run on the thread; the connection is not given back
            self._db.readers.submit(self._conn.close)
            return
        self._conn.execute("commit")
        self._db.free.append(self._conn)


class _Writing:
    __slots__ = ("_db", "_tx")

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db

    async def __aenter__(self) -> LiteTx:
        self._tx = await self._db.begin()
        return self._tx

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._db.abandon(self._tx, error)
            return
        await self._db.end(self._tx)


class SqliteDatabase:
    """The `Database` of one process on one file."""

    def __init__(self, path: Path, feed: Feed, *, strict: bool = False) -> None:
        self.path = path
        self.free: list[sqlite3.Connection] = []
        self.readers = ThreadPoolExecutor(2, "kerwen-read")
        self._committer = ThreadPoolExecutor(1, "kerwen-commit")
        self._feed = feed
        self._conn = connect(path)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = False  # a body runs, or a commit
        self._open = False  # the group has begun
        self._group: list[LiteTx] = []
        self._closed = False
        self._ids: dict[str, tuple[int, int]] = {}
        self._id_lock = asyncio.Lock()
        row = self._conn.execute("select max(pos) from feed").fetchone()
        self._last_pos: int = row[0] or 0
        self._group_floor = self._last_pos
        feed.start_at(self._last_pos)

    def read(self, *, long: bool = False) -> _Reading:
        return _Reading(self, long)

    def write(self) -> _Writing:
        return _Writing(self)

    async def begin(self) -> LiteTx:
        """Waits for the turn, then opens a savepoint."""
        if self._closed:
            raise Unavailable(Unready.STOPPING)
        if self._busy or self._waiting:
            await self._wait_turn()
        self._busy = True
        try:
            if not self._open:
                self._conn.execute("begin immediate")
                self._open = True
                self._group_floor = self._last_pos
            self._conn.execute("savepoint job")
        except sqlite3.Error as error:
            self._pass_on()
            raise _translated(error) from error
        return LiteTx(self._conn)

    async def _wait_turn(self) -> None:
        if len(self._waiting) >= limits.WRITE_QUEUE_MAX:
            raise Unavailable(Unready.BUSY, 2000)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # the turn was ours already
            else:
                self._waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        """Gives the turn to the next who waits; with none left, commits what the group holds."""
        if self._waiting and len(self._group) < limits.WRITE_GROUP_MAX:
            self._busy = True
            turn = self._waiting.popleft()
            while turn.cancelled() and self._waiting:
                turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._busy = False
        if self._open:
            # a moment later, so that tasks of this round of the loop can join the group
            asyncio.get_running_loop().call_soon(self._commit)

    def abandon(self, tx: LiteTx, error: BaseException) -> None:
        """Undoes one transaction; the others of its group stand."""
        try:
            if self._conn.in_transaction:
                self._conn.execute("rollback to job")
                self._conn.execute("release job")
            else:
                self._fail_group(error)  # SQLite gave up the whole transaction (disk full)
        finally:
            self._pass_on()
        if isinstance(error, sqlite3.Error):
            raise _translated(error) from error

    async def end(self, tx: LiteTx) -> None:
        """Runs the tail, joins the group and waits until it is on disk."""
        try:
            used = tx.finish(self._last_pos + 1)
            self._conn.execute("release job")
        except BaseException as error:
            self.abandon(tx, error)
            raise
        if used:
            self._last_pos += 1
        done = tx._done = asyncio.get_running_loop().create_future()
        self._group.append(tx)
        self._pass_on()
        await done

    def _commit(self) -> None:
        if self._busy or not self._open:
            return
        self._busy = True
        if not self._group:
            self._conn.execute("rollback")
            self._open = False
            self._pass_on()
            return
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._committer, self._conn.execute, "commit")
        work.add_done_callback(self._committed)

    def _committed(self, work: asyncio.Future[Any]) -> None:
        error = work.exception()
        if error is not None:
            if self._conn.in_transaction:
                self._conn.execute("rollback")
            self._fail_group(error)
        else:
            group, self._group = self._group, []
            self._open = False
            for tx in group:
                for deed in tx._after:
                    deed()
                if tx.pos:
                    self._feed.hint(tx.pos, tx._changes)
            for tx in group:
                if tx._done is not None and not tx._done.done():
                    tx._done.set_result(None)
        self._pass_on()

    def _fail_group(self, error: BaseException) -> None:
        group, self._group = self._group, []
        self._open = False
        self._last_pos = self._group_floor
        for tx in group:
            if tx._done is not None and not tx._done.done():
                tx._done.set_exception(_translated(error))

    async def take_id(self, name: str, count: int = 1) -> int:
        following, end = self._ids.get(name, (0, 0))
        if following + count > end:
            async with self._id_lock:
                following, end = self._ids.get(name, (0, 0))
                if following + count > end:
                    following, end = await self._reserve(name, max(count, _ID_BLOCK))
                self._ids[name] = (following + count, end)
                return following
        self._ids[name] = (following + count, end)
        return following

    async def _reserve(self, name: str, count: int) -> tuple[int, int]:
        async with self.write() as tx:
            row = await tx.one(_RESERVE, name=name, count=count)
        assert row is not None
        return row[0] - count, row[0]

    async def close(self) -> None:
        """Lets the running group end, then closes every connection."""
        self._closed = True
        while self._busy or self._open or self._waiting:
            await asyncio.sleep(0.005)
        self._committer.shutdown()
        self.readers.shutdown()
        for conn in self.free:
            conn.close()
        self._conn.close()


_RESERVE = sql(
    "insert into ids (name, next) values (:name, 1 + :count)"
    " on conflict (name) do update set next = ids.next + :count returning next"
)


def _translated(error: BaseException) -> BaseException:
    """Engine's error to ours: a full or broken disk is told to the peer as such."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "full" in text:
            return Unavailable(Unready.DISK_FULL, 30_000, cause=text)
        if "locked" in text or "busy" in text:
            return Unavailable(Unready.BUSY, 1000, cause=text)
        if "I/O" in text or "readonly" in text or "unable to open" in text:
            return Unavailable(Unready.DISK_FAULT, 30_000, cause=text)
    return error
