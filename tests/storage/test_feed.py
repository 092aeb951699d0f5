"""The feed of one process: order, density, waiting; and the reader against a feed of its own."""

# ruff: noqa: ASYNC110  (tests may poll)

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import Feed, settled_at
from kerwen.storage.feed_reader import FeedReader

Told = list[tuple[int, Sequence[Change]]]


def _followed() -> tuple[Feed, Told]:
    feed, told = Feed(), []
    feed.follow(lambda pos, changes: told.append((pos, changes)))
    return feed, told


def _row(pos: int) -> list[Change]:
    return [(9, pos, 0)]


@given(st.permutations(range(1, 13)), st.lists(st.integers(1, 12), max_size=12))
def test_applied_once_and_in_order_however_they_come(order: list[int], again: list[int]) -> None:
    feed, told = _followed()
    came: set[int] = set()
    for pos in order + again:
        feed.hint(pos, _row(pos))
        came.add(pos)
        dense = next(n for n in range(14) if n + 1 not in came)
        assert feed.settled == dense
        assert feed.known == max(came)
        assert feed.has_hole == (dense < max(came))
    assert told == [(pos, _row(pos)) for pos in range(1, 13)]


@given(st.permutations([1, 2, 3, 103, 104]))
def test_a_jump_in_any_order(order: list[int]) -> None:
    """Position 3 is a jump to 103: S becomes 102, and then goes on."""
    feed, told = _followed()
    for pos in order:
        feed.hint(pos, [(int(Kind.JUMP), 0, 103)] if pos == 3 else _row(pos))
    assert feed.settled == feed.known == 104
    assert [pos for pos, _ in told] == [1, 2, 102, 103, 104]
    assert settled_at(3, told[2][1]) == 102


def test_numbers_left_out_by_a_jump_are_dropped() -> None:
    feed, told = _followed()
    feed.hint(50, [])  # a tombstone in the gap, by a filler that had not seen the jump
    feed.hint(1, [(int(Kind.JUMP), 0, 100)])
    assert (feed.settled, feed.has_hole, len(told)) == (99, False, 1)


