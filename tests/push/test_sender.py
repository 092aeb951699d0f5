"""Sending: gateways that are down for days, that reject, that hang; crashes in between."""

# ruff: noqa: ASYNC110  (tests may poll)

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kerwen.base import limits
from kerwen.push.sender import CLAIM_MS, PushSender
from kerwen.storage.cursors import CursorFollower
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from tests.push.gateway import FakeGateway
from tests.push.test_notify import pair
from tests.push.world import follow, push, pushers, set_pusher
from tests.rooms.house import House, soon

WAITING = sql("select count(*) from pushes")
DUE = sql("select due_ms, failures from pushers")
EXPIRE = sql("update feed_cursor set lease_until = 1 where name = 'push'")
HOUR_MS = 3_600_000


async def one(house: House, statement: object) -> tuple[int, ...]:
    async with house.db.read() as snap:
        row = await snap.one(statement)  # type: ignore[arg-type]
    assert row is not None
    return row


async def test_failures_wait_longer_and_longer(both: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(both, gateway)
    gateway.status = 503
    event_id = await batyr.say(room)
    await follow(both)
    waits = []
    for _ in range(16):
        assert await both.messenger.push.sender.step() == 1
        due, failures = await one(both, DUE)
        waits.append(due - both.clock.ms)
        assert await both.messenger.push.sender.step() == 0, "not before its time"
        both.clock.ms = due
    assert failures == 16
    assert waits[0] <= 1_000 < waits[1] <= 2_000 < waits[2] <= 4_000
    assert HOUR_MS - 100 < waits[-1] <= HOUR_MS
    gateway.status = 200
    await push(both)
    assert gateway.events == [event_id]
    assert await one(both, DUE) == (None, 0)
    assert await one(both, WAITING) == (0,)


async def test_after_days_only_what_is_news_is_told(both: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(both, gateway)
    gateway.status = 500
    for _ in range(3):
        await batyr.say(room)
    await push(both)
    for _ in range(3 * 24):
        both.clock.ms += HOUR_MS
        await push(both)
    said = [await batyr.say(room) for _ in range(limits.PUSHES_WAITING_MAX + 5)]
    await push(both)
    gateway.status = 200
    both.clock.ms += HOUR_MS
    await push(both)
    assert gateway.events == said[5:]
    assert gateway.told[-1]["counts"] == {"unread": len(said) + 3}
    assert await one(both, WAITING) == (0,)


async def test_when_all_is_too_old_the_count_is_told(house: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(house, gateway)
    gateway.status = 500
    await batyr.say(room)
    await push(house)
    house.clock.ms += 25 * HOUR_MS
    gateway.status = 200
    await push(house)
    (told,) = gateway.told
    assert (told["counts"], "event_id" in told) == ({"unread": 1}, False)


async def test_order_is_kept_after_a_failure(house: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(house, gateway)
    gateway.status = 500
    said = [await batyr.say(room)]
    await push(house)
    said.append(await batyr.say(room))
    await push(house)
    gateway.status = 200
    house.clock.ms += 10_000
    await push(house)
    assert gateway.events == said


async def test_a_gateway_may_ask_for_time(house: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(house, gateway)
    gateway.status, gateway.headers = 429, {"Retry-After": "600"}
    await batyr.say(room)
    await push(house)
    due, _ = await one(house, DUE)
    assert 599_000 < due - house.clock.ms <= 600_000


async def test_a_rejected_pushkey_is_deleted(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    await set_pusher(ayna, gateway.url, "good")
    gateway.rejects = {"key"}
    await batyr.say(room)
    await push(both)
    assert await pushers(ayna) == ["good"]
    assert await one(both, WAITING) == (0,)
    gateway.told.clear()
    await batyr.say(room)
    await push(both)
    assert [t["devices"][0]["pushkey"] for t in gateway.told] == ["good"]


async def test_nobody_can_reject_for_others(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    gateway.rejects = {"other"}
    await batyr.say(room)
    await push(house)
    assert await pushers(ayna) == ["key"]


async def test_one_dead_gateway_does_not_hold_up_the_other(
    house: House, gateway: FakeGateway
) -> None:
    ayna, batyr, room = await pair(house, gateway)
    dead = "http://127.0.0.1:1/_matrix/push/v1/notify"
    for n in range(5):
        await set_pusher(ayna, dead, f"dead{n}")
    gateways = house.messenger.push.gateways
    before = gateways.asked
    said = await batyr.say(room)
    await push(house)
    assert gateway.events == [said]
    asked = gateways.asked - before
    await batyr.say(room)
    house.clock.ms += 500
    await push(house)
    assert gateways.asked - before == asked + 1, "a host that is away is left alone"


async def test_a_crash_after_the_deed_does_it_again_once(both: House, gateway: FakeGateway) -> None:
    """The deed is written down, the cursor's lease is lost before the step ends."""
    _, batyr, room = await pair(both, gateway)
    said = await batyr.say(room)
    notify, parts = both.messenger.push.notify, both.messenger.push
    old = parts.follower
    async with both.db.write() as tx:
        await tx.run(EXPIRE)
    # another worker does the same batch from the same place: the old one has not saved yet
    new = CursorFollower(both.db, both.feed, "push", "other", notify)
    await new.step()
    await old.step()  # its leases are gone: no row is doubled, no cursor goes back
    assert await one(both, WAITING) == (1,)
    assert await both.messenger.push.sender.step() == 1
    assert gateway.events == [said]


async def test_a_crash_before_the_deed_loses_nothing(both: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(both, gateway)
    said = await batyr.say(room)
    notify, real = both.messenger.push.notify, both.messenger.push.notify._find

    async def dies(items: object) -> object:
        await real(items)  # type: ignore[arg-type]
        raise ZeroDivisionError

    notify._find = dies  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        await follow(both)
    notify._find = real  # type: ignore[method-assign]
    await push(both)
    assert gateway.events == [said]


async def test_a_worker_that_dies_while_sending(both: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(both, gateway)
    said = await batyr.say(room)
    await follow(both)
    gateway.hangs = True
    parts = both.messenger.push
    dying = asyncio.ensure_future(parts.sender.step())
    async with asyncio.timeout(10):
        while not parts.sender._held or parts.gateways.asked == 0:
            await asyncio.sleep(0.005)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    gateway.over.set()
    gateway.hangs = False
    other = PushSender(both.db, parts.gateways, parts.sender._count, both.clock)
    assert await other.step() == 0, "it is claimed"
    both.clock.ms += CLAIM_MS
    assert await other.step() == 1
    assert said in gateway.events


async def test_a_stopped_worker_gives_back(house: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(house, gateway)
    gateway.hangs = True
    said = await batyr.say(room)
    await follow(house)
    parts = house.messenger.push
    task = asyncio.ensure_future(parts.sender.run())
    async with asyncio.timeout(10):
        while parts.gateways.asked < 1:
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gateway.over.set()
    gateway.hangs = False
    await push(house)
    assert gateway.events[-1] == said


async def test_the_workers_send_by_themselves(both: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(both, gateway)
    parts = both.messenger.push
    await parts.follower.release()
    tasks = [asyncio.ensure_future(w()) for w in (parts.follow, parts.sender.run)]
    said = [await batyr.say(room) for _ in range(5)]

    async def all_told() -> None:
        while gateway.events != said:
            await asyncio.sleep(0.005)

    await soon(all_told())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_thousand_wait_in_turn(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    for n in range(99):
        await set_pusher(ayna, gateway.url, f"key{n}")
    said = await batyr.say(room)
    await follow(house)
    turns = []
    while count := await house.messenger.push.sender.step():
        turns.append(count)
    assert turns == [64, 36]
    assert gateway.events == [said] * 100


async def test_what_waits_for_nobody_is_swept(
    database: Database, feed: Feed, tmp_path: Path, gateway: FakeGateway
) -> None:
    house = House(database, feed, tmp_path)
    ayna, batyr, room = await pair(house, gateway)
    gateway.status = 500
    await batyr.say(room)
    await push(house)
    body = {"app_id": "test.app", "pushkey": "key", "kind": None}
    await ayna.must("POST", "pushers", "set", body=body)
    assert await one(house, WAITING) == (1,)
    await house.messenger.push.sender._sweep()
    assert await one(house, WAITING) == (0,)
    await house.messenger.outgoing.close()
