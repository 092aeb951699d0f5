"""Takes the words of clear events into the index, many events at once."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson

from kerwen.rooms import search_words
from kerwen.rooms.store import search
from kerwen.storage.database import Database, retrying
from kerwen.storage.feed import Feed

_BATCH: Final = 200  # events of one transaction: a few milliseconds
_BATCHES_MAX: Final = 50  # that a search waits for
_LOOK_S: Final = 10.0
_PAUSE_S: Final = 0.05
_QUIET_CHANGES: Final = 200  # between two looks; with more the house is busy
_BUSY_MAX_S: Final = 60.0  # even a busy house indexes that often
_PAGES: Final = 16  # of the index merged in one transaction: a few milliseconds
_PURGE_SHARE: Final = 500  # a purge may take this part of the time


class SearchIndex:
    """Keeps the index at most a minute behind what is said, and not at all when somebody
    searches."""

    def __init__(self, db: Database, feed: Feed) -> None:
        self._db = db
        self._feed = feed
        self._seen = feed.settled
        self._purge_at = 0.0  # on the loop's clock: not before

    async def catch_up(self) -> None:
        """Takes in what is pending; of a very long backlog only the oldest part."""
        for _ in range(_BATCHES_MAX):
            if await self.take_in() < _BATCH:
                return

    async def take_in(self) -> int:
        """Takes in one batch; how many events it had."""
        async with self._db.read() as snap:
            if not await search.any_pending(snap):
                return 0
        return await retrying(self._take_in)

    async def _take_in(self) -> int:
        async with self._db.write() as tx:
            found = await search.take_pending(tx, _BATCH)
            words = []
            for event_no, room_no, event_type, client in found:
                content = orjson.loads(client + b"}")["content"]
                text = search_words.text_of(event_type, content)
                if text is not None:
                    words.append((event_no, search_words.indexed(room_no, text)))
            if words:
                await search.add(tx, words)
            return len(found)

    async def work(self) -> None:
        """The worker: takes in what is pending when the house is quiet, or once a minute.

        A search takes in what it needs itself, so nobody waits for this.
        """
        clock = asyncio.get_running_loop().time
        while True:
            waited_since = clock()
            while self._is_busy() and clock() - waited_since < _BUSY_MAX_S:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            while await self.take_in():  # noqa: ASYNC110 it waits between two pieces of work
                await asyncio.sleep(_PAUSE_S)
            begun = clock()
            if begun >= self._purge_at and await self.purge():
                self._purge_at = clock() + (clock() - begun) * _PURGE_SHARE
            await asyncio.sleep(_LOOK_S)

    async def purge(self) -> bool:
        """Removes the words of deleted rows that are left in the index, if there are any."""
        async with self._db.read() as snap:
            if not await search.any_forgotten(snap):
                return False
        async with self._db.write() as tx:
            most = await search.begin_purge(tx, _PAGES)
        for _ in range(most):
            await asyncio.sleep(_PAUSE_S)
            async with self._db.write() as tx:
                if not await search.purge(tx, _PAGES):
                    break
        async with self._db.write() as tx:
            await search.end_purge(tx)
        return True

    def _is_busy(self) -> bool:
        """Whether much was written since the last look."""
        before, self._seen = self._seen, self._feed.settled
        return self._seen - before > _QUIET_CHANGES
