"""Sliding sync (MSC4186): positions, connections, waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerwen.storage.sql import sql
from tests.rooms.house import House, Person, bodies, soon
from tests.rooms.sliding_client import (
    LAZILY,
    SlidingClient,
    all_rooms,
    ask,
    post,
    with_extensions,
)

_STATES = sql("select device_no from sliding_states")


async def parked(house: House, count: int = 1) -> None:
    """Waits until so many sliding syncs wait for news."""
    for _ in range(10_000):
        if house.messenger.sliding_sync.parked >= count:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{house.messenger.sliding_sync.parked} wait, not {count}")


# --- positions ------------------------------------------------------------------------------------


async def test_a_position_that_was_never_given(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    await ayna.create_room()
    pos = (await ask(ayna, all_rooms()))["pos"]
    generation, _, token = pos.partition(".")
    for bad in (
        "x",
        "5",
        f"{int(generation) + 1}.{token}",
        f"0.{token}",
        f"{generation}.",
        f"{generation}.EP8H",
        f"{2**62}.{token}",
        token,
        pos + "x",
        "\0",
    ):
        answer = await post(ayna, all_rooms(), bad)
        assert (answer.status, answer.errcode) == (400, "M_UNKNOWN_POS"), (bad, answer)
    for person, more in (
        (batyr, {}),
        (await ayna.log_in(), {}),
        (ayna, {"conn_id": "other"}),
    ):
        answer = await post(person, all_rooms() | more, pos)
        assert (answer.status, answer.errcode) == (400, "M_UNKNOWN_POS")
    assert (await post(ayna, all_rooms(), pos)).status == 200


async def test_a_lost_answer_is_given_again(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(3)]
    await batyr.join(rooms[0])
    first = await ask(ayna, all_rooms(2, last=0))
    await batyr.say(rooms[0], "one")
    lost = await ask(ayna, all_rooms(2), first["pos"])
    again = await ask(ayna, all_rooms(2), first["pos"])
    assert without_ages(lost["rooms"]) == without_ages(again["rooms"])
    assert lost["rooms"].keys() == set(rooms)
    assert not (await ask(ayna, all_rooms(2), again["pos"]))["rooms"]
    answer = await post(ayna, all_rooms(2), first["pos"])  # two states are kept, not three
    assert answer.status == 200
    assert (await post(ayna, all_rooms(2), lost["pos"])).errcode == "M_UNKNOWN_POS"


def without_ages(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: without_ages(v) for k, v in found.items() if k != "age"}
    return [without_ages(v) for v in found] if isinstance(found, list) else found


async def test_live_answers_write_nothing(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(with_extensions(all_rooms(1, LAZILY)))
    generation = str(client.pos).partition(".")[0]
    for n in range(3):
        await batyr.say(room, str(n))
        event = await batyr.say(room, str(n))
        await batyr.read(room, event)
        answer = await client.sync(with_extensions(all_rooms(1, LAZILY)))
        assert answer["rooms"]
        assert str(client.pos).partition(".")[0] == generation


async def test_a_position_outlives_a_restart(house: House) -> None:
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(2)]
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1, LAZILY))
    await ayna.say(rooms[0], "one")
    again = await house.reopen()
    try:
        ayna.house = again
        answer = await client.sync(all_rooms(1, LAZILY))
        assert answer["rooms"].keys() == {rooms[0]}
        assert bodies(answer["rooms"][rooms[0]]["timeline"]) == ["one"]
        assert "initial" not in answer["rooms"][rooms[0]]
        assert not (await client.sync(all_rooms(1, LAZILY)))["rooms"]
    finally:
        await again.close()


async def test_connections_are_apart(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    one, other = SlidingClient(ayna, "one"), SlidingClient(ayna, "other")
    for client in (one, other):
        assert (await client.sync(all_rooms()))["rooms"][room]["initial"]
    await ayna.say(room, "x")
    for client in (one, other):
        assert bodies((await client.sync(all_rooms()))["rooms"][room]["timeline"]) == ["x"]


async def test_a_device_has_only_so_many_connections(house: House) -> None:
    ayna = await house.person("ayna")
    clients = [SlidingClient(ayna, f"c{n}") for n in range(18)]
    for client in clients:
        await client.sync({})
    await house.messenger.sliding_sync.connections.finish()
    house.messenger.sliding_sync.connections._kept.clear()
    statuses = [(await post(ayna, {"conn_id": c.conn_id}, c.pos)).status for c in clients]
    assert statuses == [400] * 2 + [200] * 16


async def test_a_device_that_logs_out_takes_its_connections_along(house: House) -> None:
    ayna = await house.person("ayna")
    other = await ayna.log_in()
    await SlidingClient(other).sync({})
    await SlidingClient(ayna).sync({})
    await other.must("POST", "logout")
    await house.messenger.sliding_sync.connections.finish()
    async with house.db.read() as snap:
        assert len(await snap.all(_STATES)) == 1


async def test_connections_that_nobody_uses_are_dropped(house: House) -> None:
    ayna = await house.person("ayna")
    old, used = SlidingClient(ayna, "old"), SlidingClient(ayna, "used")
    await old.sync({})
    await used.sync({})
    sliding = house.messenger.sliding_sync
    await sliding.connections.finish()
    house.clock.ms += 29 * 24 * 3_600_000
    await used.sync({})
    house.clock.ms += 2 * 24 * 3_600_000
    await sliding.connections.finish()
    await sliding.tidy()
    sliding.connections._kept.clear()
    assert (await post(ayna, {"conn_id": "old"}, old.pos)).errcode == "M_UNKNOWN_POS"
    assert (await post(ayna, {"conn_id": "used"}, used.pos)).status == 200


async def test_a_position_is_a_place_in_every_room(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    await ayna.say(room, "before")
    pos = (await ask(ayna, all_rooms(1)))["pos"]
    await ayna.say(room, "after")
    older = await ayna.messages(room, "b", limit=1, **{"from": pos})
    newer = await ayna.messages(room, "f", limit=1, **{"from": pos})
    assert (bodies(older["chunk"]), bodies(newer["chunk"])) == (["before"], ["after"])


async def test_a_transaction_id_is_echoed(house: House) -> None:
    ayna = await house.person("ayna")
    assert (await ask(ayna, {"txn_id": "abc"}))["txn_id"] == "abc"
    assert "txn_id" not in await ask(ayna, {})


# --- waiting --------------------------------------------------------------------------------------


async def test_news_wake_whoever_waits(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    other = await batyr.create_room()
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.sync(all_rooms(), 30_000))
    await parked(house)
    await batyr.say(other, "not for her")
    await batyr.say(room, "for her")
    answer = await soon(waiting)
    assert bodies(answer["rooms"][room]["timeline"]) == ["for her"]


async def test_an_invitation_wakes(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    client = SlidingClient(batyr)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.sync(all_rooms(), 30_000))
    await parked(house)
    room = await ayna.create_room(invite=[batyr.id])
    assert (await soon(waiting))["rooms"].keys() == {room}


async def test_what_is_not_asked_for_wakes_nobody_for_good(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    event = await ayna.say(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.sync(all_rooms(), 30_000))
    await parked(house)
    await batyr.read(room, event)
    await parked(house)
    assert not waiting.done()
    await batyr.say(room, "x")
    assert bodies((await soon(waiting))["rooms"][room]["timeline"]) == ["x"]


async def test_time_runs_out(house: House) -> None:
    ayna = await house.person("ayna")
    await ayna.create_room()
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    answer = await soon(client.sync(all_rooms(), 20))
    assert (answer["rooms"], answer["lists"]) == ({}, {"all": {"count": 1}})


async def test_without_a_position_nobody_waits(house: House) -> None:
    ayna = await house.person("ayna")
    assert (await soon(ask(ayna, all_rooms(), timeout=30_000)))["rooms"] == {}


async def test_asking_again_ends_the_request_before(house: House) -> None:
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room() for _ in range(2)]
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1, last=0))
    pos = client.pos
    waiting = asyncio.ensure_future(client.ask(all_rooms(1, last=0), 30_000))
    await parked(house)
    answer = await soon(client.sync(all_rooms(1), 30_000))
    assert answer["rooms"].keys() == {rooms[0]}
    old = await soon(waiting)
    assert (old["pos"], old["rooms"]) == (pos, {})
    assert not (await client.sync(all_rooms(1)))["rooms"]  # the new position still stands


async def test_a_client_that_goes_away_leaves_nothing_behind(house: House) -> None:
    ayna = await house.person("ayna")
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.ask(all_rooms(), 30_000))
    await parked(house)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    sliding = house.messenger.sliding_sync
    watch = house.messenger.wake.get(await number(house, ayna))
    assert watch is not None
    assert (sliding.parked, watch.parked, watch.waiters) == (0, 0, [])
    assert not sliding.connections.open(await device(house, ayna), "main").turns


async def number(house: House, person: Person) -> int:
    return (await house.messenger.accounts.authenticate.caller(person.token)).account_no


async def device(house: House, person: Person) -> int:
    return (await house.messenger.accounts.authenticate.caller(person.token)).device_no


async def test_an_account_that_is_gone_from_memory_is_answered(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.sync(all_rooms(), 30_000))
    await parked(house)
    watch = house.messenger.wake.get(await number(house, ayna))
    assert watch is not None
    house.messenger.wake.close(watch)
    assert (await soon(waiting))["rooms"] == {}
    house.messenger.sliding_sync._shelves.sweep()
    await batyr.say(room, "x")
    assert bodies((await client.sync(all_rooms()))["rooms"][room]["timeline"]) == ["x"]


async def test_stopping_answers_all(house: House) -> None:
    ayna = await house.person("ayna")
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    waiting = asyncio.ensure_future(client.sync(all_rooms(), 30_000))
    await parked(house)
    house.messenger.sliding_sync.stop()
    assert (await soon(waiting))["rooms"] == {}
