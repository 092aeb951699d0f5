"""Connections to PostgreSQL: made as we need them, bounded, never reset between uses.

`Link` is one connection with what was prepared on it. Every error that comes out of it is ours
already: a lost connection is `Unavailable`, a lost race `Retry`.
"""

from __future__ import annotations

import asyncio
import decimal
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.database import Retry
from kerwen.storage.sql import Sql

_log = logging.getLogger(__name__)

_SETTINGS = {
    "application_name": "kerwen",
    "lock_timeout": str(limits.LOCK_WAIT_MAX_MS),
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "30000",
    "client_connection_check_interval": "1000",  # a dead worker's locks do not outlive it long
    "jit": "off",
    "TimeZone": "UTC",
}
_CONNECT_S = 5.0
_COMMAND_S = 60.0
_TURN_S = 5.0
_STATEMENTS_KEPT = 2_000

_RACES = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_AWAY = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25006", "53300", "3D000"})
_FULL = frozenset({"53100"})
_NOT_TEXT = frozenset({"22021", "22P05"})  # a null character, or a broken one
_FAULT = frozenset({"58030", "XX001", "XX002"})


def translated(error: BaseException, lost: bool) -> BaseException:
    """An engine's error as ours. `lost`: the connection did not outlive it."""
    if isinstance(error, (Unavailable, Refused, Retry)):
        return error
    state = getattr(error, "sqlstate", None)
    cause = f"{type(error).__name__}: {error}"
    if state in _RACES or getattr(error, "constraint_name", None) == "feed_pkey":
        return Retry(cause)
    if isinstance(error, asyncpg.InvalidCachedStatementError):  # upgraded under our feet
        return Retry(cause)
    if state == "55P03":  # lock not available within lock_timeout
        return Unavailable(Unready.BUSY, 1000, cause=cause)
    if state in _FULL:
        return Unavailable(Unready.DISK_FULL, 30_000, cause=cause)
    if state in _FAULT:
        return Unavailable(Unready.DISK_FAULT, 30_000, cause=cause)
    if state in _NOT_TEXT or isinstance(error.__cause__, UnicodeEncodeError):
        return Refused(Reason.INVALID_PARAM, "A text holds a character that cannot be stored")
    if lost or _in_doubt(error):
        return Unavailable(Unready.DATABASE_AWAY, 2000, cause=cause)
    return error


def _in_doubt(error: BaseException) -> bool:
    """True if nobody can tell what the server did, or it wants us gone."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith("08") or state in _AWAY
    return isinstance(error, (OSError, asyncpg.InternalClientError))  # OSError: TimeoutError too


class Link:
    """One connection. `busy`: a message is under way; cut short, the connection is in doubt."""

    __slots__ = ("busy", "prepared", "raw")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.busy = False
        self.prepared: set[int] = set()

    async def call(self, deed: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Runs one method of the connection; errors come out as ours."""
        self.busy = True
        try:
            result = await deed(*args)
        except Exception as error:
            self.busy = False
            if _in_doubt(error):
                self.raw.terminate()
            ours = translated(error, self.raw.is_closed())
            if ours is error:
                raise
            raise ours from error
        self.busy = False
        return result

    async def rows(self, sql: Sql, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        found = await self.call(self.raw.fetch, sql.postgres, *arguments(sql, params))
        return [tuple(record) for record in found]

    async def execute(self, text: str) -> str:
        """Runs a simple-protocol message."""
        tag: str = await self.call(self.raw.execute, text)
        return tag

    async def value(self, text: str, *args: Any) -> Any:
        """The first column of the first row."""
        return await self.call(self.raw.fetchval, text, *args)

    @property
    def lost(self) -> bool:
        """True if it must not be used again."""
        return self.busy or self.raw.is_closed()


def arguments(sql: Sql, params: dict[str, Any]) -> list[Any]:
    """A statement's arguments in order."""
    if sql.lists:
        return [list(params[name]) if name in sql.lists else params[name] for name in sql.names]
    return [params[name] for name in sql.names]


def _whole(text: str) -> int | decimal.Decimal:
    """`sum(BIGINT)` is numeric on PostgreSQL; SQLite says an integer, and so do we."""
    number = decimal.Decimal(text)
    return int(number) if number == number.to_integral_value() else number


async def connect(dsn: str, command_s: float = _COMMAND_S) -> Link:
    """A connection as we use it everywhere. `Unavailable` if there is none to be had.

    A command that takes longer than `command_s` is given up, and the connection with it.
    """
    try:
        raw = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_S,
            command_timeout=command_s,
            statement_cache_size=_STATEMENTS_KEPT,
            max_cached_statement_lifetime=0,
            server_settings=_SETTINGS,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            raise
        raise Unavailable(
            Unready.DATABASE_AWAY, 2000, cause=f"{type(error).__name__}: {error}"
        ) from error
    told = raw.get_settings()
    if told.server_encoding != "UTF8" or told.standard_conforming_strings != "on":
        raw.terminate()
        raise SystemExit("kerwen: the PostgreSQL database must have the encoding UTF8")
    link = Link(raw)
    await link.call(_numbers_as_int, raw)
    return link


async def _numbers_as_int(raw: Any) -> None:
    await raw.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_whole, format="text"
    )


class Pool:
    """At most `size` links; who finds none free waits for its turn, but not for ever."""

    def __init__(self, dsn: str, size: int) -> None:
        self._dsn = dsn
        self._size = size
        self._count = 0
        self._free: list[Link] = []
        self._waiting: deque[asyncio.Future[Link | None]] = deque()
        self._closed = False

    async def take(self) -> Link:
        """A link of one's own; `give` it back. `Unavailable` if none is free in time."""
        if self._closed:
            raise Unavailable(Unready.STOPPING)
        while self._free:
            link = self._free.pop()
            if not link.lost:
                return link
            self._count -= 1
        if self._count < self._size:
            return await self._make()
        link_or_room = await self._wait()
        return link_or_room if link_or_room is not None else await self._make()

    async def _make(self) -> Link:
        self._count += 1
        try:
            return await connect(self._dsn)
        except BaseException:
            self._count -= 1
            self._hand(None)
            raise

    async def _wait(self) -> Link | None:
        if len(self._waiting) >= limits.WRITE_QUEUE_MAX:
            raise Unavailable(Unready.BUSY, 2000)
        turn: asyncio.Future[Link | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(_TURN_S):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                link = turn.result()  # came, but too late for us
                if link is None:
                    self._hand(None)
                else:
                    self.give(link)
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise Unavailable(Unready.BUSY, 2000) from error
            raise

    def _hand(self, link: Link | None) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(link)
                return True
        return False

    def give(self, link: Link) -> None:
        """Gives a link back; a lost one makes room for another."""
        if link.lost or self._closed:
            link.raw.terminate()
            self._count -= 1
            self._hand(None)
        elif not self._hand(link):
            self._free.append(link)

    async def close(self) -> None:
        """Ends the free links; those in use end when they are given back."""
        self._closed = True
        while self._free:
            link = self._free.pop()
            self._count -= 1
            try:
                await link.raw.close(timeout=2)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                link.raw.terminate()