def test_a_follower_that_fails_stops_nobody() -> None:
    feed = Feed()
    told: list[int] = []
    feed.follow(lambda pos, changes: 1 // 0)  # type: ignore[arg-type, return-value]
    feed.follow(lambda pos, changes: told.append(pos))
    feed.hint(1, _row(1))
    assert told == [1]


def test_what_a_follower_tells_comes_after() -> None:
    feed = Feed()
    order: list[Any] = []

    def telling(pos: int, changes: Sequence[Change]) -> None:
        if pos == 1:
            feed.tell(2, _row(2))
        order.append(("a", pos))

    feed.follow(telling)
    feed.follow(lambda pos, changes: order.append(("b", pos)))
    feed.tell(1, _row(1))
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_old_news_is_no_news() -> None:
    feed, told = _followed()
    feed.start_at(10)
    feed.hint(10, _row(10))
    feed.hint(3, _row(3))
    assert (told, feed.settled, feed.known) == ([], 10, 10)


def test_mail_sessions_do_not_wait_for_s() -> None:
    feed, told = _followed()
    mail: list[int] = []
    feed.at_once(Kind.MAIL, lambda pos, changes: mail.append(pos))
    feed.hint(3, [(7, 1, 5)])
    feed.hint(2, [(9, 1, 0)])
    assert (mail, told) == ([3], [])


def test_our_own_are_told_to_the_others() -> None:
    feed = Feed()
    out: list[int] = []
    feed.outward = lambda pos, changes: out.append(pos)
    feed.tell(1, _row(1))
    feed.hint(2, _row(2))
    assert (out, feed.settled) == ([1], 2)


def test_what_waits_above_a_hole_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FEED_AHEAD_MAX", 3)
    feed, told = _followed()
    for pos in range(2, 10):
        feed.hint(pos, _row(pos))
    feed.hint(1, _row(1))
    assert (feed.settled, feed.known) == (4, 9)
    assert feed.has_hole  # the reader brings the rest
    assert len(told) == 4


async def test_until() -> None:
    feed = Feed()
    feed.start_at(5)
    assert await feed.until(5)
    with pytest.raises(Refused) as caught:
        await feed.until(6)
    assert caught.value.reason is Reason.UNKNOWN_POSITION
    feed.hint(8, _row(8))
    assert not await feed.until(7, 1)
    waiters = [asyncio.create_task(feed.until(pos)) for pos in (8, 6, 7, 6)]
    await asyncio.sleep(0)
    waiters[3].cancel()
    feed.hint(6, _row(6))
    assert await waiters[1]
    assert not waiters[0].done()
    assert not waiters[2].done()
    feed.hint(7, _row(7))
    assert await waiters[2]
    assert await waiters[0]


async def test_those_who_wait_are_told_of_the_end() -> None:
    feed = Feed()
    feed.hint(8, _row(8))
    waiter = asyncio.create_task(feed.until(7))
    await asyncio.sleep(0)
    feed.close()
    for wait in (waiter, feed.until(8)):
        with pytest.raises(Unavailable) as caught:
            await wait
        assert caught.value.reason is Unready.STOPPING
    assert await feed.until(0)


class Rows:
    """A stored feed in memory. Numbers may be drawn and not (yet) claimed."""

    def __init__(self) -> None:
        self.stored: dict[int, list[Change]] = {}
        self.drawn = 0
        self.saved = 0
        self.away = 0  # how many calls fail
        self.filled: list[tuple[int, int]] = []

    def claim(self, pos: int) -> None:
        self.stored[pos] = _row(pos)
        self.drawn = max(self.drawn, pos)

    async def rows(self, after: int, upto: int, limit: int) -> list[tuple[int, list[Change]]]:
        if self.away:
            self.away -= 1
            raise Unavailable(Unready.DATABASE_AWAY)
        found = sorted(pos for pos in self.stored if after < pos <= upto)
        return [(pos, self.stored[pos]) for pos in found[:limit]]

    async def newest(self) -> int:
        return max(self.stored, default=0)

    async def last(self) -> int:
        return self.drawn

    async def fill(self, first: int, last: int) -> int:
        self.filled.append((first, last))
        assert last <= self.drawn
        missing = [pos for pos in range(first, last + 1) if pos not in self.stored]
        self.stored.update({pos: [] for pos in missing})
        return len(missing)

    async def floor(self) -> int:
        return self.saved

    async def save_floor(self, pos: int) -> None:
        self.saved = max(self.saved, pos)

    async def close(self) -> None:
        pass


async def test_the_reader_starts_at_the_floor_and_ends_at_what_is_there() -> None:
    source = Rows()
    for pos in range(1, 2_501):
        source.claim(pos)
    source.saved, source.drawn = 100, 2_600  # burnt numbers at the top are not waited for
    feed, told = _followed()
    reader = FeedReader(feed, source)
    await reader.start()
    assert feed.settled == 2_500
    assert [pos for pos, _ in told] == list(range(101, 2_501))
    assert source.filled == []
    await reader.stop()
    assert source.saved == 2_500


async def test_the_reader_fills_old_holes_only() -> None:
    source = Rows()
    feed, told = _followed()
    reader = FeedReader(feed, source, chance=lambda: 0)
    await reader.start()
    began = asyncio.get_running_loop().time()
    for pos in (1, 3, 5, 9):
        source.claim(pos)
    source.drawn = 12
    assert await feed.until(9)
    took = asyncio.get_running_loop().time() - began
    assert 0.24 < took < 0.6  # one patience for all holes of one time
    assert [pos for pos, changes in told if not changes] == [2, 4, 6, 7, 8]
    assert max(last for _, last in source.filled) == 8
    await reader.stop()


async def test_the_reader_meets_a_late_row_in_a_hole() -> None:
    source = Rows()
    feed, told = _followed()
    reader = FeedReader(feed, source)
    await reader.start()
    source.claim(2)
    while not feed.has_hole:
        await asyncio.sleep(0.001)
    assert reader.hole_age_ms < 200
    source.claim(1)
    assert await feed.until(2)
    assert [changes for _, changes in told] == [_row(1), _row(2)]
    assert source.filled == []
    await reader.stop()


async def test_a_reader_that_is_far_behind_catches_up_at_once() -> None:
    """Every other hint is lost: a look for each hole would never come to an end."""
    source = Rows()
    feed = Feed()
    reader = FeedReader(feed, source)
    await reader.start()
    for pos in range(1, 3_001):
        source.claim(pos)
        if pos % 2:
            feed.hint(pos, _row(pos))
    before = reader.reads
    feed.hint(2_999, _row(2_999))
    assert await feed.until(3_000)
    assert reader.reads - before < 12
    await reader.stop()


async def test_hints_make_reads_needless() -> None:
    source = Rows()
    feed = Feed()
    reader = FeedReader(feed, source)
    await reader.start()
    reader.hinted = True
    await asyncio.sleep(0.03)
    before = reader.reads
    for pos in range(1, 100):
        source.claim(pos)
        feed.hint(pos, _row(pos))
        await asyncio.sleep(0.0005)
    assert reader.reads - before <= 1
    await reader.stop()


async def test_a_token_ahead_of_us_makes_the_reader_look() -> None:
    source = Rows()
    feed = Feed()
    reader = FeedReader(feed, source)
    await reader.start()
    reader.hinted = True  # it would look only once a second
    await asyncio.sleep(0.03)
    source.claim(1)
    began = asyncio.get_running_loop().time()
    assert await feed.until(1)
    assert asyncio.get_running_loop().time() - began < 0.3
    with pytest.raises(Refused):
        await feed.until(2)
    await reader.stop()


async def test_the_reader_outlives_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kerwen.storage.feed_reader._AWAY_S", 0.01)
    source = Rows()
    feed = Feed()
    reader = FeedReader(feed, source)
    await reader.start()
    source.away = 5
    source.claim(1)
    assert await feed.until(1)
    assert source.away == 0
    await reader.stop()


def test_a_follower_of_kinds_hears_those_and_jumps() -> None:
    feed, heard, all_heard = Feed(), [], []
    feed.start_at(0)
    feed.follow(lambda pos, _: heard.append(pos), Kind.ACCOUNT)
    feed.follow(lambda pos, _: all_heard.append(pos))
    feed.hint(1, [(Kind.EVENT, 7, 1)])
    feed.hint(2, [(Kind.EVENT, 7, 2), (Kind.ACCOUNT, 3, 0)])
    feed.hint(3, [])  # a tombstone
    feed.hint(4, [(Kind.JUMP, 0, 10)])
    assert heard[0] == 2
    assert len(heard) == 2
    assert len(all_heard) == 4
