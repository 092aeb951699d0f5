"""PUT /sendToDevice, and the queue that a sync reads."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kerwen.base import limits
from kerwen.keys import store
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from tests.keys.house import House, Person

AYNA = Person("ayna", "PHONE")
BATYR = Person("batyr", "B")
PATH = "/sendToDevice/m.room.encrypted/"


async def send(house: House, txn: str, messages: Any, token: str = AYNA.token) -> None:
    answer = await house.call(token, "PUT", PATH + txn, {"messages": messages})
    assert (answer.status, answer.json) == (200, {}), answer.body


async def pending(house: House, token: str, limit: int = 100) -> list[Any]:
    """(position, order, event) of a device's queue."""
    device_no = house.callers[token].device_no
    async with house.db.read() as snap:
        rows = await store.to_device(snap, device_no, house.feed.settled, limit)
    return [(pos, n, orjson.loads(body)) for pos, n, body in rows]


async def contents(house: House, token: str) -> list[Any]:
    return [event["content"] for _, _, event in await pending(house, token)]


async def test_one_device_gets_the_event(house: House) -> None:
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "n": [1, 1.5, None, "\0", "ö"]}
    await send(house, "t1", {BATYR.user_id: {"B": content}})
    event = {"type": "m.room.encrypted", "sender": AYNA.user_id, "content": content}
    assert await pending(house, BATYR.token) == [(house.feed.settled, 0, event)]
    assert await pending(house, AYNA.token) == []


async def test_all_devices_of_a_user(house: House) -> None:
    await send(
        house,
        "t1",
        {AYNA.user_id: {"*": {"to": "all"}, "LAPTOP": {"to": "laptop"}}, "@no:x": {"*": {}}},
    )
    assert await contents(house, AYNA.token) == [{"to": "all"}]
    assert await contents(house, "ayna/LAPTOP") == [{"to": "laptop"}]
    assert await contents(house, BATYR.token) == []


async def test_unknown_targets_are_passed_over(house: House) -> None:
    await send(
        house,
        "t1",
        {
            "@nobody:kerwen.test": {"*": {}},
            "@\0:kerwen.test": {"*": {}},
            "": {"*": {}},
            BATYR.user_id: {"NONE": {}, "": {}},
        },
    )
    assert await contents(house, BATYR.token) == []


async def test_a_repeated_transaction_delivers_once(house: House) -> None:
    for _ in range(3):
        await send(house, "same", {BATYR.user_id: {"B": {"n": 1}}})
    await send(house, "other", {BATYR.user_id: {"B": {"n": 2}}})
    await send(house, "same", {BATYR.user_id: {"B": {"n": 3}}}, token="ayna/LAPTOP")
    await house.call(
        AYNA.token,
        "PUT",
        "/sendToDevice/m.other/same",
        {"messages": {BATYR.user_id: {"B": {"n": 4}}}},
    )
    assert [content["n"] for content in await contents(house, BATYR.token)] == [1, 2, 3, 4]


async def test_the_same_transaction_at_once(house: House) -> None:
    await asyncio.gather(*(send(house, "same", {BATYR.user_id: {"B": {}}}) for _ in range(20)))
    assert len(await contents(house, BATYR.token)) == 1


async def test_old_transactions_are_forgotten(house: House, monkeypatch: Any) -> None:
    monkeypatch.setattr("kerwen.keys.actions.send_to_device._SWEEP_EVERY", 1)
    await send(house, "t", {BATYR.user_id: {"B": {}}})
    house.clock.ms += limits.TO_DEVICE_TXN_LIFE_MS + 1
    await send(house, "u", {})
    await send(house, "t", {BATYR.user_id: {"B": {}}})
    assert len(await contents(house, BATYR.token)) == 2


async def test_each_device_is_told_once(house: House, feed: Feed) -> None:
    told: list[Any] = []
    feed.follow(lambda pos, changes: told.append(list(changes)))
    await send(house, "t", {AYNA.user_id: {"*": {}}, BATYR.user_id: {"B": {}}})
    await send(house, "empty", {})
    await send(house, "nobody", {"@nobody:kerwen.test": {"*": {}}})
    devices = [house.callers[token].device_no for token in (AYNA.token, "ayna/LAPTOP", "batyr/B")]
    assert [sorted(changes) for changes in told] == [
        [(Kind.TO_DEVICE, no, 0) for no in sorted(devices)]
    ]


async def test_a_large_transaction_goes_by_the_staging_table(house: House) -> None:
    """More messages than a tail may carry, more bytes, and the same text for many."""
    people = {f"p{no}": ["D1", "D2"] for no in range(130)}
    await house.add_people(people)
    ids = {name: f"@{name}:kerwen.test" for name in people}
    await send(
        house,
        "many",
        {user: {"D1": {"n": name}, "D2": {"n": name, "d": 2}} for name, user in ids.items()},
    )
    big = {"body": "x" * 60_000}
    different = {ids[f"p{no}"]: {"D1": big | {"n": no}} for no in range(10)}
    await send(house, "big", different)
    await send(house, "alike", {user: {"*": big} for user in ids.values()})
    assert await contents(house, "p5/D1") == [{"n": "p5"}, big | {"n": 5}, big]
    assert await contents(house, "p129/D2") == [{"n": "p129", "d": 2}, big]
    positions = [pos for pos, _, _ in await pending(house, "p5/D1")]
    assert positions == list(range(house.feed.settled - 2, house.feed.settled + 1))


