"""The engine for more than one machine: PostgreSQL by asyncpg; imported only when used.

A transaction is a *body* (locks, reads, bulk rows; READ COMMITTED) and a *tail*: one
simple-protocol message that draws the position, writes the feed's row, runs the late statements
and commits. So no position ever waits for this process, its event loop or the network.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from kerwen.base import limits
from kerwen.base.errors import Unavailable
from kerwen.storage.database import Row
from kerwen.storage.ending import Broken, Ending
from kerwen.storage.feed import Feed
from kerwen.storage.feed_reader import FeedReader
from kerwen.storage.literals import int_list, literal, text_list
from kerwen.storage.postgres_pool import Link, Pool, arguments
from kerwen.storage.sql import Sql, sql

_log = logging.getLogger(__name__)

_ID_BLOCK = 1_000
_CLAIM = sql("insert into feed (pos, items) values (nextval('feed_pos'), :items)")
_CLAIM_NAME = "feed_claim"  # the evictor looks for tails by it
_TOMBSTONE = (
    "insert into feed (pos, items) values (currval('feed_pos'), '[]')"
    " on conflict do nothing returning pos"
)
_RESERVE = sql(
    "insert into ids (name, next) values (:name, 1 + :count)"
    " on conflict (name) do update set next = ids.next + :count returning next"
)


class PgSnap:
    """A snapshot: REPEATABLE READ, begun with its first statement."""

    __slots__ = ("_begun", "_db", "_link", "_single")

    def __init__(self, db: PostgresDatabase, single: bool) -> None:
        self._db = db
        self._link: Link | None = None
        self._single = single
        self._begun = False

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        rows = await self.all(sql, **params)
        return rows[0] if rows else None

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        link = self._link
        if link is None:
            link = self._link = await self._db.readers.take()
            if not self._single:
                await link.execute("begin isolation level repeatable read read only")
                self._begun = True
        elif self._single and self._db.strict:
            raise Broken("a read of a single statement runs another")
        return await link.rows(sql, params)


class _Reading:
    __slots__ = ("_db", "_snap")

    def __init__(self, db: PostgresDatabase, single: bool) -> None:
        self._db = db
        self._snap = PgSnap(db, single)

    async def __aenter__(self) -> PgSnap:
        return self._snap

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        link = self._snap._link
        if link is None:
            return
        if link.lost or not self._snap._begun:
            self._db.readers.give(link)
        else:  # nobody needs to wait for the end of a snapshot
            self._db.behind(_end_snapshot(self._db.readers, link))


async def _end_snapshot(pool: Pool, link: Link) -> None:
    try:
        await link.execute("commit")
    finally:
        pool.give(link)


class PgTx(Ending):
    """A transaction on one link."""

    __slots__ = ("_begun", "_broke", "_db", "_link")

    def __init__(self, db: PostgresDatabase, link: Link) -> None:
        super().__init__(db.strict)
        self._db = db
        self._link = link
        self._begun = False
        self._broke: BaseException | None = None

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        rows = await self.all(sql, **params)
        return rows[0] if rows else None

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        rows: list[Row] = await self._do(sql, self._link.rows, sql, params)
        return rows

    async def run(self, sql: Sql, **params: Any) -> int:
        raw = self._link.raw
        call = self._link.call
        tag = await self._do(sql, call, raw.execute, sql.postgres, *arguments(sql, params))
        return _count(tag)

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        assert not sql.lists, "no lists in many"
        names = sql.names
        many = [[row[name] for name in names] for row in rows]
        await self._do(sql, self._link.call, self._link.raw.executemany, sql.postgres, many)

    async def _do(self, sql: Sql, deed: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if self._broke is not None:
            raise self._broke  # after an error only the end is left
        if self._strict:
            self.check_body(sql)
        if not self._begun:
            self._begun = True
            await self._link.execute("begin")
        try:
            return await deed(*args)
        except Exception as error:
            self._broke = error
            raise

    async def finish(self) -> None:
        """The tail; the link is given back, the change told. Errors come out as ours."""
        try:
            if self._broke is not None:
                await self._undo()
                raise self._broke
            if self._begun or self._tail or self._changes:
                await self._commit()
        finally:
            self._db.writers.give(self._link)
        self.run_after()
        if self.pos:
            self._db.feed.tell(self.pos, self._changes)

    async def _commit(self) -> None:
        link = self._link
        try:
            if self._strict:
                self.check_end(self._db.strict_locks)
            message = self._message()
            await self._prepare()
            await link.execute(message)
        except BaseException:
            await self._undo()
            raise
        if self._changes:
            try:
                self.pos = await link.value("select currval('feed_pos')")
            except Unavailable:
                pass  # committed all the same; the feed's reader will find the row

    def _message(self) -> str:
        parts = []
        if self._changes:
            parts.append(f"execute {_CLAIM_NAME}({literal(self.items())})")
        parts += [_execute(statement, params) for statement, params in self._tail]
        if self._begun:  # without a body the message is a transaction by itself
            parts.append("commit")
        message = "; ".join(parts)
        assert len(message) <= limits.TAIL_BYTES_MAX, "too much text at the end"
        return message

    async def _prepare(self) -> None:
        """Prepares what this link has not prepared yet."""
        known = self._link.prepared
        if self._changes and _CLAIM.number not in known:
            await self._link.execute(f"prepare {_CLAIM_NAME} as {_CLAIM.postgres}")
            known.add(_CLAIM.number)
        for statement, _ in self._tail:
            number = statement.number
            if number not in known:  # what is prepared stays, whatever comes after
                await self._link.execute(f"prepare s{number} as {statement.postgres}")
                known.add(number)

    async def _undo(self) -> None:
        """After a failed tail: its number is burnt, so it is filled at once."""
        link = self._link
        if link.lost:
            return
        try:
            await link.execute("rollback")
            if self._changes and (pos := await link.value(_TOMBSTONE)) is not None:
                self._db.feed.tell(pos, [])
        except Exception as error:
            if getattr(error, "sqlstate", None) != "55000":  # no number was drawn yet
                _log.warning("could not clean up after a failed transaction: %r", error)
                link.busy = True  # in doubt: not to be used again

    async def undo(self) -> None:
        """Rolls the body back and gives the link back."""
        link = self._link
        try:
            if self._begun and not link.lost:
                await link.execute("rollback")
        except Exception as error:
            _log.warning("could not roll back: %r", error)
            link.busy = True
        finally:
            self._db.writers.give(link)


def _execute(statement: Sql, params: dict[str, Any]) -> str:
    if not statement.names:
        return f"execute s{statement.number}"
    words = []
    for name in statement.names:
        if name == "pos":
            words.append("currval('feed_pos')")
        elif name in statement.lists:
            as_list = text_list if name in statement.text_lists else int_list
            words.append(as_list(params[name]))
        else:
            words.append(literal(params[name]))
    return f"execute s{statement.number}({', '.join(words)})"


def _count(tag: str) -> int:
    """The rows of a command tag: `INSERT 0 3`, `UPDATE 2`."""
    last = tag.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else 0


class _Writing:
    __slots__ = ("_db", "_tx")

    def __init__(self, db: PostgresDatabase) -> None:
        self._db = db

    async def __aenter__(self) -> PgTx:
        if self._db.strict:
            self._db.enter_write()
        try:
            self._tx = PgTx(self._db, await self._db.writers.take())
        except BaseException:
            self._db.leave_write()
            raise
        return self._tx

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.leave_write()
        if error is None:
            # not to be cut short: what the server does then, nobody would know
            await asyncio.shield(self._db.behind(self._tx.finish()))
            return
        undoing = self._db.behind(self._tx.undo())
        if isinstance(error, Exception):
            await asyncio.shield(undoing)


class PostgresDatabase:
    """The `Database` of one worker. Opened by `open_postgres`, which migrates and follows."""

    alone: bool = False

    def __init__(
        self,
        dsn: str,
        feed: Feed,
        reader: FeedReader,
        *,
        strict: bool = False,
        strict_locks: bool = False,
    ) -> None:
        self.dsn = dsn
        self.reader = reader
        self.feed = feed
        self.strict = strict
        self.strict_locks = strict_locks
        self.readers = Pool(dsn, limits.READ_LINKS_MAX)
        self.writers = Pool(dsn, limits.WRITE_LINKS_MAX)
        self._behind: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[Any] | None] = set()
        self._ids: dict[str, tuple[int, int]] = {}
        self._id_lock = asyncio.Lock()

    def read(self, *, long: bool = False, single: bool = False) -> _Reading:
        """A snapshot. `single` promises one statement, which saves two round trips."""
        return _Reading(self, single)

    def write(self) -> _Writing:
        return _Writing(self)

    def behind(self, deed: Any) -> asyncio.Task[None]:
        """Runs a deed to its end whatever becomes of its caller."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(deed)
        self._behind.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._behind.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaits it is told; nobody need be left

    def enter_write(self) -> None:
        """Strict: one task has one transaction at a time."""
        task = asyncio.current_task()
        if task in self._writing:
            raise Broken("a transaction inside a transaction")
        self._writing.add(task)

    def leave_write(self) -> None:
        if self.strict:
            self._writing.discard(asyncio.current_task())

    async def take_id(self, name: str, count: int = 1) -> int:
        if self.strict and asyncio.current_task() in self._writing:
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
        link = await self.writers.take()
        try:
            rows = await link.rows(_RESERVE, {"name": name, "count": count})
        finally:
            self.writers.give(link)
        end: int = rows[0][0]
        return end - count, end

    async def close(self) -> None:
        """Lets what runs end, then closes every connection."""
        while self._behind:
            await asyncio.wait(self._behind, timeout=10)
        await self.reader.stop()
        await self.writers.close()
        await self.readers.close()
