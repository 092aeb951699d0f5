"""The index of words of clear events, and what is still to be taken into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from kerwen.rooms.search_words import Question
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_END = 2**62
# stand in `search_pending` while deleted rows' words are left in the index
_FORGOTTEN = -1
_PURGING = -2  # ... and are on their way out

_NOTE = sql("insert into search_pending (event_no) values (:event_no)")
_ANY = sql("select 1 from search_pending where event_no > 0 limit 1")
_PENDING = sql(
    "select event_no from search_pending where event_no > 0 order by event_no limit :count"
    " {for_update} {skip_locked}"
)
_TEXTS = sql("select event_no, room_no, type, client from events where event_no {in_ints:nos}")
_ADD = sql("insert into search_index (rowid, words) values (:event_no, {search_value})")
_DONE = sql("delete from search_pending where event_no {in_ints:nos}")
_FORGET_PENDING = sql("delete from search_pending where event_no = :event_no")
_FORGET = sql("delete from search_index where rowid = :event_no")
_FORGET_PENDING_MANY = sql("delete from search_pending where event_no {in_ints:nos}")
_FORGET_MANY = sql("delete from search_index where rowid {in_ints:nos}")
_NOTE_FORGOTTEN = sql(
    "insert into search_pending (event_no) values (:mark) on conflict (event_no) do nothing"
)
_ANY_FORGOTTEN = sql("select 1 from search_pending where event_no < 0 limit 1")
_SEGMENTS = sql("{search_segments}")
_MERGE = sql("{search_merge}")
_FOUND = (
    " from search_index join events e on e.event_no = search_index.rowid"
    " where {search_match} and e.room_no {in_ints:rooms} and e.type {in_texts:types}"
    " and e.redacted_by is null"
)
_RECENT = sql(
    f"select e.event_no, e.room_no, e.seq, e.type, e.sender, 0{_FOUND}"
    " and search_index.rowid < :before order by search_index.rowid desc limit :count"
)
_NEWEST = sql(
    "select search_index.rowid from search_index"
    " where {search_match} and search_index.rowid < :before"
    " order by search_index.rowid desc limit :count"
)
_RANKED = sql(
    "select e.event_no, e.room_no, e.seq, e.type, e.sender, {search_rank} as closeness"
    f"{_FOUND} order by closeness desc, search_index.rowid desc limit :count"
)


class Hit(msgspec.Struct, gc=False):
    """An event that a search found; `rank` says how well."""

    event_no: int
    room_no: int
    seq: int
    type: str
    sender: str
    rank: float

    @staticmethod
    def of(event: Stored) -> Hit:
        """An event that was found by its place, not by how well it fits."""
        return Hit(event.event_no, event.room_no, event.seq, event.type, event.sender, 0)


def note(tx: Tx, event_no: int) -> None:
    """An event with words was written: they are taken in soon."""
    tx.at_end(_NOTE, event_no=event_no)


def forget(tx: Tx, event_no: int) -> None:
    """An event lost its words: no search finds them, and the index loses them soon (`purge`)."""
    tx.at_end(_FORGET_PENDING, event_no=event_no)
    tx.at_end(_FORGET, event_no=event_no)
    tx.at_end(_NOTE_FORGOTTEN, mark=_FORGOTTEN)


async def forget_many(tx: Tx, nos: Sequence[int]) -> None:
    """The same of many events that are removed, whether they had words or not."""
    await tx.run(_FORGET_PENDING_MANY, nos=nos)
    if await tx.run(_FORGET_MANY, nos=nos):
        await tx.run(_NOTE_FORGOTTEN, mark=_FORGOTTEN)


async def any_forgotten(snap: Snap) -> bool:
    """Whether words of deleted rows may be left in the index."""
    return await snap.one(_ANY_FORGOTTEN) is not None


async def begin_purge(tx: Tx, pages: int) -> int:
    """Begins to merge all segments of the index into one without deleted words; how often
    `purge` must follow at most. What is deleted from now on is noted anew."""
    await tx.run(_FORGET_PENDING, event_no=_FORGOTTEN)
    await tx.run(_NOTE_FORGOTTEN, mark=_PURGING)
    row = await tx.one(_SEGMENTS)
    assert row is not None, "it counts"
    segments, whole = row
    if not segments:
        return 0
    await tx.run(_MERGE, pages=-pages)
    return int(whole // pages + segments + 1)


async def purge(tx: Tx, pages: int) -> bool:
    """Merges some pages more; whether there may be more to do."""
    await tx.run(_MERGE, pages=pages)
    row = await tx.one(_SEGMENTS)
    return row is not None and row[0] > 1


async def end_purge(tx: Tx) -> None:
    """The old segments are gone, and all deleted words with them."""
    await tx.run(_FORGET_PENDING, event_no=_PURGING)


async def any_pending(snap: Snap) -> bool:
    """Whether something is still to be taken in."""
    return await snap.one(_ANY) is not None


async def take_pending(tx: Tx, count: int) -> list[tuple[int, int, str, bytes]]:
    """(event_no, room_no, type, client form) of the oldest; they count as done."""
    nos = [row[0] for row in await tx.all(_PENDING, count=count)]
    if not nos:
        return []
    rows = await tx.all(_TEXTS, nos=nos)
    await tx.run(_DONE, nos=nos)
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def add(tx: Tx, words: Sequence[tuple[int, str]]) -> None:
    """(event_no, words) into the index."""
    await tx.many(_ADD, [{"event_no": no, "words": text} for no, text in words])


async def recent(
    snap: Snap,
    asked: Question,
    rooms: Iterable[int],
    types: Iterable[str],
    count: int,
    before: int | None = None,
) -> list[Hit]:
    """The newest events that answer a question, before one event."""
    rows = await snap.all(
        _RECENT,
        lite=asked.lite,
        postgres=asked.postgres,
        rooms=list(rooms),
        types=list(types),
        before=_END if before is None else before,
        count=count,
    )
    return [Hit(*row) for row in rows]


async def newest(snap: Snap, asked: Question, count: int, before: int | None = None) -> list[int]:
    """Numbers of the newest events that answer a question, by the index alone: the rooms have to
    stand in the question."""
    before = _END if before is None else before
    rows = await snap.all(
        _NEWEST, lite=asked.lite, postgres=asked.postgres, before=before, count=count
    )
    return [row[0] for row in rows]


async def ranked(
    snap: Snap, asked: Question, rooms: Iterable[int], types: Iterable[str], count: int
) -> list[Hit]:
    """The closest events that answer a question, the newest first among equals."""
    rows = await snap.all(
        _RANKED,
        lite=asked.lite,
        postgres=asked.postgres,
        rooms=list(rooms),
        types=list(types),
        count=count,
    )
    return [Hit(*row) for row in rows]
