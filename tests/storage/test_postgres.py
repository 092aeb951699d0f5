"""PostgreSQL alone: fences, hung sessions, lost connections, locks, pools."""

# ruff: noqa: PT012, ASYNC110  (a transaction is one statement; tests may poll)

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.database import Kind, Retry, retrying
from kerwen.storage.feed import Feed
from kerwen.storage.postgres import PostgresDatabase
from kerwen.storage.postgres_feed import jump
from kerwen.storage.postgres_open import open_postgres
from kerwen.storage.postgres_pool import Link, Pool, connect
from kerwen.storage.sql import sql
from tests.storage.engines import emptied
from tests.storage.probe import ADD, ADD_NO, COUNT, CREATE, LOCK, SET, feed_rows, numbers

SLEEP = sql("select pg_sleep(:secs)")
HANG_BETWEEN = """
create or replace function hang() returns trigger language plpgsql as
    $$ begin if new.items like '%[9,777,%' then perform pg_sleep(0.9); end if; return new; end $$;
create or replace trigger hang before insert on feed for each row execute function hang();
"""
UNHANG = "drop trigger if exists hang on feed; drop function if exists hang"

Open = Callable[[], Any]


@pytest.fixture
async def dsn(postgres_template: str) -> str:
    return await emptied(postgres_template)


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    made = await connect(dsn)
    yield made
    made.raw.terminate()


@pytest.fixture
async def worker(dsn: str, link: Link) -> AsyncIterator[Open]:
    """Opens workers on one database; all are closed."""
    await link.execute(CREATE.postgres)
    made: list[PostgresDatabase] = []

    async def open_one() -> PostgresDatabase:
        db = await open_postgres(dsn, Feed(), strict=True)
        made.append(db)
        return db

    yield open_one
    for db in made:
        await db.close()


async def _add(db: PostgresDatabase, key: int, subject: int = 1) -> int:
    async with db.write() as tx:
        await tx.run(ADD_NO, no=key)
        tx.change(Kind.ACCOUNT, subject, key)
    return tx.pos


