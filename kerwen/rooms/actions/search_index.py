"""Takes the words of clear events into the index, many events at once."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson

from kerwen.rooms import search_words
from kerwen.rooms.store import search
from kerwen.storage.database import Database, retrying

_BATCH: Final = 200  # events of one transaction: a few milliseconds
_BATCHES_MAX: Final = 50  # that a search waits for
_LOOK_S: Final = 10.0
_PAUSE_S: Final = 0.05


class SearchIndex:
    """Keeps the index behind what is said by seconds, and not at all when somebody searches."""

    def __init__(self, db: Database) -> None:
        self._db = db

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
        """The worker: looks every few seconds."""
        while True:
            more = await self.take_in()
            await asyncio.sleep(_PAUSE_S if more else _LOOK_S)
