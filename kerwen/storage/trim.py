"""Removes feed rows that nobody needs: settled, behind every cursor, older than a week.

The feed has no times; each day a mark remembers where it stood.
"""

from __future__ import annotations

import logging

from kerwen.storage.database import Database
from kerwen.storage.sql import sql

_log = logging.getLogger(__name__)

KEPT_DAYS = 7
CURSOR_DAYS = 30
_DAY_MS = 86_400_000
_BATCH = 5_000

_ADD_MARK = sql(
    "insert into feed_cursor (name, part, pos, epoch) values ('day', :day, :settled, 0)"
    " on conflict (name, part) do nothing"
)
_MARK = sql(
    "select pos from feed_cursor where name = 'day' and part <= :day order by part desc limit 1"
)
_OLD_CURSORS = sql(
    "delete from feed_cursor where name not in ('day', 'timeline', 'settled') and pos < :before"
    " returning name, part"
)
_OLD_MARKS = sql("delete from feed_cursor where name = 'day' and part < :day")
_LOWEST = sql("select min(pos) from feed_cursor where name not in ('day', 'timeline')")
_DELETE = sql(
    "delete from feed where pos in (select pos from feed where pos <= :upto"
    " and pos < (select max(pos) from feed) order by pos limit :top)"
)


async def trim_feed(db: Database, settled: int, now_ms: int) -> int:
    """Trims once; the number of rows removed. To be called every hour or so, by any worker.

    A cursor that has not moved for 30 days is dropped: its follower starts over by a rebuild.
    """
    day = now_ms // _DAY_MS
    async with db.write() as tx:
        await tx.run(_ADD_MARK, day=day, settled=settled)
        old = await tx.one(_MARK, day=day - CURSOR_DAYS)
        if old is not None:
            for name, part in await tx.all(_OLD_CURSORS, before=old[0]):
                _log.error("follower %s, part %d, was away for 30 days; dropped", name, part)
            await tx.run(_OLD_MARKS, day=day - CURSOR_DAYS - 1)
        mark = await tx.one(_MARK, day=day - KEPT_DAYS)
        lowest = await tx.one(_LOWEST)
    if mark is None:
        return 0
    upto = min(mark[0], settled)
    if lowest is not None and lowest[0] is not None:
        upto = min(upto, lowest[0])
    return await _delete(db, upto)


async def _delete(db: Database, upto: int) -> int:
    removed = 0
    while True:
        async with db.write() as tx:
            count = await tx.run(_DELETE, upto=upto, top=_BATCH)
        removed += count
        if count < _BATCH:
            return removed
