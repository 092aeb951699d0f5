"""The stored feed on PostgreSQL: rows, holes, floor, jumps; on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import orjson

from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import settled_at
from kerwen.storage.postgres_pool import Link, connect

_log = logging.getLogger(__name__)

_COMMAND_S = 5.0  # a lock is waited for two seconds; more is a connection that hangs
JUMP_FAIL_OVER = 2**20
JUMP_RESTORE = 2**32

_ROWS = "select pos, items from feed where pos > $1 and pos <= $2 order by pos limit $3"
_NEWEST = "select coalesce(max(pos), 0) from feed"
_NEWEST_ROW = "select pos, items from feed order by pos desc limit 1"
_LAST = "select case when is_called then last_value else 0 end from feed_pos"
_FILL = """
    insert into feed (pos, items)
    select g, '[]' from generate_series($1::bigint, least($2::bigint, ({last}))) g
    where not exists (select 1 from feed f where f.pos = g)
    on conflict do nothing
""".replace("{last}", _LAST)
_FLOOR = "select pos from feed_cursor where name = 'settled' and part = 0"
SAVE_FLOOR = """
    insert into feed_cursor (name, part, pos, epoch) values ('settled', 0, $1, 0)
    on conflict (name, part) do update set pos = excluded.pos where feed_cursor.pos < excluded.pos
"""
_EVICT = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
        and state = 'active' and query like 'execute feed\\_claim(%'
        and query_start < clock_timestamp() - interval '2 seconds'
"""
_TIMELINE = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
_STORED_TIMELINE = "select pos from feed_cursor where name = 'timeline' and part = 0"
_STORE_TIMELINE = """
    insert into feed_cursor (name, part, pos, epoch) values ('timeline', 0, $1, 0)
    on conflict (name, part) do update set pos = excluded.pos
"""


def parse_items(items: str) -> list[Change]:
    """The changes of a feed row."""
    return [(kind, subject, ref) for kind, subject, ref in orjson.loads(items)]


class PostgresFeed:
    """`FeedSource` on PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        self.evicted = 0
        self._dsn = dsn
        self._link: Link | None = None
        self._turn = asyncio.Lock()

    async def _take(self) -> Link:
        if self._link is None or self._link.lost:
            if self._link is not None:
                self._link.raw.terminate()
            self._link = await connect(self._dsn, _COMMAND_S)
        return self._link

    async def rows(self, after: int, upto: int, limit: int) -> Sequence[tuple[int, list[Change]]]:
        async with self._turn:
            link = await self._take()
            found = await link.call(link.raw.fetch, _ROWS, after, upto, limit)
        return [(row[0], parse_items(row[1])) for row in found]

    async def newest(self) -> int:
        return await self._number(_NEWEST)

    async def last(self) -> int:
        return await self._number(_LAST)

    async def floor(self) -> int:
        return await self._number(_FLOOR) or 0

    async def _number(self, text: str) -> int:
        async with self._turn:
            number: int = await (await self._take()).value(text)
        return number

    async def save_floor(self, pos: int) -> None:
        async with self._turn:
            link = await self._take()
            await link.call(link.raw.execute, SAVE_FLOOR, pos)

    async def fill(self, first: int, last: int) -> int:
        async with self._turn:
            link = await self._take()
            try:
                tag: str = await link.call(link.raw.execute, _FILL, first, last)
            except Unavailable as error:
                if error.reason is not Unready.BUSY:
                    raise
                await self._evict(link)  # somebody claimed the number and hangs
                return 0
        return int(tag.rsplit(" ", 1)[1])

    async def _evict(self, link: Link) -> None:
        ended = await link.call(link.raw.fetch, _EVICT)
        self.evicted += len(ended)
        _log.warning("ended %d database sessions that hung in their last message", len(ended))

    async def close(self) -> None:
        if self._link is not None:
            self._link.raw.terminate()


async def jump(link: Link, by: int) -> int:
    """Leaves `by` numbers unused, so that no new change hides under a token of a lost future.

    After a restore, or a fail-over to a copy that lacks commits (`feed.md` §10). Returns the
    next number.
    """
    async with link.raw.transaction():
        await link.call(link.raw.execute, SAVE_FLOOR, 0)
        await link.value(_FLOOR + " for update")
        row = await link.call(link.raw.fetchrow, _NEWEST_ROW)
        settled = settled_at(row[0], parse_items(row[1])) if row else 0
        last: int = await link.value(_LAST)
        following = max(settled, last) + by
        items = orjson.dumps([[Kind.JUMP, 0, following]]).decode()
        await link.call(
            link.raw.execute, "insert into feed (pos, items) values ($1, $2)", settled + 1, items
        )
        await link.value("select setval('feed_pos', $1)", following - 1)
    return following


async def check_timeline(link: Link) -> None:
    """Jumps if this server is a copy that took over: it may lack commits that were told."""
    if await link.value("select pg_is_in_recovery()"):
        raise Unavailable(Unready.DATABASE_AWAY, 5_000, cause="this PostgreSQL is a replica")
    timeline: int = await link.value(_TIMELINE)
    stored: int | None = await link.value(_STORED_TIMELINE)
    if stored == timeline:
        return
    if stored is not None:
        following = await jump(link, JUMP_FAIL_OVER)
        _log.warning("PostgreSQL failed over; the feed jumps to %d", following)
    await link.call(link.raw.execute, _STORE_TIMELINE, timeline)
