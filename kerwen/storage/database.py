"""What an engine offers: snapshots to read, transactions to write, numbers to give.

    async with db.read() as snap:                 # a consistent view
        row = await snap.one(ROOM, room_no=7)
    async with db.write() as tx:                  # all or nothing; durable when the block ends
        await tx.run(ADD, ...)
        tx.at_end(SET_HEAD, room_no=7, ...)       # may name :pos, the transaction's position
        tx.change(Kind.EVENT, 7, seq)             # told on the feed after commit
    tx.pos                                        # known now

Inside a `write` block nothing may be awaited but `tx` (SQLite: the block holds the one writer).
`long=True` on a read moves its statements to reader threads: for scans, not for look-ups by key.
A transaction that lost a race raises `Retry`; the caller runs the whole action again (`retrying`).
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.sql import Sql

Row = tuple[Any, ...]
T = TypeVar("T")


class Kind(enum.IntEnum):
    """Kinds of change on the feed. Numbers are never reused."""

    JUMP = 0
    EVENT = 1  # subject room, ref seq
    RECEIPT = 2  # room, account
    ACCOUNT_DATA = 3  # account
    TO_DEVICE = 4  # device
    DEVICE_LIST = 5  # account
    MEMBERSHIP = 6  # room, account
    MAIL = 7  # mail account, MODSEQ
    BACKFILL = 8  # room, seq
    ACCOUNT = 9  # account: token, session, device, quota, policy
    KEY_COUNT = 10  # device: one-time or fallback keys came or went; for caches, wakes nobody

    WAKE_UP = 11  # topic of UnifiedPush, order: a phone is to be waked
    PURGE = 12  # room: events of it were removed; for caches, wakes nobody
    THREAD = 13  # account: it follows a thread, or one no more
    FILTERS = 14  # account: its Sieve scripts or its vacation; for caches, wakes nobody


Change = tuple[int, int, int]
"""(kind, subject, ref)."""


class Retry(Exception):
    """The transaction lost a race and changed nothing; run the action again."""


class Snap(Protocol):
    """A consistent view of the database."""

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        """The first row or None."""

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        """All rows; the statement itself bounds their number."""


class Tx(Snap, Protocol):
    """A transaction. `pos` is its position on the feed once it is committed (0: no change told)."""

    pos: int

    async def run(self, sql: Sql, **params: Any) -> int:
        """Runs a statement; the number of rows it changed."""

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement for each mapping of parameters."""

    def at_end(self, sql: Sql, **params: Any) -> None:
        """Runs a statement at the end; it may name `:pos`, which only such statements know."""

    def change(self, kind: int, subject: int, ref: int = 0) -> None:
        """Tells a change on the feed after commit."""

    def change_all(self, kind: int, subjects: Iterable[int]) -> None:
        """Tells one kind of change of many subjects."""

    def lock(self, kind: int, subject: int) -> None:
        """Notes that the row which orders a subject is locked by other means than a select
        `{for_update}`: by an update in the body, say. Only strict mode looks at it."""

    def after(self, deed: Callable[[], None]) -> None:
        """Runs a deed in the loop after commit and before the change is told (caches)."""


class Database(Protocol):
    """One of the two engines."""

    alone: bool
    """Whether no other worker can be on it: what a dead one held may be taken at once."""

    def read(
        self, *, long: bool = False, single: bool = False
    ) -> AbstractAsyncContextManager[Snap]:
        """A snapshot. `single` promises one statement, which on PostgreSQL saves two trips."""

    def write(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction."""

    async def take_id(self, name: str, count: int = 1) -> int:
        """The first of `count` fresh numbers of a series. Never inside a `write` block."""

    async def close(self) -> None:
        """Ends all connections; what is acknowledged is on disk already."""


async def retrying(action: Callable[[], Awaitable[T]], tries: int = 4) -> T:
    """Runs an action again when it lost a race; after that `Unavailable`."""
    for _ in range(tries):
        try:
            return await action()
        except Retry:
            continue
    raise Unavailable(Unready.BUSY, 500)
