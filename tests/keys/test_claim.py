"""POST /keys/claim: every one-time key goes to one claimer only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from kerwen.base import limits
from kerwen.keys import store
from kerwen.keys.actions.federation import NoFederation
from kerwen.keys.store import one_time_keys
from kerwen.storage.database import Database, Kind, Tx
from kerwen.storage.feed import Feed
from kerwen.storage.sql import Sql
from tests.keys.house import House, Person

ALGORITHM = "signed_curve25519"
AYNA = Person("ayna", "PHONE")
LAPTOP = Person("ayna", "LAPTOP")
BATYR = Person("batyr", "B")
WANT = {AYNA.user_id: {"PHONE": ALGORITHM}}


async def upload(house: House, person: Person, **body: Any) -> None:
    answer = await house.post(person.token, "/keys/upload", body)
    assert answer.status == 200, answer.body


async def claim(house: House, wanted: Any, token: str = BATYR.token) -> Any:
    answer = await house.post(token, "/keys/claim", {"one_time_keys": wanted})
    assert answer.status == 200, answer.body
    return answer.json["one_time_keys"]


async def claimed_names(house: House, count: int) -> list[str]:
    found = []
    for _ in range(count):
        found += list((await claim(house, WANT)).get(AYNA.user_id, {}).get("PHONE", {}))
    return found


async def counts(house: House, person: Person) -> dict[str, int]:
    async with house.db.read() as snap:
        return await store.one_time_key_counts(snap, house.callers[person.token].device_no)


async def unused(house: House, person: Person) -> list[str]:
    async with house.db.read() as snap:
        return await store.unused_fallback_types(snap, house.callers[person.token].device_no)


async def test_a_key_comes_as_uploaded_and_is_gone(house: House) -> None:
    key = AYNA.one_time_key(7)
    await upload(house, AYNA, one_time_keys={f"{ALGORITHM}:A": key})
    assert await counts(house, AYNA) == {ALGORITHM: 1}
    assert await claim(house, WANT) == {AYNA.user_id: {"PHONE": {f"{ALGORITHM}:A": key}}}
    assert await counts(house, AYNA) == {}
    assert await claim(house, WANT) == {}


async def test_many_devices_at_once(house: House) -> None:
    for person in (AYNA, LAPTOP, BATYR):
        await upload(house, person, one_time_keys=person.one_time_keys(2))
    found = await claim(
        house,
        {
            AYNA.user_id: {"PHONE": ALGORITHM, "LAPTOP": ALGORITHM, "NONE": ALGORITHM},
            BATYR.user_id: {"B": ALGORITHM},
            "@nobody:kerwen.test": {"X": ALGORITHM},
            "@\0:kerwen.test": {"X": ALGORITHM},
        },
    )
    assert found == {
        AYNA.user_id: {
            "PHONE": {f"{ALGORITHM}:AAAA0000": AYNA.one_time_key(0)},
            "LAPTOP": {f"{ALGORITHM}:AAAA0000": LAPTOP.one_time_key(0)},
        },
        BATYR.user_id: {"B": {f"{ALGORITHM}:AAAA0000": BATYR.one_time_key(0)}},
    }
    assert await counts(house, AYNA) == {ALGORITHM: 1}


async def test_keys_are_given_in_the_order_of_uploads(house: House) -> None:
    for name in ("z", "m", "a"):  # all within one millisecond
        await upload(house, AYNA, one_time_keys={f"{ALGORITHM}:{name}": AYNA.one_time_key(1)})
    assert await claimed_names(house, 3) == [f"{ALGORITHM}:{name}" for name in "zma"]


async def test_only_the_algorithm_asked_for(house: House) -> None:
    await upload(house, AYNA, one_time_keys={"curve25519:P": "plain", f"{ALGORITHM}:S": "signed"})
    asked = {AYNA.user_id: {"PHONE": "curve25519"}}
    assert await claim(house, asked) == {AYNA.user_id: {"PHONE": {"curve25519:P": "plain"}}}
    assert await claim(house, asked) == {}
    for odd in ("", "\0", "x" * 1000, "%", "' or 1"):
        assert await claim(house, {AYNA.user_id: {"PHONE": odd}}) == {}
    assert await counts(house, AYNA) == {ALGORITHM: 1}


async def test_a_fallback_key_only_when_no_other_is_left(house: House) -> None:
    fallback = AYNA.one_time_key(9, fallback=True)
    await upload(
        house,
        AYNA,
        one_time_keys={f"{ALGORITHM}:A": AYNA.one_time_key(1)},
        fallback_keys={f"{ALGORITHM}:F": fallback},
    )
    assert await unused(house, AYNA) == [ALGORITHM]
    assert await claimed_names(house, 1) == [f"{ALGORITHM}:A"]
    assert await unused(house, AYNA) == [ALGORITHM]
    for _ in range(2):
        found = await claim(house, WANT)
        assert found == {AYNA.user_id: {"PHONE": {f"{ALGORITHM}:F": fallback}}}
        assert await unused(house, AYNA) == []


async def test_a_new_fallback_key_is_unused_and_the_same_one_is_not(house: House) -> None:
    keys = {f"{ALGORITHM}:F": AYNA.one_time_key(1, fallback=True)}
    await upload(house, AYNA, fallback_keys=keys)
    await claim(house, WANT)
    await upload(house, AYNA, fallback_keys=keys)
    assert await unused(house, AYNA) == []
    await upload(house, AYNA, fallback_keys={f"{ALGORITHM}:G": AYNA.one_time_key(2, fallback=True)})
    assert await unused(house, AYNA) == [ALGORITHM]
    assert await claimed_names(house, 1) == [f"{ALGORITHM}:G"]


async def test_what_a_claim_tells(house: House, feed: Feed) -> None:
    """Caches learn of each key that goes; the device wakes when its fallback key is used."""
    told: list[tuple[int, int, int]] = []
    await upload(
        house,
        AYNA,
        one_time_keys={f"{ALGORITHM}:A": "x"},
        fallback_keys={f"{ALGORITHM}:F": AYNA.one_time_key(9, fallback=True)},
    )
    feed.follow(lambda _, changes: told.extend(changes))
    device_no = house.callers[AYNA.token].device_no
    await claim(house, WANT)
    assert told == [(Kind.KEY_COUNT, device_no, 0)]
    told.clear()
    await claim(house, WANT)
    assert told == [(Kind.KEY_COUNT, device_no, 0), (Kind.TO_DEVICE, device_no, 0)]
    told.clear()
    await claim(house, WANT)
    assert told == []


async def test_a_claimed_key_that_is_uploaded_again_is_not_given_again(house: House) -> None:
    """The answer of the upload was lost, a key was claimed, the client repeats the upload."""
    keys = AYNA.one_time_keys(2)
    await upload(house, AYNA, one_time_keys=keys)
    first = await claimed_names(house, 1)
    await upload(house, AYNA, one_time_keys=keys)
    assert await counts(house, AYNA) == {ALGORITHM: 1}
    rest = await claimed_names(house, 3)
    assert sorted(first + rest) == sorted(keys)


async def test_an_id_may_be_used_again_for_another_key(house: House) -> None:
    await upload(house, AYNA, one_time_keys={f"{ALGORITHM}:A": AYNA.one_time_key(1)})
    await claim(house, WANT)
    other = AYNA.one_time_key(2)
    await upload(house, AYNA, one_time_keys={f"{ALGORITHM}:A": other})
    assert await claim(house, WANT) == {AYNA.user_id: {"PHONE": {f"{ALGORITHM}:A": other}}}


async def test_spent_keys_are_forgotten_after_a_month(house: House) -> None:
    key = {f"{ALGORITHM}:A": AYNA.one_time_key(1)}
    await upload(house, AYNA, one_time_keys=key)
    await claim(house, WANT)
    house.clock.ms += limits.SPENT_KEY_LIFE_MS + 1
    await upload(house, AYNA, one_time_keys={f"{ALGORITHM}:B": AYNA.one_time_key(2)})
    await upload(house, AYNA, one_time_keys=key)
    assert await counts(house, AYNA) == {ALGORITHM: 2}


async def test_200_claims_at_once_never_give_a_key_twice(house: House) -> None:
    await upload(
        house,
        AYNA,
        one_time_keys=AYNA.one_time_keys(180),
        fallback_keys={f"{ALGORITHM}:F": AYNA.one_time_key(999, fallback=True)},
    )
    await upload(house, LAPTOP, one_time_keys=LAPTOP.one_time_keys(250))
    wanted = {AYNA.user_id: {"PHONE": ALGORITHM, "LAPTOP": ALGORITHM}}
    answers = await asyncio.gather(*(claim(house, wanted) for _ in range(200)))
    phone = [name for answer in answers for name in answer[AYNA.user_id]["PHONE"]]
    laptop = [name for answer in answers for name in answer[AYNA.user_id]["LAPTOP"]]
    once = [name for name in phone if name != f"{ALGORITHM}:F"]
    assert len(phone) == 200
    assert len(laptop) == len(set(laptop)) == 200
    assert sorted(once) == sorted(AYNA.one_time_keys(180)), "each once, and the fallback last"
    assert await counts(house, LAPTOP) == {ALGORITHM: 50}


async def test_claims_race_with_uploads(house: House) -> None:
    keys = AYNA.one_time_keys(100)
    names = list(keys)

    async def add(no: int) -> None:
        part = {name: keys[name] for name in names[no : no + 30]}
        await upload(house, AYNA, one_time_keys=part)

    jobs = [add(no) for no in range(0, 100, 10)] + [claimed_names(house, 4) for _ in range(25)]
    results = await asyncio.gather(*jobs)
    given = [name for found in results if found for name in found]
    given += await claimed_names(house, 101 - len(given))
    assert sorted(given) == sorted(names)


class _FirstUploadBehindTheLock:
    """A transaction whose lock found no keys yet; those of a first upload came just after."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._asked = 0

    async def all(self, statement: Sql, **values: Any) -> Sequence[Any]:
        self._asked += 1
        return [] if self._asked == 1 else await self._tx.all(statement, **values)


