"""What both engines promise: the `Database` interface."""

# ruff: noqa: PT012  (a transaction is one statement; tests may poll)

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind
from kerwen.storage.ending import Broken
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from tests.storage.probe import (
    ADD,
    ADD_LATE,
    ADD_NO,
    BUMP,
    COUNT,
    GET,
    LATE_FULL,
    LOCK,
    POS,
    SET,
    feed_rows,
    numbers,
)

IN_NUMBERS = sql("select no from probe where no {in_ints:wanted} order by no")
IN_TEXTS = sql("select no from probe where t {in_texts:wanted} order by no")
DELETE_TEXTS = sql("delete from probe where t {in_texts:wanted}")
SUM = sql("select sum(no) from probe")
TEXTS = sql("select t from probe order by t")
TWICE = sql("select no from probe where n = :n or n = :n + 1 order by no")

VALUES = [
    (1, None, None, None),
    (2, 0, "", b""),
    (3, -1, "it's", b"\x00\xff'\\"),
    (4, 2**63 - 1, "\\x41 \\' $1 :n ; --", bytes(range(256))),
    (5, -(2**63), "яşgabat 🏔 \u2028", b"'"),
]


async def _add(db: Database, *keys: int) -> None:
    async with db.write() as tx:
        await tx.many(ADD_NO, [{"no": key} for key in keys])


async def test_all_or_nothing(probe: Database) -> None:
    await _add(probe, 1)
    with pytest.raises(ZeroDivisionError):
        async with probe.write() as tx:
            await tx.run(ADD_NO, no=2)
            tx.at_end(ADD_NO, no=3)
            tx.change(Kind.ACCOUNT, 1)
            raise ZeroDivisionError
    assert await numbers(probe) == [1]
    assert await feed_rows(probe) == []


@pytest.mark.parametrize("late", [False, True])
async def test_values_come_back_as_they_were(probe: Database, late: bool) -> None:
    """In the body they travel as arguments, at the end as literals."""
    async with probe.write() as tx:
        for no, n, t, b in VALUES:
            if late:
                tx.at_end(LATE_FULL, no=no, n=n, t=t, b=b)
            else:
                await tx.run(ADD, no=no, n=n, t=t, b=b)
        tx.change(Kind.ACCOUNT, 1)
    async with probe.read() as snap:
        for no, *wanted in VALUES:
            row = await snap.one(GET, no=no)
            assert row == tuple(wanted)
            assert isinstance(row, tuple)


async def test_a_transaction_sees_what_it_wrote(probe: Database) -> None:
    async with probe.write() as tx:
        assert await tx.one(GET, no=1) is None
        assert await tx.run(ADD, no=1, n=1, t="a", b=None) == 1
        assert await tx.run(BUMP, no=1) == 1
        assert await tx.run(BUMP, no=2) == 0
        assert await tx.one(GET, no=1) == (2, "a", None)
        assert await tx.all(COUNT) == [(1,)]


async def test_lists(probe: Database) -> None:
    async with probe.write() as tx:
        for no, t in ((1, "a"), (2, "b'\\"), (3, 'c"')):
            await tx.run(ADD, no=no, n=no, t=t, b=None)
    async with probe.read() as snap:
        assert await snap.all(IN_NUMBERS, wanted=[3, 1, 9]) == [(1,), (3,)]
        assert await snap.all(IN_NUMBERS, wanted=[]) == []
        assert await snap.all(IN_NUMBERS, wanted={-1, 2}) == [(2,)]
        assert await snap.all(IN_TEXTS, wanted=["b'\\", 'c"']) == [(2,), (3,)]
        assert await snap.all(IN_TEXTS, wanted=()) == []
    async with probe.write() as tx:
        tx.at_end(DELETE_TEXTS, wanted=["b'\\", "nobody"])
        tx.at_end(DELETE_TEXTS, wanted=[])
    assert await numbers(probe) == [1, 3]


async def test_a_name_may_be_used_twice(probe: Database) -> None:
    async with probe.write() as tx:
        await tx.many(ADD, [{"no": n, "n": n, "t": None, "b": None} for n in range(5)])
        assert await tx.all(TWICE, n=2) == [(2,), (3,)]


async def test_sums_are_whole_numbers_and_text_sorts_by_bytes(probe: Database) -> None:
    async with probe.write() as tx:
        for no, t in ((1, "b"), (2, "B"), (3, "ä"), (4, "a")):
            await tx.run(ADD, no=no, n=None, t=t, b=None)
    async with probe.read() as snap:
        total = await snap.one(SUM)
        assert total == (10,)
        assert type(total[0]) is int
        assert await snap.all(TEXTS) == [("B",), ("a",), ("b",), ("ä",)]


