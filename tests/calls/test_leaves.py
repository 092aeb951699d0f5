"""Handed-over leaves: put off while the device is in the call, said when it is gone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.calls.actions import leaves
from kerwen.calls.actions.leaves import Leaves
from kerwen.calls.token import Grant
from kerwen.storage.database import Database

GRANT = Grant("call", "!r:a", "@u:a:D", "@u:a", "D", True)
PLACE = (GRANT.call, GRANT.identity)


@dataclasses.dataclass
class Scheduled:
    type: str = "org.matrix.msc3401.call.member"
    room_id: str = GRANT.room_id
    done_ms: int = 0
    delay_ms: int = 18_000


class FakeDelay:
    """Delayed events by id; `deeds` is what was asked of them."""

    def __init__(self) -> None:
        self.events: dict[str, Scheduled] = {}
        self.deeds: list[tuple[str, str]] = []
        self.refuses = False

    async def one(self, user_no: int, delay_id: str) -> Scheduled:
        if delay_id not in self.events:
            raise Refused(Reason.NOT_FOUND, "There is no such delayed event")
        return self.events[delay_id]

    async def manage(self, user_no: int, delay_id: str, action: str) -> None:
        if self.refuses:
            raise Refused(Reason.CONFLICT, "It was cancelled")
        self.deeds.append((delay_id, action))


class Desk:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.delay = FakeDelay()
        self.now = 1_000_000
        self.leaves = self.fresh()

    def fresh(self) -> Leaves:
        """As after a start of the server."""
        delay: Any = self.delay
        return Leaves(self.database, delay, lambda: self.now)

    async def hand_over(self, delay_id: str = "d", **scheduled: Any) -> None:
        self.delay.events[delay_id] = Scheduled(**scheduled)
        await self.leaves.hand_over(7, GRANT, delay_id)

    async def after(self, ms: int) -> list[tuple[str, str]]:
        """What was done by then."""
        self.now += ms
        self.delay.deeds.clear()
        await self.leaves.look()
        return list(self.delay.deeds)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


async def test_it_is_put_off_in_time_while_the_device_is_here(desk: Desk) -> None:
    await desk.hand_over()
    desk.leaves.came(*PLACE)
    assert await desk.after(100) == [("d", "restart")]
    assert await desk.after(5_000) == []
    assert await desk.after(1_000) == [("d", "restart")]
    assert await desk.after(3_600_000) == [("d", "restart")]


async def test_it_is_said_soon_after_the_device_is_gone_and_once(desk: Desk) -> None:
    desk.leaves.came(*PLACE)
    await desk.hand_over()
    await desk.after(0)
    desk.leaves.went(*PLACE)
    assert await desk.after(leaves.BACK_MS - 1) == []
    assert await desk.after(1) == [("d", "send")]
    assert await desk.after(3_600_000) == []
    desk.leaves = desk.fresh()
    await desk.leaves.load()
    assert await desk.after(3_600_000) == []


async def test_a_device_that_comes_anew_stays(desk: Desk) -> None:
    desk.leaves.came(*PLACE)
    await desk.hand_over()
    await desk.after(0)
    desk.leaves.went(*PLACE)
    await desk.after(leaves.BACK_MS - 1)
    desk.leaves.came(*PLACE)
    assert ("d", "send") not in await desk.after(3_600_000)


async def test_of_two_lines_of_one_device_one_may_go(desk: Desk) -> None:
    desk.leaves.came(*PLACE)
    desk.leaves.came(*PLACE)
    await desk.hand_over()
    desk.leaves.went(*PLACE)
    assert await desk.after(3_600_000) == [("d", "restart")]


async def test_a_device_that_never_comes_has_a_minute(desk: Desk) -> None:
    await desk.hand_over(delay_ms=3_600_000)
    assert await desk.after(leaves.COME_MS - 1) == [("d", "restart")]
    assert await desk.after(1) == [("d", "send")]


async def test_a_restart_of_the_server_forgets_none(desk: Desk) -> None:
    desk.leaves.came(*PLACE)
    await desk.hand_over()
    await desk.hand_over("e")
    desk.leaves = desk.fresh()
    await desk.leaves.load()
    assert set(await desk.after(0)) == {("d", "restart"), ("e", "restart")}
    assert set(await desk.after(leaves.COME_MS)) == {("d", "send"), ("e", "send")}


async def test_what_its_owner_took_back_is_let_go(desk: Desk) -> None:
    desk.leaves.came(*PLACE)
    await desk.hand_over()
    desk.delay.refuses = True
    await desk.after(0)
    desk.delay.refuses = False
    assert await desk.after(3_600_000) == []


@pytest.mark.parametrize(
    "scheduled",
    [{"type": "m.room.message"}, {"room_id": "!other:a"}, {"done_ms": 1}],
)
async def test_only_a_leave_of_this_call_is_taken(desk: Desk, scheduled: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        await desk.hand_over(**scheduled)
    assert caught.value.reason is Reason.INVALID_PARAM


async def test_a_device_hands_over_only_so_many(desk: Desk) -> None:
    for number in range(limits.CALL_LEAVES_MAX):
        await desk.hand_over(str(number))
    with pytest.raises(Refused) as caught:
        await desk.hand_over("one more")
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