async def test_what_is_not_locked_is_not_given(house: House) -> None:
    """Else two who claim during the first upload get the same key."""
    await upload(house, AYNA, one_time_keys=AYNA.one_time_keys(2))
    device_no = house.callers[AYNA.token].device_no
    async with house.db.write() as tx:
        early = cast(Tx, _FirstUploadBehindTheLock(tx))
        assert await one_time_keys.claim_one_time_keys(early, ALGORITHM, [device_no]) == []
        late = await one_time_keys.claim_one_time_keys(tx, ALGORITHM, [device_no])
    assert len(late) == 1


class OneServer(NoFederation):
    """else.test answers."""

    async def claim_keys(
        self, server: str, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Mapping[str, bytes]]:
        if server == "else.test":
            return {"@x:else.test": {"D": b'{"a:b":"c"}'}}
        return await super().claim_keys(server, wanted, timeout_ms)


async def test_other_servers(database: Database, feed: Feed) -> None:
    house = House(database, feed, OneServer())
    await house.add_people({"batyr": ["B"]})
    answer = await house.post(
        BATYR.token,
        "/keys/claim",
        {"one_time_keys": {"@x:else.test": {"D": "a"}, "@y:third.test": {"D": "a"}}},
    )
    assert answer.json["one_time_keys"] == {"@x:else.test": {"D": {"a:b": "c"}}}
    assert list(answer.json["failures"]) == ["third.test"]


BAD: list[tuple[Any, str]] = [
    (b"{", "M_NOT_JSON"),
    (b"null", "M_BAD_JSON"),
    ({}, "M_BAD_JSON"),
    ({"one_time_keys": []}, "M_BAD_JSON"),
    ({"one_time_keys": {"@a:b": []}}, "M_BAD_JSON"),
    ({"one_time_keys": {"@a:b": {"D": 1}}}, "M_BAD_JSON"),
    ({"one_time_keys": {"@a:b": {"D": None}}}, "M_BAD_JSON"),
    (b'{"one_time_keys":{"@a:b":{"D":NaN}}}', "M_NOT_JSON"),
    ({"one_time_keys": {AYNA.user_id: {str(no): "a" for no in range(10_001)}}}, "M_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "errcode"), BAD)
async def test_bad_claims(house: House, body: Any, errcode: str) -> None:
    answer = await house.post(AYNA.token, "/keys/claim", body)
    assert (answer.status, answer.errcode) == (413 if errcode == "M_TOO_LARGE" else 400, errcode)