async def test_positions_rise_one_by_one(probe: Database, feed: Feed) -> None:
    for wanted in (1, 2, 3):
        async with probe.write() as tx:
            tx.at_end(ADD_LATE, no=wanted)
            tx.change(Kind.DEVICE_LIST, 7, 9)
            tx.change(Kind.ACCOUNT, 8)
            assert tx.pos == 0
        assert tx.pos == wanted
        assert feed.settled == wanted
        async with probe.read() as snap:
            assert await snap.one(POS, no=wanted) == (wanted,)
    assert await feed_rows(probe) == [(pos, "[[5,7,9],[9,8,0]]") for pos in (1, 2, 3)]


async def test_without_a_change_there_is_no_position(probe: Database, feed: Feed) -> None:
    async with probe.write() as tx:
        tx.at_end(ADD_NO, no=1)
    async with probe.write() as tx:
        pass
    assert (tx.pos, feed.settled, await numbers(probe)) == (0, 0, [1])


async def test_the_end_runs_in_order(probe: Database) -> None:
    async with probe.write() as tx:
        tx.at_end(ADD, no=1, n=0, t=None, b=None)
        tx.at_end(BUMP, no=1)
        tx.at_end(SET, no=1, n=10)
        tx.at_end(BUMP, no=1)
        tx.change(Kind.ACCOUNT, 1)
    async with probe.read() as snap:
        assert (await snap.one(GET, no=1) or ())[0] == 11


async def test_caches_change_before_the_change_is_told(probe: Database, feed: Feed) -> None:
    seen: list[Any] = []
    feed.follow(lambda pos, changes: seen.append((pos, list(changes))))

    def broken() -> None:
        raise RuntimeError("a cache with a bug stops nobody")

    async with probe.write() as tx:
        tx.after(broken)
        tx.after(lambda: seen.append("cache"))
        tx.change(Kind.ACCOUNT, 4, 5)
        assert seen == []
    assert seen == ["cache", (1, [(9, 4, 5)])]


async def test_no_deed_and_no_news_after_a_failure(probe: Database, feed: Feed) -> None:
    seen: list[Any] = []
    feed.follow(lambda pos, changes: seen.append(list(changes)))
    await _add(probe, 1)
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with probe.write() as tx:
            tx.after(lambda: seen.append("cache"))
            tx.at_end(ADD_NO, no=1)
            tx.change(Kind.ACCOUNT, 4, 5)
    assert tx.pos == 0
    async with probe.write() as tx:
        tx.change(Kind.ACCOUNT, 6)
    assert await feed.until(tx.pos)
    assert [changes for changes in seen if changes] == [[(9, 6, 0)]]


async def test_after_an_error_only_the_end_is_left(probe: Database) -> None:
    await _add(probe, 1)
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with probe.write() as tx:
            with pytest.raises(Exception, match=r"(?i)unique"):
                await tx.run(ADD_NO, no=1)
            await tx.run(ADD_NO, no=2)
    for tail in (False, True):
        with pytest.raises(Exception, match=r"(?i)unique"):
            async with probe.write() as tx:
                await tx.run(ADD_NO, no=4)
                with pytest.raises(Exception, match=r"(?i)unique"):
                    await tx.run(ADD_NO, no=1)
                if tail:
                    tx.at_end(ADD_NO, no=3)
    assert await numbers(probe) == [1]


async def test_a_snapshot_stands_still(probe: Database) -> None:
    await _add(probe, 1)
    async with probe.read() as snap:
        assert await snap.one(COUNT) == (1,)
        await _add(probe, 2)
        assert await snap.one(COUNT) == (1,)
    async with probe.read(long=True) as snap:
        assert await snap.one(COUNT) == (2,)
        await _add(probe, 3)
        assert await snap.all(COUNT) == [(2,)]
    async with probe.read(single=True) as snap:
        assert await snap.one(COUNT) == (3,)


async def test_many_writers_share_no_number(probe: Database, feed: Feed) -> None:
    """Read, add, write back under a lock: nothing is lost; the feed is dense and in order."""
    order: list[int] = []
    feed.follow(lambda pos, changes: order.append(pos))
    async with probe.write() as tx:
        await tx.run(ADD, no=1, n=0, t=None, b=None)

    async def writer() -> None:
        for _ in range(8):
            async with probe.write() as tx:
                row = await tx.one(LOCK, no=1)
                assert row is not None
                await tx.run(SET, no=1, n=row[0] + 1)
                tx.change(Kind.EVENT, 1, row[0] + 1)

    await asyncio.gather(*[writer() for _ in range(16)])
    assert await feed.until(128)
    assert order == list(range(1, 129))
    rows = await feed_rows(probe)
    assert rows == [(n, f"[[1,1,{n}]]") for n in range(1, 129)]  # order of lock = of position


