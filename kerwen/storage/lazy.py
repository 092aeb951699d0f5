"""A snapshot that is begun by the first question: answers out of memory need none."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from kerwen.storage.database import Database, Row, Snap
from kerwen.storage.sql import Sql


class LazySnap:
    """`Snap` over `Database.read()`."""

    __slots__ = ("_db", "_reading", "_snap")

    def __init__(self, db: Database) -> None:
        self._db = db
        self._reading: Any = None
        self._snap: Snap | None = None

    async def one(self, sql: Sql, **params: Any) -> Row | None:
        return await (self._snap or await self._begin()).one(sql, **params)

    async def all(self, sql: Sql, **params: Any) -> list[Row]:
        return await (self._snap or await self._begin()).all(sql, **params)

    async def _begin(self) -> Snap:
        self._reading = self._db.read()
        self._snap = await self._reading.__aenter__()
        return self._snap

    async def __aenter__(self) -> LazySnap:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reading is not None:
            await self._reading.__aexit__(kind, error, trace)
