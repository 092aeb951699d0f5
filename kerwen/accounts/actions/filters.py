"""Filters that clients keep here by number, and those written in a request."""

# CS #filtering

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from kerwen.accounts import account_data_store as store
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.filters import Filter
from kerwen.storage.database import Database

COMPILED_MAX: Final = 10_000


class Filters:
    """Keeps and finds filters. A kept filter never changes, so its compiled form never goes old."""

    __slots__ = ("_compiled", "_db", "_inline")

    def __init__(self, db: Database) -> None:
        self._db = db
        self._compiled: OrderedDict[tuple[int, int], Filter] = OrderedDict()
        self._inline: OrderedDict[str, Filter] = OrderedDict()

    async def add(self, account_no: int, body: dict[str, Any]) -> str:
        """Keeps a filter; the same one again has the same id. Says what is wrong with it."""
        source = filters.parse(body).source
        async with self._db.read() as snap:
            known = await store.find_filter(snap, account_no, source)
        if known is not None:
            return str(known)
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            return str(await store.add_filter(tx, account_no, source))

    async def source(self, account_no: int, filter_id: str) -> bytes:
        """The JSON of a kept filter. Says `NOT_FOUND`."""
        if not _is_id(filter_id):
            raise Refused(Reason.NOT_FOUND, "Unknown filter")
        async with self._db.read() as snap:
            found = await store.get_filter(snap, account_no, int(filter_id))
        if found is None:
            raise Refused(Reason.NOT_FOUND, "Unknown filter")
        return found

    async def of(self, account_no: int, text: str | None) -> Filter:
        """The filter that a `filter` parameter means: an id, or JSON (it begins with `{`).

        An id that is not kept reads as `INVALID_PARAM`, as for any other wrong parameter.
        """
        if not text:
            return filters.DEFAULT
        if text.startswith("{"):
            return self._inline_of(text)
        found = self._compiled.get((account_no, int(text))) if _is_id(text) else None
        if found is not None:
            return found
        try:
            source = await self.source(account_no, text)
        except Refused:
            raise Refused(Reason.INVALID_PARAM, "Unknown filter") from None
        found = self._compiled[account_no, int(text)] = filters.parse_json(source)
        while len(self._compiled) > COMPILED_MAX:
            self._compiled.popitem(last=False)
        return found

    def _inline_of(self, text: str) -> Filter:
        """Clients send the same filter with each request: the last ones stay compiled."""
        found = self._inline.get(text)
        if found is None:
            found = filters.parse_json(text)
            if len(text) <= 2_048:
                self._inline[text] = found
            while len(self._inline) > 1_000:
                self._inline.popitem(last=False)
        return found


def _is_id(text: str) -> bool:
    return len(text) <= 18 and text.isascii() and text.isdigit()
