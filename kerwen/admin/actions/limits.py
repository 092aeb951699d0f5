"""Rate limits of single accounts: a percentage of everyone's, or none at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kerwen.admin.store import limits
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Change, Database, Kind, retrying
from kerwen.storage.feed import Feed

PERCENT_MAX: Final = 100_000
_LIMITS: Final = 1  # `ref` of a change of an account: its limits


class Limits:
    """`percents`: account → percentage, for the limiter; 0: no limits."""

    def __init__(self, db: Database, feed: Feed) -> None:
        self._db = db
        self.percents: dict[int, int] = {}
        self._running: set[asyncio.Task[None]] = set()
        feed.follow(self._follow, Kind.ACCOUNT)

    async def load(self) -> None:
        """Reads all of them; at start."""
        async with self._db.read(long=True) as snap:
            self.percents.update(await limits.every(snap))

    async def of(self, account_no: int) -> int | None:
        """An account's percentage; None: as everyone."""
        async with self._db.read() as snap:
            return await limits.percent(snap, account_no)

    async def set(self, account_no: int, percent: int | None) -> None:
        """0: no limits; None: as everyone again. `Refused(INVALID_PARAM)`."""
        if percent is not None and not 0 <= percent <= PERCENT_MAX:
            raise Refused(Reason.INVALID_PARAM, f"A percentage from 0 to {PERCENT_MAX}")

        async def write() -> None:
            async with self._db.write() as tx:
                await limits.set_percent(tx, account_no, percent)
                tx.after(lambda: self._note(account_no, percent))
                tx.change(Kind.ACCOUNT, account_no, _LIMITS)

        await retrying(write)

    def _note(self, account_no: int, percent: int | None) -> None:
        if percent is None:
            self.percents.pop(account_no, None)
        else:
            self.percents[account_no] = percent

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Another worker may have set them."""
        for kind, account_no, ref in changes:
            if kind == Kind.ACCOUNT and ref == _LIMITS:
                task = asyncio.ensure_future(self._read(account_no))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _read(self, account_no: int) -> None:
        self._note(account_no, await self.of(account_no))
