"""The embedded engine: SQLite in WAL mode, one writer, group commit.

Statements of a transaction run in the event loop itself (a look-up by key costs 7 µs, a hop to
a thread 40); only COMMIT, which waits for the disk, runs on a thread. While it runs, the next
transactions queue; when it ends they run one after the other, a savepoint each, and share the
next COMMIT. So a busy server pays a part of an fsync per transaction, and a failure fails one.

The turn (`_busy`) is with one body, or with the thread that commits; nobody else touches the
writer's connection. Another process (`kerwen account add`) may write in between: its rows are
noticed by SQLite's data_version and told as if they were ours.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.database import Row
from kerwen.storage.ending import Broken, Ending
from kerwen.storage.feed import Feed, settled_at
from kerwen.storage.sql import Sql, sql
from kerwen.storage.sqlite_link import (
    Readers,
    Reading,
    bind,
    connect,
    is_busy,
    not_overwriting,
    translated,
)

__all__ = ["LiteTx", "SqliteDatabase", "connect"]

_log = logging.getLogger(__name__)

_ID_BLOCK = 1_000
_LOOK_S = 1.0  # how often rows of other processes are looked for
_BUSY_STEP_S = 0.005
_FEED_ROW = sql("insert into feed (pos, items) values (:pos, :items)")
_FEED_NEWEST = "select pos, items from feed order by pos desc limit 1"
_FEED_AFTER = "select pos, items from feed where pos > ? order by pos"
_RESERVE = sql(
    "insert into ids (name, next) values (:name, 1 + :count)"
    " on conflict (name) do update set next = ids.next + :count returning next"
)


class LiteTx(Ending):
    """A transaction: a savepoint in the group that shares one commit."""

    __slots__ = ("_conn", "broke", "checked", "done", "late")

    def __init__(self, conn: sqlite3.Connection, strict: bool) -> None:
        self.pos = 0  # what Ending.__init__ does, without a call: this is the hot path
        self._strict = strict
        self._tail = []
        self._changes = []
        self._after = []
        self._locked = None
        self._locks_seen = False
        self._conn = conn
        self.checked = strict  # look before each statement
        self.broke: BaseException | None = None
        self.done: asyncio.Future[None] | None = None
        self.late = False  # strict: its body was suspended

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        if self.checked:
            self._check(sql)
        try:
            row: Row | None = self._conn.execute(
                sql.lite, bind(sql, params) if sql.lists else params
            ).fetchone()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error
        return row

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        if self.checked:
            self._check(sql)
        try:
            return self._conn.execute(
                sql.lite, bind(sql, params) if sql.lists else params
            ).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error

    async def run(self, sql: Sql, **params: Any) -> int:
        if self.checked:
            self._check(sql)
        try:
            bound = bind(sql, params) if sql.lists else params
            if sql.sealed:
                with not_overwriting(self._conn):
                    return self._conn.execute(sql.lite, bound).rowcount
            return self._conn.execute(sql.lite, bound).rowcount
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        if self.checked:
            self._check(sql)
        assert not sql.lists, "no lists in many"
        try:
            self._conn.executemany(sql.lite, rows)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error

    def _check(self, sql: Sql) -> None:
        if self.broke is not None:
            raise self.broke  # as on PostgreSQL: after an error only the end is left
        if self._strict:
            self.check_body(sql)

    def _failed(self, error: BaseException) -> BaseException:
        self.broke = translated(error)
        self.checked = True
        return self.broke

    def finish(self, pos: int, locks: bool) -> bool:
        """Runs the tail; true if the position was used."""
        if self.broke is not None:
            raise self.broke
        if self._strict:
            self.check_end(locks)
            if self.late:
                raise Broken("something else was awaited inside a transaction")
        conn = self._conn
        used = bool(self._changes)
        if used:
            conn.execute(_FEED_ROW.lite, {"pos": pos, "items": self.items()})
        for statement, params in self._tail:
            if statement.uses_pos:
                assert used, "a statement with :pos needs a change to tell"
                params["pos"] = pos
            conn.execute(statement.lite, bind(statement, params) if statement.lists else params)
        if used:
            self.pos = pos
        return used


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
            self._db.abandon(error)
        else:
            await self._db.end(self._tx)


class _Committer:
    """The thread that waits for the disk. Deeds run in order; each ends with a call in the loop."""

    def __init__(self) -> None:
        self._deeds: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, loop: asyncio.AbstractEventLoop, deed: Any, text: str, ended: Any) -> None:
        """Runs `deed(text)` on the thread, then `ended(error or None)` in the loop."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="kerwen-commit", daemon=True)
            self._thread.start()
        self._deeds.put((loop, deed, text, ended))

    def _work(self) -> None:
        while (job := self._deeds.get()) is not None:
            loop, deed, text, ended = job
            error: BaseException | None = None
            try:
                deed(text)
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(ended, error)
            except RuntimeError:
                _log.warning("a commit ended after its event loop")
            del job, deed, ended, error

    def close(self) -> None:
        """Ends the thread."""
        self._deeds.put(None)
        if self._thread is not None:
            self._thread.join()


