"""The wake index: exactly those whom a change concerns, none lost between reading and waiting."""

from __future__ import annotations

import asyncio

import pytest

from kerwen.storage.database import Kind
from kerwen.storage.feed import Feed
from kerwen.storage.wake import WakeIndex, Watch

AYNA, BATYR, JEREN = 1, 2, 3
HALL, YARD = 70, 71


class House:
    """Three people: Ayna and Batyr in the hall, Jeren in the yard; each polls with a device."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.index = WakeIndex()
        self.feed.follow(self.index.follow)
        self.watches: dict[int, Watch] = {}
        for account, room in ((AYNA, HALL), (BATYR, HALL), (JEREN, YARD)):
            watch = self.index.open(account, [room], 0)
            self.index.add_device(watch, account * 10)
            self.watches[account] = watch

    def tell(self, *change: int) -> set[int]:
        """Tells one change; who was woken by it."""
        loop = asyncio.get_running_loop()
        waiters = {account: loop.create_future() for account in self.watches}
        for account, watch in self.watches.items():
            watch.waiters.append(waiters[account])
        self.feed.tell(self.feed.settled + 1, [change])  # type: ignore[list-item]
        for account, watch in self.watches.items():
            if waiters[account] in watch.waiters:
                watch.waiters.remove(waiters[account])
        return {account for account, waiter in waiters.items() if waiter.done()}


@pytest.fixture
async def house() -> House:
    return House()


@pytest.mark.parametrize(
    ("change", "woken"),
    [
        ((Kind.EVENT, HALL, 5), {AYNA, BATYR}),
        ((Kind.EVENT, YARD, 5), {JEREN}),
        ((Kind.EVENT, 99, 5), set()),
        ((Kind.RECEIPT, HALL, AYNA), {AYNA, BATYR}),
        ((Kind.ACCOUNT_DATA, JEREN, 0), {JEREN}),
        ((Kind.ACCOUNT_DATA, 9, 0), set()),
        ((Kind.TO_DEVICE, AYNA * 10, 0), {AYNA}),
        ((Kind.TO_DEVICE, 99, 0), set()),
        ((Kind.DEVICE_LIST, BATYR, 0), {AYNA, BATYR}),
        ((Kind.MEMBERSHIP, HALL, JEREN), {AYNA, BATYR, JEREN}),
        ((Kind.MEMBERSHIP, HALL, 9), {AYNA, BATYR}),
        ((Kind.ACCOUNT, AYNA, 0), {AYNA}),
        ((Kind.BACKFILL, HALL, -5), set()),
        ((Kind.MAIL, AYNA, 5), set()),
    ],
)
async def test_exactly_those_whom_it_concerns(
    house: House, change: tuple[int, int, int], woken: set[int]
) -> None:
    assert house.tell(*change) == woken


async def test_who_came_is_woken_and_who_went_is_not(house: House) -> None:
    house.tell(Kind.MEMBERSHIP, HALL, JEREN)  # a join, before the rooms were read anew
    assert house.tell(Kind.EVENT, HALL, 6) == {AYNA, BATYR, JEREN}
    house.tell(Kind.MEMBERSHIP, HALL, BATYR)  # a ban: the sync that it wakes reads his rooms
    house.index.set_rooms(house.watches[BATYR], [])
    assert house.tell(Kind.EVENT, HALL, 7) == {AYNA, JEREN}


async def test_a_change_between_reading_and_waiting_is_not_lost(house: House) -> None:
    """Registered first: what is told while it reads has woken it before it waits."""
    watch = house.watches[AYNA]
    waiter = asyncio.get_running_loop().create_future()
    watch.waiters.append(waiter)
    upto = house.feed.settled  # it reads …
    house.feed.tell(1, [(Kind.EVENT, HALL, 5)])
    async with asyncio.timeout(1):
        await waiter
    assert watch.last > upto


async def test_who_went_away_is_forgotten(house: House) -> None:
    for watch in house.watches.values():
        watch.expires_ms = 100
    house.watches[AYNA].parked = 1
    house.index.sweep(101)
    assert len(house.index) == 1
    assert house.index.get(AYNA) is not None
    assert house.tell(Kind.EVENT, YARD, 5) == set()


async def test_a_jump_forgets_everybody(house: House) -> None:
    assert house.tell(Kind.JUMP, 0, 1000) == {AYNA, BATYR, JEREN}
    assert len(house.index) == 0
