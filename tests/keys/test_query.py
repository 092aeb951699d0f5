"""POST /keys/query, GET /keys/changes: what others see of a user's keys, and when to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kerwen.base.errors import Unavailable, Unready
from kerwen.keys import store
from kerwen.keys.actions.federation import NoFederation, RemoteKeys
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from tests.keys.house import House, Person

AYNA = Person("ayna", "PHONE")
LAPTOP = Person("ayna", "LAPTOP")
BATYR = Person("batyr", "B")
RENAME = sql("update devices set display_name = :name where device_no = :device_no")


async def publish(house: House, *people: Person) -> None:
    for person in people:
        answer = await house.post(
            person.token, "/keys/upload", {"device_keys": person.device_keys()}
        )
        assert answer.status == 200


async def query(house: House, token: str, asked: Mapping[str, Any]) -> Any:
    answer = await house.post(token, "/keys/query", {"device_keys": asked})
    assert answer.status == 200, answer.body
    return answer.json


async def test_devices_come_back_as_uploaded_with_their_names(house: House) -> None:
    await publish(house, AYNA, LAPTOP, BATYR)
    found = await query(house, BATYR.token, {AYNA.user_id: [], BATYR.user_id: []})
    assert found == {
        "device_keys": {
            AYNA.user_id: {
                "PHONE": AYNA.device_keys() | {"unsigned": {"device_display_name": "Phone"}},
                "LAPTOP": LAPTOP.device_keys() | {"unsigned": {}},
            },
            BATYR.user_id: {"B": BATYR.device_keys() | {"unsigned": {}}},
        },
        "master_keys": {},
        "self_signing_keys": {},
        "user_signing_keys": {},
        "failures": {},
    }
    assert await query(house, BATYR.token, {AYNA.user_id: [], BATYR.user_id: []}) == found


async def test_only_the_devices_asked_for(house: House) -> None:
    await publish(house, AYNA, LAPTOP)
    asked = {AYNA.user_id: ["LAPTOP", "NONE", "LAPTOP"], BATYR.user_id: ["B"]}
    found = await query(house, BATYR.token, asked)
    assert {user: list(devices) for user, devices in found["device_keys"].items()} == {
        AYNA.user_id: ["LAPTOP"],
        BATYR.user_id: [],
    }


async def test_unknown_users_are_left_out_and_not_remembered(house: House) -> None:
    new = Person("dovlet", "D")
    assert (await query(house, AYNA.token, {new.user_id: [], "nonsense": []})) == {
        "device_keys": {},
        "master_keys": {},
        "self_signing_keys": {},
        "user_signing_keys": {},
        "failures": {},
    }
    await house.add_people({"dovlet": ["D"]})
    assert (await query(house, AYNA.token, {new.user_id: []}))["device_keys"] == {new.user_id: {}}


async def test_other_servers_cannot_be_reached_yet(house: House) -> None:
    found = await query(house, AYNA.token, {"@x:else.test": [], "@y:else.test": ["D"]})
    assert list(found["failures"]) == ["else.test"]
    assert found["device_keys"] == {}


async def test_new_keys_are_seen_at_once(house: House) -> None:
    await publish(house, AYNA)
    await query(house, BATYR.token, {AYNA.user_id: []})
    keys = AYNA.device_keys()
    keys = AYNA.sign_with_device(keys | {"algorithms": ["m.other"]})
    await house.post(AYNA.token, "/keys/upload", {"device_keys": keys})
    found = await query(house, BATYR.token, {AYNA.user_id: []})
    assert found["device_keys"][AYNA.user_id]["PHONE"]["algorithms"] == ["m.other"]


async def test_signatures_of_others_and_unsigned_are_dropped(house: House) -> None:
    keys = AYNA.device_keys()
    keys["signatures"]["@batyr:kerwen.test"] = {"ed25519:B": "x"}
    keys["unsigned"] = {"device_display_name": "Evil"}
    await house.post(AYNA.token, "/keys/upload", {"device_keys": keys})
    found = await query(house, BATYR.token, {AYNA.user_id: []})
    assert found["device_keys"][AYNA.user_id]["PHONE"] == AYNA.device_keys() | {
        "unsigned": {"device_display_name": "Phone"}
    }


async def test_a_removed_and_a_renamed_device(house: House, database: Database) -> None:
    await publish(house, AYNA, LAPTOP)
    await query(house, BATYR.token, {AYNA.user_id: []})
    phone, laptop = house.callers[AYNA.token], house.callers[LAPTOP.token]
    async with database.write() as tx:
        await tx.run(RENAME, name='say "hi"', device_no=laptop.device_no)
        await store.on_device_renamed(tx, laptop.account_no, laptop.device_no)
    async with database.write() as tx:
        await store.on_device_removed(tx, phone.account_no, phone.device_no)
    found = (await query(house, BATYR.token, {AYNA.user_id: []}))["device_keys"][AYNA.user_id]
    assert list(found) == ["LAPTOP"]
    assert found["LAPTOP"]["unsigned"] == {"device_display_name": 'say "hi"'}


async def test_a_device_without_keys_goes_unnoticed(house: House, database: Database) -> None:
    phone = house.callers[AYNA.token]
    async with database.write() as tx:
        await store.on_device_renamed(tx, phone.account_no, phone.device_no)
        await store.on_device_removed(tx, phone.account_no, phone.device_no)
    assert tx.pos == 0


async def test_a_load_that_a_change_overtakes_is_not_kept(house: House) -> None:
    await publish(house, AYNA)
    with house.cache.loading() as changed:
        async with house.db.read() as snap:
            from kerwen.keys.actions.query import load_users

            (old,) = await load_users(snap, [AYNA.user_id])
        house.cache.forget(old.user_no)
        assert changed == {old.user_no}
        if old.user_no not in changed:
            house.cache.put(old)
    assert house.cache.get(AYNA.user_id) is None


async def test_two_workers_on_one_database(house: House, database: Database) -> None:
    """A worker whose feed lags behind still answers with the newest keys."""
    from kerwen.keys.actions.query import Query
    from kerwen.keys.key_cache import KeyCache

    await publish(house, AYNA)
    other = Query(database, KeyCache(), "kerwen.test", NoFederation(), shared=True)
    first = await other(2, {AYNA.user_id: []}, 0)
    assert await other(2, {AYNA.user_id: []}, 0) == first
    await publish(house, LAPTOP)
    assert b"LAPTOP" in await other(2, {AYNA.user_id: []}, 0)


class OneServer(NoFederation):
    """else.test answers, all others do not."""

    async def query_keys(
        self, server: str, users: Mapping[str, list[str]], timeout_ms: int
    ) -> RemoteKeys:
        if server != "else.test":
            raise Unavailable(Unready.TIMEOUT)
        assert users == {"@x:else.test": ["D"]}
        key = b'{"keys":{"ed25519:K":"K"},"signatures":{}}'
        return RemoteKeys({"@x:else.test": {"D": b'{"device_id":"D"}'}}, {"@x:else.test": key}, {})


async def test_others_answers_are_joined(database: Database, feed: Feed) -> None:
    house = House(database, feed, OneServer())
    await house.add_people({"ayna": ["PHONE"]})
    found = await query(house, AYNA.token, {"@x:else.test": ["D"], "@y:third.test": []})
    assert found["device_keys"] == {"@x:else.test": {"D": {"device_id": "D"}}}
    assert found["master_keys"]["@x:else.test"]["keys"] == {"ed25519:K": "K"}
    assert list(found["failures"]) == ["third.test"]


def changes(house: House, token: str, since: int, upto: int | None = None) -> Any:
    to = house.feed.settled if upto is None else upto
    return house.call(token, "GET", f"/keys/changes?from={since}&to={to}")


async def test_changes_are_told_to_those_who_share_a_room(house: House) -> None:
    ayna, batyr, cemal = 1, house.callers[BATYR.token].account_no, 6
    house.rooms = [{ayna, batyr}]
    await publish(house, AYNA)
    middle = house.feed.settled
    await publish(house, BATYR)
    assert cemal not in house.rooms[0]
    answer = await changes(house, BATYR.token, 0)
    assert answer.json == {"changed": [AYNA.user_id, BATYR.user_id], "left": []}
    assert (await changes(house, BATYR.token, middle)).json["changed"] == [BATYR.user_id]
    assert (await changes(house, BATYR.token, 0, middle)).json["changed"] == [AYNA.user_id]
    assert (await changes(house, "cemal/C", 0)).json == {"changed": [], "left": []}


@pytest.mark.parametrize("path", ["/keys/changes", "/keys/changes?from=1", "/keys/changes?to=1"])
async def test_changes_need_both_ends(house: House, path: str) -> None:
    answer = await house.call(AYNA.token, "GET", path)
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")


BAD: list[tuple[Any, str]] = [
    (b"{", "M_NOT_JSON"),
    (b"[]", "M_BAD_JSON"),
    (b"", "M_BAD_JSON"),
    (b'{"device_keys":{"@a:b":[NaN]}}', "M_NOT_JSON"),
    (b'{"device_keys":{"@a:b":["\xff"]}}', "M_NOT_JSON"),
    (b'{"device_keys":{"@\\ud800aaaaaaa:kerwen.test":[]}}', "M_NOT_JSON"),
    (b'{"device_keys":{"@\\udc00aaaaaaa:kerwen.test":[]}}', "M_NOT_JSON"),
    ({"device_keys": None}, "M_BAD_JSON"),
    ({"device_keys": []}, "M_BAD_JSON"),
    ({"device_keys": {"@a:b": {}}}, "M_BAD_JSON"),
    ({"device_keys": {"@a:b": "D"}}, "M_BAD_JSON"),
    ({"device_keys": {"@a:b": [1]}}, "M_BAD_JSON"),
    ({"device_keys": {}, "timeout": "x"}, "M_BAD_JSON"),
    ({"device_keys": {f"@a{no}:kerwen.test": [] for no in range(10_001)}}, "M_TOO_LARGE"),
    ({"device_keys": {"@\0:kerwen.test": [], "": [], "@" + "x" * 400 + ":kerwen.test": []}}, ""),
    ({"device_keys": {}, "timeout": -5}, ""),
    ({"device_keys": {}, "timeout": 1.5}, ""),
    ({"device_keys": {}, "timeout": 1e300}, ""),
]


@pytest.mark.parametrize(("body", "errcode"), BAD)
async def test_bad_queries(house: House, body: Any, errcode: str) -> None:
    answer = await house.post(AYNA.token, "/keys/query", body)
    assert answer.json.get("errcode", "") == errcode, answer.body
    assert answer.status == (413 if errcode == "M_TOO_LARGE" else 400 if errcode else 200)
