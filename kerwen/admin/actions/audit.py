"""Writes down what administrators do: before it is done, and how it ended.

The first row is on disk before the deed begins, so no deed goes unseen, whatever breaks
meanwhile. Content never comes here: a deed tells its own numbers and switches, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import orjson

from kerwen.admin.store import audit
from kerwen.admin.store.audit import Entry
from kerwen.base.clock import Clock
from kerwen.storage.database import Database

Told = Mapping[str, int | bool | str]

_DENIED_MAX: Final = 20  # of one account in an hour: who has no right cannot fill the log
_HOUR_MS: Final = 3_600_000
_ACCOUNTS_MAX: Final = 10_000
_TARGET_MAX: Final = 512


class Audit:
    """The log."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._denied: OrderedDict[str, tuple[int, int]] = OrderedDict()  # actor → hour, count

    async def begin(self, actor: str, deed: str, target: str, told: Told | None = None) -> int:
        """Writes that a deed begins; its number."""
        entry_no = await self._db.take_id("audit")
        detail = orjson.dumps(dict(told or {})).decode()
        target = target.encode("utf-8", "replace").decode()[:_TARGET_MAX]
        async with self._db.write() as tx:
            await audit.add(tx, Entry(entry_no, self._clock(), actor, deed, target, detail))
        return entry_no

    async def end(self, entry_no: int, outcome: str) -> None:
        """Writes how it ended: `done`, or why not."""
        async with self._db.write() as tx:
            await audit.end(tx, entry_no, self._clock(), outcome)

    async def denied(self, actor: str, deed: str, target: str) -> None:
        """Somebody who is no administrator tried; of each, so many an hour are written."""
        hour = self._clock() // _HOUR_MS
        since, count = self._denied.get(actor, (hour, 0))
        count = count + 1 if since == hour else 1
        self._denied[actor] = (hour, count)
        self._denied.move_to_end(actor)
        if len(self._denied) > _ACCOUNTS_MAX:
            self._denied.popitem(last=False)
        if count <= _DENIED_MAX:
            await self.end(await self.begin(actor, deed, target), "refused: no administrator")

    async def page(self, before: int, count: int) -> list[Entry]:
        """Entries before one, the newest first."""
        async with self._db.read() as snap:
            return await audit.page(snap, before, count)
