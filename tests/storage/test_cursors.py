"""Followers that outlive a worker: at least once, never missed, one owner a part."""

# ruff: noqa: ASYNC110  (tests may poll)

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kerwen.storage import cursors, trim
from kerwen.storage.cursors import (
    Batch,
    CursorFollower,
    LeaseLost,
    part_of,
    renew_lease,
    save_cursor,
    take_lease,
)
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from kerwen.storage.trim import trim_feed
from tests.storage.probe import ADD_NO, feed_rows, numbers

EXPIRE = sql("update feed_cursor set lease_until = 1 where name = :name")
LEASED = sql(
    "update feed_cursor set lease_until = {now_ms} + 100000, owner = 'a'"
    " where name = :name and part = :part"
)
CURSORS = sql("select part, pos from feed_cursor where name = :name order by part")
START = sql("insert into feed_cursor (name, part, pos, epoch) values (:name, :part, :at, 0)")
NAMES = sql("select distinct name from feed_cursor order by name")
DAY_MS = 86_400_000


async def _zero() -> int:
    return 0


async def _tell(db: Database, *subjects: int) -> None:
    for subject in subjects:
        async with db.write() as tx:
            tx.change(Kind.ACCOUNT, subject)


class Doer:
    """Notes what it was given; may die before the save."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self.dies = False

    async def deed(self, batch: Batch) -> None:
        assert {part_of(change[1]) for _, _, change in batch.items} == {batch.lease.part}
        self.done += [(pos, change[1]) for pos, _, change in batch.items]
        if self.dies:
            raise ZeroDivisionError


@contextlib.asynccontextmanager
async def _running(follower: CursorFollower):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(follower.run(_zero))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.002)


async def test_every_change_is_done_in_order(database: Database, feed: Feed) -> None:
    await _tell(database, *range(1, 20))
    doer = Doer()
    follower = CursorFollower(database, feed, "push", "me", doer.deed)
    async with _running(follower):
        await _until(lambda: len(doer.done) == 19)
        await _tell(database, *range(20, 31))
        await _until(lambda: {lease.pos for lease in follower._held.values()} == {30})
    assert sorted(doer.done) == [(n, n) for n in range(1, 31)]
    assert await _positions(database, "push") == {30}


async def _positions(db: Database, name: str) -> set[int]:
    async with db.read() as snap:
        return {row[1] for row in await snap.all(CURSORS, name=name)}


async def test_killed_between_deed_and_save_does_it_again(database: Database, feed: Feed) -> None:
    await _tell(database, 5)
    first, second = Doer(), Doer()
    first.dies = True
    async with _running(CursorFollower(database, feed, "push", "a", first.deed)) as task:
        await asyncio.wait([task])
        assert isinstance(task.exception(), ZeroDivisionError)
    async with database.write() as tx:
        await tx.run(EXPIRE, name="push")
    async with _running(CursorFollower(database, feed, "push", "b", second.deed)):
        await _until(lambda: second.done)
    assert first.done == second.done == [(1, 5)]


async def test_of_two_owners_the_old_one_stops(database: Database) -> None:
    async with database.write() as tx:
        await tx.run(START, name="push", part=3, at=7)
    async with database.write() as tx:
        old = await take_lease(tx, "push", 3, "old")
        assert old is not None
        assert old.pos == 7
    async with database.write() as tx:
        assert await take_lease(tx, "push", 3, "new") is None  # it is not over
        await renew_lease(tx, old)
        await save_cursor(tx, old, 8)
        await tx.run(EXPIRE, name="push")
    async with database.write() as tx:
        new = await take_lease(tx, "push", 3, "new")
        assert new is not None
        assert new.pos == 8
    for deed in (renew_lease, lambda tx, lease: save_cursor(tx, lease, 99)):
        with pytest.raises(LeaseLost):
            async with database.write() as tx:
                await deed(tx, old)
    assert await _positions(database, "push") == {8}


async def test_a_deed_saves_in_its_own_transaction(probe: Database, feed: Feed) -> None:
    await _tell(probe, 5, 6)

    async def deed(batch: Batch) -> None:
        async with probe.write() as tx:
            for pos, _, _ in batch.items:
                await tx.run(ADD_NO, no=pos)
            await batch.save(tx)

    async with _running(CursorFollower(probe, feed, "search", "me", deed, parts=1)):
        while await numbers(probe) != [1, 2]:
            await asyncio.sleep(0.002)
        assert await _positions(probe, "search") == {2}


async def test_parts_are_shared_and_given_back(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "_LOOK_S", 0.01)
    monkeypatch.setattr(cursors, "RENEW_S", 0.01)
    one, two = Doer(), Doer()
    first = CursorFollower(database, feed, "push", "a", one.deed)
    second = CursorFollower(database, feed, "push", "b", two.deed)
    async with _running(first):
        await _until(lambda: len(first._held) == 16)
        async with _running(second):
            await _tell(database, *range(1, 11))
            await _until(lambda: len(one.done) == 10)
            assert two.done == []
            await first.release()  # as at its stop
            await _until(lambda: len(first._held) + len(second._held) == 16)
    held: set[int] = {part_of(n) for n in range(1, 200)}
    assert held == set(range(16))


async def test_a_new_follower_begins_where_its_rebuild_ended(
    database: Database, feed: Feed
) -> None:
    await _tell(database, 1, 2, 3)
    doer = Doer()
    follower = CursorFollower(database, feed, "search", "me", doer.deed)

    async def rebuild() -> int:
        return 2

    task = asyncio.create_task(follower.run(rebuild))
    await _until(lambda: doer.done)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert doer.done == [(3, 3)]


async def test_one_that_is_alone_takes_what_a_dead_one_held(database: Database, feed: Feed) -> None:
    """At once, and with an epoch that stops the other, should it be alive after all."""
    dead = Doer()
    other = CursorFollower(database, feed, "push", "a", dead.deed)
    async with _running(other):
        await _tell(database, 1, 2, 3)
        await _until(lambda: len(dead.done) == 3)
        held = dict(other._held)
    async with database.write() as tx:  # as if it had been killed: nothing was given back
        for part in range(cursors.PARTS):
            await tx.run(LEASED, name="push", part=part)
    doer = Doer()
    alone = CursorFollower(database, feed, "push", "b", doer.deed, alone=True)
    async with _running(alone):
        await _until(lambda: len(alone._held) == cursors.PARTS)
        await _tell(database, 4)
        await _until(lambda: 4 in [subject for _, subject in doer.done])
    with pytest.raises(LeaseLost):
        async with database.write() as tx:
            await renew_lease(tx, held[0])


async def test_one_that_is_alone_rests_while_nothing_happens(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "RENEW_S", 0.0)
    monkeypatch.setattr(cursors, "_LOOK_S", 0.001)
    doer = Doer()
    alone = CursorFollower(database, feed, "push", "b", doer.deed, alone=True)
    async with _running(alone):
        await _tell(database, 1)
        await _until(lambda: doer.done)
        await asyncio.sleep(cursors._GATHER_S + 0.1)  # what that told is looked at
        steps = 0
        step = alone.step

        async def counted() -> bool:
            nonlocal steps
            steps += 1
            return await step()

        monkeypatch.setattr(alone, "step", counted)
        await asyncio.sleep(0.1)
        assert steps == 0
        await _tell(database, 2)
        await _until(lambda: len(doer.done) == 2)
        assert steps > 0


async def test_rows_go_when_nobody_needs_them(database: Database, feed: Feed) -> None:
    """Older than a week, below every cursor; the newest row stays for ever."""
    day = 20_000
    await _tell(database, *range(10))
    assert await trim_feed(database, feed.settled, day * DAY_MS) == 0
    await _tell(database, *range(10))
    assert await trim_feed(database, feed.settled, (day + 6) * DAY_MS) == 0
    async with database.write() as tx:
        await tx.run(START, name="push", part=0, at=4)
    await _save_floor(database)
    assert await trim_feed(database, feed.settled, (day + 7) * DAY_MS) == 4
    assert await trim_feed(database, feed.settled, (day + 8) * DAY_MS) == 0
    assert [row[0] for row in await feed_rows(database)] == list(range(5, 21))


async def _save_floor(db: Database) -> None:
    """PostgreSQL trims below its saved floor only; it is saved every five seconds."""
    if hasattr(db, "reader"):
        await db.reader._save()


async def test_a_cursor_that_is_away_too_long_is_dropped(
    database: Database, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim, "_BATCH", 3)
    day = 20_000
    async with database.write() as tx:
        await tx.run(START, name="dead", part=0, at=4)
        await tx.run(START, name="alive", part=0, at=19)
    await _tell(database, *range(10))
    await trim_feed(database, feed.settled, day * DAY_MS)
    await _tell(database, *range(10))
    await _save_floor(database)
    await trim_feed(database, feed.settled, (day + 30) * DAY_MS)
    async with database.read() as snap:
        names = {row[0] for row in await snap.all(NAMES)}
    assert "dead" not in names
    assert "alive" in names
    assert [row[0] for row in await feed_rows(database)] == list(range(11, 21))
    await trim_feed(database, feed.settled, (day + 40) * DAY_MS)
    assert [row[0] for row in await feed_rows(database)] == [20]