async def test_ids_are_given_once(probe: Database) -> None:
    taken: list[int] = []

    async def taker(count: int) -> None:
        for _ in range(60):
            first = await probe.take_id("event", count)
            taken.extend(range(first, first + count))

    await asyncio.gather(taker(1), taker(7), taker(40), taker(1))
    assert len(set(taken)) == len(taken) == 60 * 49
    assert min(taken) == 1
    assert await probe.take_id("other") == 1
    big = await probe.take_id("event", 5_000)
    assert not set(range(big, big + 5_000)) & set(taken)


async def test_cancelled_in_the_body_changes_nothing(probe: Database) -> None:
    async def act(started: asyncio.Event) -> None:
        async with probe.write() as tx:
            await tx.run(ADD_NO, no=1)
            started.set()
            raise asyncio.CancelledError

    started = asyncio.Event()
    with pytest.raises(asyncio.CancelledError):
        await act(started)
    assert started.is_set()
    await _add(probe, 1)  # nothing stands in the way, and nothing is there
    assert await numbers(probe) == [1]


@pytest.mark.parametrize("rounds", range(12))
async def test_cancelled_at_any_await_leaves_it_whole(
    probe: Database, feed: Feed, rounds: int
) -> None:
    """Both rows or none; the next transaction goes on; the feed stays dense."""

    async def act(base: int) -> None:
        async with probe.write() as tx:
            await tx.run(ADD_NO, no=base)
            tx.at_end(ADD_NO, no=base + 1)
            tx.change(Kind.ACCOUNT, base)

    tasks = [asyncio.create_task(act(base)) for base in (10, 20, 30, 40)]
    for _ in range(rounds):
        await asyncio.sleep(0)
    for task in tasks[1:3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] is None
    assert results[3] is None
    await act(50)
    while True:  # a cancelled one may have been beyond recall, and still be on its way
        found = set(await numbers(probe))
        rows = await feed_rows(probe)
        if len(rows) * 2 == len(found):
            break
        await asyncio.sleep(0.005)
    for base in (10, 20, 30, 40, 50):
        assert (base in found) == (base + 1 in found)
    assert {10, 40, 50} <= found
    assert await feed.until(len(rows))
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("late", [False, True])
async def test_text_that_is_not_unicode_is_refused(probe: Database, late: bool) -> None:
    with pytest.raises(Refused) as caught:
        async with probe.write() as tx:
            if late:
                tx.at_end(ADD, no=1, n=None, t="\ud800", b=None)
            else:
                await tx.run(ADD, no=1, n=None, t="\ud800", b=None)
    assert caught.value.reason is Reason.INVALID_PARAM
    assert await numbers(probe) == []


async def test_close_lets_what_runs_end(probe: Database) -> None:
    tasks = [asyncio.create_task(_add(probe, key)) for key in range(20)]
    for _ in range(3):
        await asyncio.sleep(0)
    await probe.close()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for error in done:
        assert error is None or type(error).__name__ == "Unavailable"
    with pytest.raises(Exception, match="stopping"):
        await _add(probe, 99)


async def test_strict_knows_position_only_at_the_end(probe: Database) -> None:
    with pytest.raises(Broken, match="only at the end"):
        async with probe.write() as tx:
            await tx.run(ADD_LATE, no=1, pos=5)
    with pytest.raises(Broken, match="needs a change"):
        async with probe.write() as tx:
            tx.at_end(ADD_LATE, no=1)
    assert await numbers(probe) == []


async def test_strict_refuses_what_would_wait_for_itself(probe: Database) -> None:
    with pytest.raises(Broken, match="inside a transaction"):
        async with probe.write():
            await probe.take_id("event")
    with pytest.raises(Broken, match="inside a transaction"):
        async with probe.write():
            await _add(probe, 1)
    await _add(probe, 2)
    assert await numbers(probe) == [2]


async def test_strict_wants_a_lock_before_an_ordered_change(probe: Database) -> None:
    probe.strict_locks = True  # type: ignore[attr-defined]
    await _add(probe, 1)
    for kind in (Kind.EVENT, Kind.ACCOUNT_DATA, Kind.MEMBERSHIP, Kind.MAIL):
        with pytest.raises(Broken, match="without a lock"):
            async with probe.write() as tx:
                tx.change(kind, 1, 1)
        async with probe.write() as tx:
            await tx.one(LOCK, no=1)
            tx.change(kind, 1, 1)
        async with probe.write() as tx:
            tx.lock(kind, 1)  # type: ignore[attr-defined]
            tx.change(kind, 1, 1)
        with pytest.raises(Broken, match="without a lock"):
            async with probe.write() as tx:
                tx.lock(kind, 2)  # type: ignore[attr-defined]
                tx.change(kind, 1, 1)
    for kind in (Kind.RECEIPT, Kind.TO_DEVICE, Kind.DEVICE_LIST, Kind.ACCOUNT):
        async with probe.write() as tx:
            tx.change(kind, 1, 1)
    assert len([row for row in await feed_rows(probe) if row[1] != "[]"]) == 12
