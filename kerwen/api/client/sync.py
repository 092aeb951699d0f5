"""GET /_matrix/client/v3/sync"""

from __future__ import annotations

from typing import Any

from kerwen.accounts import account_data_store
from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.actions.sync import Asked, Sync
from kerwen.rooms.filters import Filter
from kerwen.storage.database import Database

_FILTERS_KEPT_MAX = 2_000


class SyncApi:
    """The handler of `/sync`. Compiled filters are kept: most devices use the same few."""

    def __init__(self, sync: Sync, db: Database) -> None:
        self._sync = sync
        self._db = db
        self._inline: dict[str, Filter] = {}
        self._stored: dict[tuple[int, str], Filter] = {}

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET", "/_matrix/client/v3/sync", self.sync, cost=Cost.READ, spec="CS #get-sync"
            )
        ]

    async def sync(self, request: Request) -> Any:
        """GET /_matrix/client/v3/sync"""
        caller = request.caller
        presence = request.query("set_presence", "online")
        if presence not in ("online", "offline", "unavailable"):
            raise Refused(Reason.INVALID_PARAM, "set_presence is online, offline or unavailable")
        after = b""
        if request.bool_query("use_state_after"):
            after = b"state_after"
        elif request.bool_query("org.matrix.msc4222.use_state_after"):
            after = b"org.matrix.msc4222.state_after"
        return await self._sync(
            Asked(
                caller.account_no,
                caller.user_id,
                caller.device_no,
                request.query("since") or None,
                await self._filter(request.query("filter"), caller.account_no),
                request.int_query("timeout", 0, 0, limits.SYNC_TIMEOUT_MAX_MS),
                request.bool_query("full_state"),
                after,
            )
        )

    async def _filter(self, asked: str | None, account_no: int) -> Filter:
        if not asked:
            return filters.DEFAULT
        if asked.startswith("{"):
            found = self._inline.get(asked)
            if found is None:
                found = filters.parse_json(asked)
                _keep(self._inline, asked, found)
            return found
        key = (account_no, asked)
        stored = self._stored.get(key)
        if stored is None:
            stored = await self._read_filter(account_no, asked)
            _keep(self._stored, key, stored)
        return stored

    async def _read_filter(self, account_no: int, asked: str) -> Filter:
        if not asked.isascii() or not asked.isdigit() or len(asked) > 18:
            raise Refused(Reason.INVALID_PARAM, "There is no such filter")
        async with self._db.read() as snap:
            source = await account_data_store.get_filter(snap, account_no, int(asked))
        if source is None:
            raise Refused(Reason.INVALID_PARAM, "There is no such filter")
        return filters.parse_json(source)


def _keep(kept: dict[Any, Filter], key: Any, found: Filter) -> None:
    if len(kept) >= _FILTERS_KEPT_MAX:
        kept.pop(next(iter(kept)))
    kept[key] = found