async def _settled(db: PostgresDatabase, pos: int, timeout_ms: int = 5_000) -> float:
    """Waits until a worker has settled a position; the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_ms / 1000):
        while db.feed.settled < pos:
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_workers_see_each_other_without_hints(worker: Open) -> None:
    one, other = await worker(), await worker()
    seen: list[Any] = []
    other.feed.follow(lambda pos, changes: seen.append((pos, list(changes))))
    for key in range(5):
        assert await _add(one, key) == key + 1
    assert await other.feed.until(5)
    assert seen == [(key + 1, [(9, 1, key)]) for key in range(5)]
    assert await _add(other, 9) == 6
    assert await one.feed.until(6)


async def test_a_failed_tail_is_filled_at_once(worker: Open) -> None:
    db = await worker()
    await _add(db, 1)
    for n in range(3):
        with pytest.raises(Exception, match="unique"):
            async with db.write() as tx:
                tx.at_end(ADD_NO, no=1)
                tx.change(Kind.ACCOUNT, 5)
        assert db.feed.settled == n + 2
    assert await feed_rows(db) == [(1, "[[9,1,1]]"), (2, "[]"), (3, "[]"), (4, "[]")]
    assert db.reader.fills == 0


async def test_a_burnt_number_is_filled_within_half_a_second(worker: Open, link: Link) -> None:
    db = await worker()
    await link.value("select nextval('feed_pos')")
    assert await _add(db, 1) == 2
    assert await _settled(db, 2) < 0.5
    assert await feed_rows(db) == [(1, "[]"), (2, "[[9,1,1]]")]


async def test_a_crash_burns_many_numbers(worker: Open, link: Link, dsn: str) -> None:
    db = await worker()
    await link.value("select setval('feed_pos', 700)")
    assert await _add(db, 1) == 701
    assert await _settled(db, 701) < 2
    assert [row[0] for row in await feed_rows(db)] == list(range(1, 702))


async def test_a_number_burnt_at_the_top_is_not_waited_for(worker: Open, link: Link) -> None:
    db = await worker()
    await _add(db, 1)
    await link.value("select nextval('feed_pos')")
    other = await worker()  # healthy at once
    assert other.feed.settled == 1
    assert not other.feed.has_hole


async def test_hung_between_number_and_claim_is_fenced(worker: Open, link: Link) -> None:
    """The others go on within half a second; the late claim loses, its retry succeeds."""
    hung, db = await worker(), await worker()
    await link.execute(HANG_BETWEEN)
    try:
        late = asyncio.create_task(_add(hung, 1, subject=777))
        while not await link.value("select is_called from feed_pos"):
            await asyncio.sleep(0.005)
        assert await _add(db, 2) == 2
        assert await _settled(db, 2) < 0.6
        with pytest.raises(Retry):
            await late
        assert await numbers(db) == [2]
    finally:
        await link.execute(UNHANG)
    assert await retrying(lambda: _add(hung, 1, subject=777)) == 3
    assert await feed_rows(db) == [(1, "[]"), (2, "[[9,1,2]]"), (3, "[[9,777,1]]")]


async def test_hung_after_its_claim_is_ended(worker: Open, link: Link, dsn: str) -> None:
    """The others go on within three seconds or so, and what it wrote is not there."""
    db = await worker()
    hung = await connect(dsn)
    await hung.execute(
        "prepare feed_claim as insert into feed (pos, items) values (nextval('feed_pos'), $1)"
    )
    tail = asyncio.create_task(
        hung.execute(
            "execute feed_claim('[[9,1,1]]'); insert into probe (no) values (1);select pg_sleep(60)"
        )
    )
    while not await link.value("select is_called from feed_pos"):
        await asyncio.sleep(0.005)
    assert await _add(db, 2) == 2
    assert await _settled(db, 2, 8_000) < 3.5
    with pytest.raises(Unavailable):
        await tail
    assert await feed_rows(db) == [(1, "[]"), (2, "[[9,1,2]]")]
    assert await numbers(db) == [2]


async def test_an_idle_transaction_does_not_hold_the_feed(worker: Open) -> None:
    one, db = await worker(), await worker()
    async with one.write() as tx:
        await tx.run(ADD_NO, no=1)
        tx.change(Kind.ACCOUNT, 1)
        assert await _add(db, 2) == 1
        assert db.feed.settled == 1
    assert tx.pos == 2


async def test_a_lock_is_waited_for_two_seconds(worker: Open, link: Link) -> None:
    db = await worker()
    async with db.write() as tx:
        await tx.run(ADD, no=1, n=0, t=None, b=None)
    await link.execute("begin; select * from probe where no = 1 for update")
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        async with db.write() as tx:
            await tx.one(LOCK, no=1)
    assert caught.value.reason is Unready.BUSY
    assert 1.5 < time.monotonic() - began < 4
    await link.execute("rollback")
    async with db.write() as tx:
        assert await tx.one(LOCK, no=1) == (0,)


async def test_a_deadlock_is_retried(worker: Open) -> None:
    db = await worker()
    async with db.write() as tx:
        await tx.many(ADD, [{"no": n, "n": 0, "t": None, "b": None} for n in (1, 2)])
    tries = 0

    async def act(first: int, second: int, met: asyncio.Barrier) -> None:
        nonlocal tries
        tries += 1
        async with db.write() as tx:
            await tx.run(SET, no=first, n=first)
            if tries <= 2:
                await met.wait()
            await tx.run(SET, no=second, n=first)

    met = asyncio.Barrier(2)
    await asyncio.gather(retrying(lambda: act(1, 2, met)), retrying(lambda: act(2, 1, met)))
    assert tries == 3


async def test_cancelled_in_the_body_frees_its_locks(worker: Open) -> None:
    db = await worker()
    async with db.write() as tx:
        await tx.run(ADD, no=1, n=0, t=None, b=None)

    async def act(hold: Any) -> None:
        async with db.write() as tx:
            await tx.one(LOCK, no=1)
            await tx.run(SET, no=1, n=5)
            await hold(tx)

    started = asyncio.Event()

    async def idle(tx: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async def busy(tx: Any) -> None:
        started.set()
        await tx.one(SLEEP, secs=0.5)

    for hold in (idle, busy):
        started.clear()
        task = asyncio.create_task(act(hold))
        await started.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with db.write() as tx:
            assert await tx.one(LOCK, no=1) == (0,)


async def test_cancelled_in_the_tail_is_stored(worker: Open) -> None:
    db = await worker()
    for n in range(10):
        task = asyncio.create_task(_add(db, n))
        while len(await numbers(db)) < n:
            await asyncio.sleep(0)
        for _ in range(n):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if n not in await numbers(db):
            await asyncio.sleep(0.05)
        if n not in await numbers(db):
            await _add(db, n)
    rows = [row for row in await feed_rows(db) if row[1] != "[]"]
    assert len(rows) == 10


async def _end_sessions(link: Link) -> None:
    await link.call(
        link.raw.fetch,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )


async def test_lost_connections_are_told_and_replaced(worker: Open, link: Link) -> None:
    db = await worker()
    await _add(db, 1)
    async with db.read() as snap:
        assert await snap.one(COUNT) == (1,)
    await _end_sessions(link)
    await asyncio.sleep(0.02)
    assert await _add(db, 2) >= 2  # idle ones are found out before they are used
    with pytest.raises(Unavailable) as caught:
        async with db.write() as tx:
            await tx.run(ADD_NO, no=3)
            await _end_sessions(link)
            tx.change(Kind.ACCOUNT, 3)
    assert caught.value.reason is Unready.DATABASE_AWAY
    with pytest.raises(Unavailable):
        async with db.read() as snap:
            await snap.one(COUNT)
            await _end_sessions(link)
            await snap.one(COUNT)
    assert await numbers(db) == [1, 2]
    pos = await _add(db, 4)
    assert await db.feed.until(pos)


async def test_no_server_is_told() -> None:
    with pytest.raises(Unavailable) as caught:
        await connect("postgresql://kerwen@/none?host=/nowhere&port=1")
    assert caught.value.reason is Unready.DATABASE_AWAY


async def test_a_pool_is_bounded_and_fair(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(dsn, 2)
    one, two = await pool.take(), await pool.take()
    order: list[str] = []

    async def user(name: str) -> None:
        link = await pool.take()
        order.append(name)
        pool.give(link)

    tasks = [asyncio.create_task(user(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    pool.give(one)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c", "d"]
    again = await pool.take()
    monkeypatch.setattr("kerwen.storage.postgres_pool._TURN_S", 0.02)
    with pytest.raises(Unavailable) as caught:
        await pool.take()
    assert caught.value.reason is Unready.BUSY
    two.raw.terminate()  # a lost one makes room
    pool.give(two)
    made = await pool.take()
    assert await made.value("select 1") == 1
    pool.give(made)
    pool.give(again)
    await pool.close()


async def test_the_tail_is_one_message(worker: Open) -> None:
    """Round trips of a transaction: begin, body, tail, number."""
    db = await worker()
    await _add(db, 1)
    link = db.writers._free[-1]
    real, calls = link.call, []

    async def call(deed: Any, *args: Any) -> Any:
        calls.append((deed.__name__, args[0]))
        return await real(deed, *args)

    class Counted(Link):
        __slots__ = ("call",)

    counted = Counted(link.raw)
    counted.call, counted.prepared = call, link.prepared  # type: ignore[method-assign]
    db.writers._free[-1] = counted
    async with db.write() as tx:
        await tx.run(ADD_NO, no=2)
        tx.at_end(SET, no=2, n=1)
        tx.change(Kind.ACCOUNT, 1)
    calls.clear()
    async with db.write() as tx:
        await tx.run(ADD_NO, no=3)
        tx.at_end(SET, no=3, n=1)
        tx.at_end(SET, no=2, n=2)
        tx.change(Kind.ACCOUNT, 1)
    assert [name for name, _ in calls] == ["execute", "execute", "execute", "fetchval"]
    assert calls[2][1].startswith("execute feed_claim(")
    assert calls[2][1].endswith("; commit")
    calls.clear()
    async with db.write() as tx:
        tx.at_end(SET, no=3, n=4)
    assert [name for name, _ in calls] == ["execute"]


async def test_too_long_a_tail_is_a_bug(worker: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAIL_BYTES_MAX", 100)
    db = await worker()
    with pytest.raises(AssertionError, match="too much text"):
        async with db.write() as tx:
            tx.at_end(ADD, no=1, n=1, t="x" * 100, b=None)
    assert await numbers(db) == []


async def test_a_jump_settles_on_all_workers(worker: Open, link: Link) -> None:
    one, other = await worker(), await worker()
    for key in range(3):
        await _add(one, key)
    seen: list[Any] = []
    other.feed.follow(lambda pos, changes: seen.append((pos, list(changes))))
    assert await other.feed.until(3)
    following = await jump(link, 1_000_000)
    assert await _add(one, 7) == following
    await _settled(one, following)
    await _settled(other, following)
    assert seen[-2:] == [
        (following - 1, [(0, 0, following)]),
        (following, [(9, 1, 7)]),
    ]
    again = await jump(link, 10)  # a jump upon a jump leaves no hole either
    assert await _add(other, 8) == again
    await _settled(one, again)
    third = await worker()
    assert third.feed.settled == again
    assert await third.feed.until(following - 500)  # a token of the lost future


async def test_a_fail_over_jumps(worker: Open, link: Link) -> None:
    db = await worker()
    await _add(db, 1)
    await link.execute("update feed_cursor set pos = pos - 1 where name = 'timeline'")
    after = await worker()
    assert after.feed.settled == 1 + 2**20 - 1
    assert (await worker()).feed.settled == after.feed.settled  # once
    assert await _add(after, 2) == after.feed.settled


async def test_a_statement_that_cannot_be_prepared_harms_no_other(worker: Open) -> None:
    bad = sql("insert into nowhere (no) values (:no)")
    db = await worker()
    for _ in range(3):
        with pytest.raises(Exception, match="nowhere"):
            async with db.write() as tx:
                tx.at_end(ADD_NO, no=1)
                tx.at_end(bad, no=1)
                tx.change(Kind.ACCOUNT, 1)
        assert await numbers(db) == []
    assert await _add(db, 1) == 1  # no number was burnt


async def test_an_upgrade_under_our_feet_is_a_retry(worker: Open, link: Link) -> None:
    every = sql("select * from probe")
    db = await worker()
    async with db.write() as tx:
        await tx.all(every)
    await link.execute("alter table probe add column later BIGINT")
    try:

        async def act() -> None:
            async with db.write() as tx:
                await tx.all(every)

        await retrying(act)
    finally:
        await link.execute("alter table probe drop column later")
