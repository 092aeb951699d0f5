"""Reads the feed of a database that several workers write: rows nobody told, holes nobody fills.

A hole is a number below a known one without a row: a commit under way, or a number burnt by a
failed transaction. We wait a little for its hint, then read, and after a quarter of a second
fill it: the primary key decides between us and a late writer (`feed.md` §5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from kerwen.base.errors import Unavailable
from kerwen.storage.database import Change
from kerwen.storage.feed import Feed

_log = logging.getLogger(__name__)

_POLL_S = 0.02  # without hints from the other workers
_POLL_HINTED_S = 1.0
_HINT_WAIT_S = 0.002
_HOLE_STEP_S = 0.005
_PATIENCE_S = 0.25
_PATIENCE_CHANCE_S = 0.05
_FILL_MAX = 256
_BATCH = 1_000
_AWAY_S = 0.5
_FLOOR_S = 5.0
_ALL = 2**63 - 1

Rows = Sequence[tuple[int, Sequence[Change]]]


class FeedSource(Protocol):
    """The stored feed. Errors are `Unavailable`."""

    async def rows(self, after: int, upto: int, limit: int) -> Rows:
        """Rows with `after < pos <= upto`, in order."""

    async def newest(self) -> int:
        """The greatest position with a row; 0 if there is none."""

    async def last(self) -> int:
        """The greatest number drawn."""

    async def fill(self, first: int, last: int) -> int:
        """Puts an empty row under each number of a range that has none; how many."""

    async def floor(self) -> int:
        """The saved settled position."""

    async def save_floor(self, pos: int) -> None:
        """Saves a settled position; a greater one stands."""

    async def close(self) -> None:
        """Ends its connection."""


class FeedReader:
    """The one task of a worker that reads, fills and saves the floor."""

    def __init__(
        self, feed: Feed, source: FeedSource, chance: Callable[[], float] = random.random
    ) -> None:
        self.hinted = False  # set while hints of the other workers arrive
        self.fills = 0
        self.reads = 0
        self._feed = feed
        self._source = source
        self._chance = chance
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hole = 0  # the number that is missing
        self._hole_known = 0  # the greatest known number when it was noticed
        self._hole_since = 0.0
        self._patience = 0.0
        self._read_at = float("-inf")
        self._saved = 0
        self._saved_at = 0.0

    @property
    def hole_age_ms(self) -> int:
        """How long the oldest hole has stood; 0 if there is none."""
        if not self._hole:
            return 0
        return int((asyncio.get_running_loop().time() - self._hole_since) * 1000)

    async def start(self) -> None:
        """Starts at the saved floor and returns when all that was there is settled."""
        self._feed.start_at(await self._source.floor())
        self._saved = self._feed.settled
        self._feed.last = self._source.last
        self._feed.poke = self._poked.set
        goal = await self._source.newest()
        self._task = asyncio.get_running_loop().create_task(self._run())
        while not await self._feed.until(goal):
            _log.warning("the feed stands at %d of %d", self._feed.settled, goal)

    async def stop(self) -> None:
        """Ends the task, saves the floor, tells those who wait."""
        self._feed.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(Unavailable):
            await self._save()
        await self._source.close()

    async def _run(self) -> None:
        while True:
            try:
                pause = await self.step()
            except Unavailable as error:
                _log.warning("the feed cannot be read now: %s", error.private)
                await asyncio.sleep(_AWAY_S)
                continue
            except Exception:
                _log.exception("reading the feed failed")
                await asyncio.sleep(_AWAY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()

    async def step(self) -> float:
        """One look; how long to wait for the next, in seconds."""
        self._poked.clear()
        now = asyncio.get_running_loop().time()
        if now - self._saved_at >= _FLOOR_S:
            self._saved_at = now
            await self._save()
        feed = self._feed
        if not feed.has_hole:
            self._hole = 0
            if now - self._read_at < _HINT_WAIT_S:
                return _HINT_WAIT_S
            await self._read(_ALL)
            if not feed.has_hole:
                return _POLL_HINTED_S if self.hinted else _POLL_S
        if self._hole != feed.settled + 1:
            self._notice_hole(now)
            await asyncio.sleep(_HINT_WAIT_S)  # its hint is on the way, most likely
            if self._hole == feed.settled + 1:
                await self._read(_ALL)  # not the hole alone: behind it may be a thousand others
            return 0
        await self._mend(now)
        return _HOLE_STEP_S

    def _notice_hole(self, now: float) -> None:
        self._hole = self._feed.settled + 1
        self._hole_known = self._feed.known
        self._hole_since = now
        self._patience = _PATIENCE_S + _PATIENCE_CHANCE_S * self._chance()

    async def _mend(self, now: float) -> None:
        """Reads into the hole; fills it if it is old."""
        if now - self._hole_since >= self._patience:
            # a known number proves that all below were drawn before it: they are as old
            last = min(self._hole_known - 1, self._feed.settled + _FILL_MAX)
            self.fills += await self._source.fill(self._feed.settled + 1, max(last, self._hole))
        elif now - self._read_at < _HOLE_STEP_S:
            await asyncio.sleep(_HOLE_STEP_S)
        await self._read(max(self._feed.first_ahead, self._hole))

    async def _read(self, upto: int) -> None:
        while True:
            self.reads += 1
            rows = await self._source.rows(self._feed.settled, upto, _BATCH)
            self._read_at = asyncio.get_running_loop().time()
            for pos, changes in rows:
                self._feed.hint(pos, changes)
            if len(rows) < _BATCH or self._feed.settled < rows[-1][0]:
                return

    async def _save(self) -> None:
        if self._feed.settled > self._saved:
            pos = self._feed.settled
            await self._source.save_floor(pos)
            self._saved = pos