async def add(database: Database, device_no: int, count: int) -> int:
    """A position with `count` messages for one device, as federation may bring."""
    batch = await database.take_id("to_device_batch")
    async with database.write() as tx:
        rows = {b'{"n":%d}' % n: [device_no] for n in range(count)}
        await store.add_to_device(tx, rows, batch)
    return tx.pos


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([], 10, []),
        ([1, 1, 1], 10, [1, 1, 1]),
        ([1] * 11, 10, [1] * 10),
        ([5, 5], 10, [5, 5]),
        ([5, 6], 10, [5]),
        ([15, 1], 10, [15]),
        ([3, 15, 1], 10, [3]),
        ([150], 100, [150]),
        ([250], 100, [250]),
    ],
)
async def test_never_a_part_of_a_position(
    house: House, database: Database, counts: list[int], limit: int, expected: list[int]
) -> None:
    no = house.callers[BATYR.token].device_no
    positions = [await add(database, no, count) for count in counts]
    rows = await pending(house, BATYR.token, limit)
    assert [(pos, n) for pos, n, _ in rows] == [
        (pos, n) for pos, count in zip(positions, expected, strict=False) for n in range(count)
    ]


async def test_read_up_to_a_position_and_delete_through_one(
    house: House, database: Database
) -> None:
    no = house.callers[BATYR.token].device_no
    first, second, third = [await add(database, no, 2) for _ in range(3)]
    async with database.read() as snap:
        rows = await store.to_device(snap, no, second, 100)
        assert {row[0] for row in rows} == {first, second}
    async with database.write() as tx:
        assert await store.delete_to_device(tx, no, first) == 2
        assert await store.delete_to_device(tx, no, first) == 0
    assert [pos for pos, _, _ in await pending(house, BATYR.token)] == [second] * 2 + [third] * 2


async def test_a_full_queue_takes_no_more_until_it_is_read(
    house: House, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TO_DEVICE_PENDING_MAX", 3)
    for no in range(5):
        await send(house, f"t{no}", {BATYR.user_id: {"B": {"n": no}}, AYNA.user_id: {"*": {}}})
        async with database.write() as tx:
            phone = house.callers[AYNA.token].device_no
            await store.delete_to_device(tx, phone, house.feed.settled)
    assert [content["n"] for content in await contents(house, BATYR.token)] == [0, 1, 2]
    async with database.write() as tx:
        await store.delete_to_device(tx, house.callers[BATYR.token].device_no, 1)
    await send(house, "again", {BATYR.user_id: {"B": {"n": 9}}})
    assert [content["n"] for content in await contents(house, BATYR.token)] == [1, 2, 9]


async def test_a_removed_device_leaves_nothing(house: House, database: Database) -> None:
    batyr = house.callers[BATYR.token]
    await send(house, "t", {BATYR.user_id: {"B": {}}})
    async with database.write() as tx:
        await store.on_device_removed(tx, batyr.account_no, batyr.device_no)
    assert await pending(house, BATYR.token) == []


DEEP = b'{"messages":{"@batyr:kerwen.test":{"B":{"a":' + b"[" * 70 + b"]" * 70 + b"}}}}"
BAD: list[tuple[Any, int, str]] = [
    (b"", 400, "M_BAD_JSON"),
    (b"{", 400, "M_NOT_JSON"),
    (b"[]", 400, "M_BAD_JSON"),
    ({"messages": None}, 400, "M_BAD_JSON"),
    ({"messages": []}, 400, "M_BAD_JSON"),
    ({"messages": {BATYR.user_id: []}}, 400, "M_BAD_JSON"),
    ({"messages": {BATYR.user_id: {"B": []}}}, 400, "M_BAD_JSON"),
    ({"messages": {BATYR.user_id: {"B": "x"}}}, 400, "M_BAD_JSON"),
    ({"messages": {BATYR.user_id: {"B": None}}}, 400, "M_BAD_JSON"),
    (b'{"messages":{"@batyr:kerwen.test":{"B":{"a":NaN}}}}', 400, "M_NOT_JSON"),
    (b'{"messages":{"@batyr:kerwen.test":{"B":{"a":1e400}}}}', 400, "M_NOT_JSON"),
    (b'{"messages":{"@batyr:kerwen.test":{"B":{"a":"\\udc00"}}}}', 400, "M_NOT_JSON"),
    (b'{"messages":{"@batyr:kerwen.test":{"B":{"a":"\xff"}}}}', 400, "M_NOT_JSON"),
    (DEEP, 400, "M_BAD_JSON"),
    ({"messages": {BATYR.user_id: {"B": {"a": "x" * 70_000}}}}, 413, "M_TOO_LARGE"),
    ({"messages": {BATYR.user_id: {str(no): {} for no in range(10_001)}}}, 413, "M_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), BAD)
async def test_bad_messages(house: House, body: Any, status: int, errcode: str) -> None:
    answer = await house.call(AYNA.token, "PUT", PATH + "t", body)
    assert (answer.status, answer.errcode) == (status, errcode), answer.body
    assert await contents(house, BATYR.token) == []
    await send(house, "t", {BATYR.user_id: {"B": {}}})
    assert await contents(house, BATYR.token) == [{}], "a refused request used no transaction id"


async def test_more_bytes_than_one_request_may_store(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TO_DEVICE_REQUEST_MAX", 1000)
    body = {"messages": {AYNA.user_id: {"*": {"a": "x" * 600}}}}
    answer = await house.call(AYNA.token, "PUT", PATH + "t", body)
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize("path", [f"/sendToDevice/{'m' * 300}/t", f"/sendToDevice/m/{'t' * 300}"])
async def test_endless_names(house: House, path: str) -> None:
    answer = await house.call(AYNA.token, "PUT", path, {"messages": {}})
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