class SqliteDatabase:
    """The `Database` of one process on one file."""

    alone: bool = True

    def __init__(
        self, path: Path, feed: Feed, *, strict: bool = False, strict_locks: bool = False
    ) -> None:
        self.path = path
        self.strict = strict
        self.strict_locks = strict_locks
        self.feed = feed
        self.readers = Readers(path)
        self._committer = _Committer()
        self._conn = connect(path, wait_s=0)
        self._sound = True
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = False  # a body runs, or a commit
        self._open = False  # the group has begun
        self._group: list[LiteTx] = []
        self._owner: asyncio.Task[Any] | None = None  # whose body runs
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._looker: asyncio.TimerHandle | None = None
        self._ids: dict[str, tuple[int, int]] = {}
        self._id_lock = asyncio.Lock()
        self._version: int = self._conn.execute("pragma data_version").fetchone()[0]
        newest = self._conn.execute(_FEED_NEWEST).fetchone()
        self._last_pos = settled_at(newest[0], orjson.loads(newest[1])) if newest else 0
        self._group_floor = self._last_pos
        feed.start_at(self._last_pos)

    def read(self, *, long: bool = False, single: bool = False) -> Reading:
        """A snapshot. `single` (one statement only) matters on PostgreSQL."""
        return Reading(self.readers, long)

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
                await self._begin_group()
            self._conn.execute("savepoint job")
        except BaseException as error:
            if self._open and not self._conn.in_transaction:
                self._fail_group(error)
            self._pass_on()
            ours = translated(error)
            if ours is error:
                raise
            raise ours from error
        self._owner = asyncio.current_task()
        tx = LiteTx(self._conn, self.strict)
        if self.strict:
            asyncio.get_running_loop().call_soon(self._must_be_over, tx, self._owner)
        return tx

    async def _begin_group(self) -> None:
        if not self._sound:
            self._conn = connect(self.path, wait_s=0)
            self._sound = True
        for left in reversed(range(int(limits.LOCK_WAIT_MAX_MS / 1000 / _BUSY_STEP_S))):
            try:
                self._conn.execute("begin immediate")
                break
            except sqlite3.OperationalError as error:
                if not left or not is_busy(error):
                    raise
            await asyncio.sleep(_BUSY_STEP_S)  # another process writes
        self._open = True
        self._look_for_others()
        self._group_floor = self._last_pos

    def _must_be_over(self, tx: LiteTx, owner: object) -> None:
        """Strict: runs in the next round of the loop, when a right body is over."""
        if self._owner is owner and tx.done is None and self._conn.in_transaction:
            tx.late = True

    async def _wait_turn(self) -> None:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise Broken("a transaction inside a transaction would wait for itself")
        if len(self._waiting) >= limits.WRITE_QUEUE_MAX:
            raise Unavailable(Unready.BUSY, 2000)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()  # the turn was ours already
            raise

    def _pass_on(self) -> None:
        """Gives the turn to the next who waits; with none left, commits what the group holds."""
        self._owner = None
        self._busy = False
        if len(self._group) < limits.WRITE_GROUP_MAX:
            while self._waiting:
                turn = self._waiting.popleft()
                if not turn.done():
                    self._busy = True
                    turn.set_result(None)
                    return
        if self._open:
            # a moment later, so that tasks of this round of the loop can join the group
            asyncio.get_running_loop().call_soon(self._commit)
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def abandon(self, error: BaseException) -> None:
        """Undoes the running transaction; the others of its group stand, if SQLite lets them."""
        try:
            if self._conn.in_transaction:
                self._conn.execute("rollback to job")
                self._conn.execute("release job")
            else:
                self._fail_group(error)  # SQLite gave up the whole transaction (disk full)
        except sqlite3.Error as worse:
            self._give_up(worse)
        self._pass_on()

    async def end(self, tx: LiteTx) -> None:
        """Runs the tail, joins the group and waits until it is on disk."""
        try:
            used = tx.finish(self._last_pos + 1, self.strict_locks)
            self._conn.execute("release job")
        except BaseException as error:
            tx.pos = 0
            self.abandon(error)
            ours = translated(error)
            if ours is error:
                raise
            raise ours from error
        if used:
            self._last_pos += 1
        done = tx.done = asyncio.get_running_loop().create_future()
        self._group.append(tx)
        self._pass_on()
        await done

    def _commit(self) -> None:
        if self._busy or not self._open:
            return  # another body joined, or an earlier call did it
        self._busy = True
        # an empty group changed nothing, but its transaction must end too
        text = "commit" if self._group else "rollback"
        loop = asyncio.get_running_loop()
        self._committer.run(loop, self._conn.execute, text, self._committed)

    def _committed(self, error: BaseException | None) -> None:
        if error is not None:
            self._give_up(error)
            self._pass_on()
            return
        group, self._group = self._group, []
        self._open = False
        for tx in group:
            if tx._after:
                tx.run_after()
            if tx.pos:
                self.feed.tell(tx.pos, tx._changes)
        for tx in group:
            if tx.done is not None and not tx.done.done():
                tx.done.set_result(None)
        self._pass_on()

    def _give_up(self, error: BaseException) -> None:
        """The group is lost: rolls back; a connection that cannot even do that is replaced."""
        try:
            if self._conn.in_transaction:
                self._conn.execute("rollback")
        except sqlite3.Error:
            _log.exception("the writer's connection is broken; the next group opens another")
            self._conn.close()
            self._sound = False
        self._fail_group(error)

    def _fail_group(self, error: BaseException) -> None:
        group, self._group = self._group, []
        self._open = False
        self._last_pos = self._group_floor
        for tx in group:
            tx.pos = 0
            if tx.done is not None and not tx.done.done():
                tx.done.set_exception(translated(error))

    def _look_for_others(self) -> None:
        """Tells what another process wrote since we looked. With the turn in hand."""
        version = self._conn.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            for pos, items in self._conn.execute(_FEED_AFTER, (self._last_pos,)).fetchall():
                changes = [tuple(change) for change in orjson.loads(items)]
                self._last_pos = settled_at(pos, changes)
                self.feed.tell(pos, changes)
        if self._looker is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._looker = loop.call_later(_LOOK_S, self._look_again)

    def _look_again(self) -> None:
        self._looker = None
        if self._busy or self._open:
            self._looker = asyncio.get_running_loop().call_later(_LOOK_S, self._look_again)
            return
        try:
            self._look_for_others()
        except sqlite3.Error as error:
            _log.warning("cannot look for changes of other processes: %s", error)

    async def take_id(self, name: str, count: int = 1) -> int:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise Broken("take_id inside a transaction")
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
        """Lets the transactions that wait end, then closes every connection."""
        self._closed = True
        if self._looker is not None:
            self._looker.cancel()
        loop = asyncio.get_running_loop()
        while self._busy or self._open or self._waiting:
            self._drained = loop.create_future()
            await self._drained
        self.readers.close()
        self.feed.close()
        # the last connection copies the log into the file: not in the loop
        await loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._committer.close()
        self._conn.close()
