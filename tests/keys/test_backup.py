"""/room_keys: versions of a backup, and which copy of a key stays."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from kerwen.base import limits
from kerwen.keys import backup, store
from kerwen.keys.backup import Rank
from kerwen.storage.database import Database
from tests.keys.house import House

AYNA, BATYR = "ayna/PHONE", "batyr/B"
VERSION, KEYS = "/room_keys/version", "/room_keys/keys"
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM = "!room:kerwen.test"
BODY = {"algorithm": ALGORITHM, "auth_data": {"public_key": "abc", "signatures": {}}}


def key(verified: bool = False, index: int = 1, forwarded: int = 0, text: str = "x") -> Any:
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ephemeral": "e", "ciphertext": text, "mac": "m"},
    }


async def create(house: House, token: str = AYNA) -> str:
    answer = await house.post(token, VERSION, BODY)
    assert answer.status == 200, answer.body
    return str(answer.json["version"])


async def put(house: House, version: str, path: str, body: Any, token: str = AYNA) -> Any:
    answer = await house.call(token, "PUT", f"{KEYS}{path}?version={version}", body)
    assert answer.status == 200, answer.body
    return answer.json


async def get(house: House, version: str, path: str = "", token: str = AYNA) -> Any:
    answer = await house.call(token, "GET", f"{KEYS}{path}?version={version}")
    assert answer.status == 200, answer.body
    return answer.json


async def delete(house: House, version: str, path: str = "") -> Any:
    answer = await house.call(AYNA, "DELETE", f"{KEYS}{path}?version={version}")
    assert answer.status == 200, answer.body
    return answer.json


# --- versions -----------------------------------------------------------------------------


async def test_the_newest_version_is_the_current_one(house: House) -> None:
    answer = await house.call(AYNA, "GET", VERSION)
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    first, second = await create(house), await create(house)
    assert first != second
    expected = {**BODY, "count": 0, "etag": "0", "version": second}
    assert (await house.call(AYNA, "GET", VERSION)).json == expected
    assert (await house.call(AYNA, "GET", f"{VERSION}/{first}")).json == {
        **expected,
        "version": first,
    }
    assert (await house.call(BATYR, "GET", f"{VERSION}/{first}")).status == 404


async def test_a_deleted_version_is_gone_and_its_number_too(house: House) -> None:
    first, second = await create(house), await create(house)
    await put(house, second, f"/{ROOM}/s", key())
    for _ in range(2):  # deleting again is fine
        assert (await house.call(AYNA, "DELETE", f"{VERSION}/{second}")).json == {}
    assert (await house.call(AYNA, "GET", VERSION)).json["version"] == first
    for method, path in (("GET", VERSION), ("PUT", VERSION)):
        answer = await house.call(AYNA, method, f"{path}/{second}", BODY)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    answer = await house.call(AYNA, "GET", f"{KEYS}?version={second}")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    assert await create(house) not in (first, second)


@pytest.mark.parametrize("name", ["99", "x", "01", "-1", "1.0", "9" * 30, "%20", "1%00"])
async def test_unknown_versions(house: House, name: str) -> None:
    await create(house)
    for method in ("GET", "PUT", "DELETE"):
        answer = await house.call(AYNA, method, f"{VERSION}/{name}", BODY)
        assert answer.errcode == ("M_INVALID_PARAM" if "%00" in name else "M_NOT_FOUND")


async def test_only_auth_data_may_change(house: House) -> None:
    version = await create(house)
    path = f"{VERSION}/{version}"
    new = {"algorithm": ALGORITHM, "auth_data": {"public_key": "new"}}
    assert (await house.call(AYNA, "PUT", path, {**new, "version": version})).json == {}
    assert (await house.call(AYNA, "GET", VERSION)).json["auth_data"] == {"public_key": "new"}
    for wrong in ({**new, "version": "77"}, {**new, "version": 1}, {**new, "algorithm": "other"}):
        answer = await house.call(AYNA, "PUT", path, wrong)
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


async def test_too_many_versions(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKUP_VERSIONS_MAX", 2)
    first, _ = await create(house), await create(house)
    assert (await house.post(AYNA, VERSION, BODY)).status == 413
    await house.call(AYNA, "DELETE", f"{VERSION}/{first}")
    await create(house)


BAD_VERSIONS: list[tuple[Any, str]] = [
    (b"{", "M_NOT_JSON"),
    (b"[]", "M_BAD_JSON"),
    ({}, "M_BAD_JSON"),
    ({"algorithm": ALGORITHM}, "M_BAD_JSON"),
    ({"algorithm": ALGORITHM, "auth_data": []}, "M_BAD_JSON"),
    ({"algorithm": 1, "auth_data": {}}, "M_BAD_JSON"),
    ({"algorithm": "", "auth_data": {}}, "M_BAD_JSON"),
    ({"algorithm": "a\0", "auth_data": {}}, "M_BAD_JSON"),
    ({"algorithm": "a" * 300, "auth_data": {}}, "M_INVALID_PARAM"),
    ({"algorithm": "a", "auth_data": {"x": "y" * 70_000}}, "M_TOO_LARGE"),
    (b'{"algorithm":"a","auth_data":{"x":NaN}}', "M_NOT_JSON"),
    (b'{"algorithm":"a","auth_data":{"x":' + b"[" * 50 + b"]" * 50 + b"}}", "M_BAD_JSON"),
]


@pytest.mark.parametrize(("body", "errcode"), BAD_VERSIONS)
async def test_bad_versions(house: House, body: Any, errcode: str) -> None:
    assert (await house.post(AYNA, VERSION, body)).errcode == errcode
    assert (await house.call(AYNA, "GET", VERSION)).status == 404
    version = await create(house)
    assert (await house.call(AYNA, "PUT", f"{VERSION}/{version}", body)).errcode == errcode


# --- keys ---------------------------------------------------------------------------------


async def test_store_and_fetch_by_session_room_and_all(house: House) -> None:
    version = await create(house)
    session = "AbC/d+e"
    stand = await put(house, version, f"/{ROOM}/AbC%2Fd+e", key(text="1"))
    assert stand == {"etag": "1", "count": 1}
    stand = await put(house, version, f"/{ROOM}", {"sessions": {"t": key(text="2")}})
    assert stand == {"etag": "2", "count": 2}
    rooms = {"rooms": {"!b:x": {"sessions": {"u": key(text="3"), "v": key(text="4")}}}}
    assert await put(house, version, "", rooms) == {"etag": "3", "count": 4}
    assert await get(house, version, f"/{ROOM}/AbC%2Fd+e") == key(text="1")
    mine = {"sessions": {session: key(text="1"), "t": key(text="2")}}
    assert await get(house, version, f"/{ROOM}") == mine
    assert await get(house, version) == {"rooms": {ROOM: mine, **rooms["rooms"]}}
    current = (await house.call(AYNA, "GET", VERSION)).json
    assert (current["count"], current["etag"]) == (4, "3")


async def test_nothing_there(house: House) -> None:
    version = await create(house)
    assert await get(house, version) == {"rooms": {}}
    assert await get(house, version, f"/{ROOM}") == {"sessions": {}}
    answer = await house.call(AYNA, "GET", f"{KEYS}/{ROOM}/s?version={version}")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    assert await put(house, version, "", {"rooms": {}}) == {"etag": "0", "count": 0}
    assert await delete(house, version) == {"etag": "0", "count": 0}


async def test_delete_by_session_room_and_all(house: House) -> None:
    version = await create(house)
    rooms = {r: {"sessions": {s: key() for s in "st"}} for r in ("!a:x", "!b:x", "!c:x")}
    await put(house, version, "", {"rooms": rooms})
    assert await delete(house, version, "/!a:x/s") == {"etag": "2", "count": 5}
    assert await delete(house, version, "/!a:x/s") == {"etag": "2", "count": 5}
    assert await delete(house, version, "/!b:x") == {"etag": "3", "count": 3}
    assert set((await get(house, version))["rooms"]) == {"!a:x", "!c:x"}
    assert await delete(house, version) == {"etag": "4", "count": 0}
    assert await get(house, version) == {"rooms": {}}


async def test_only_into_the_current_version(house: House) -> None:
    answer = await house.call(AYNA, "PUT", f"{KEYS}?version=1", {"rooms": {}})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    first, second = await create(house), await create(house)
    for name in (first, "nonsense"):
        answer = await house.call(AYNA, "PUT", f"{KEYS}/{ROOM}/s?version={name}", key())
        assert (answer.status, answer.errcode) == (403, "M_WRONG_ROOM_KEYS_VERSION")
        assert answer.json["current_version"] == second


async def test_accounts_are_strangers(house: House) -> None:
    version, other = await create(house), await create(house, BATYR)
    await put(house, version, f"/{ROOM}/s", key())
    assert version == other, "numbers are each account's own"
    assert await get(house, other, token=BATYR) == {"rooms": {}}


RANKS = [Rank(v, i, f) for v, i, f in itertools.product((True, False), (0, 1, 5), (0, 2))]


@pytest.mark.parametrize(("new", "old"), list(itertools.product(RANKS, RANKS)))
def test_which_copy_stays(new: Rank, old: Rank) -> None:
    def order(rank: Rank) -> tuple[bool, int, int]:
        return (not rank.is_verified, rank.first_message_index, rank.forwarded_count)

    assert backup.replaces(new, old) == (order(new) < order(old))


async def test_worse_and_equal_copies_change_nothing(house: House) -> None:
    version = await create(house)
    await put(house, version, f"/{ROOM}/s", key(False, 5, 2, "first"))
    for worse in (key(False, 5, 2, "equal"), key(False, 6, 0), key(False, 5, 3)):
        assert await put(house, version, f"/{ROOM}/s", worse) == {"etag": "1", "count": 1}
    for no, better in enumerate(
        (key(False, 5, 1), key(False, 4, 9), key(True, 9, 9, "last")), start=2
    ):
        assert await put(house, version, f"/{ROOM}/s", better) == {"etag": str(no), "count": 1}
    assert await get(house, version, f"/{ROOM}/s") == key(True, 9, 9, "last")


async def test_many_keys_are_sent_in_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKUP_PAGE", 7)
    version = await create(house)
    rooms = {
        f"!{room}:x": {"sessions": {f"s{no}": key(text=f"{room}{no}") for no in range(count)}}
        for room, count in (("a", 1), ("b", 6), ("c", 20), ("d", 7), ("e", 1))
    }
    await put(house, version, "", {"rooms": rooms})
    assert await get(house, version) == {"rooms": rooms}
    for room, sessions in rooms.items():
        assert await get(house, version, f"/{room}") == sessions


async def test_a_backup_has_an_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKUP_KEYS_MAX", 2)
    version = await create(house)
    await put(house, version, f"/{ROOM}", {"sessions": {"a": key(), "b": key()}})
    answer = await house.call(AYNA, "PUT", f"{KEYS}/{ROOM}/c?version={version}", key())
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")
    await put(house, version, f"/{ROOM}/a", key(True))


async def test_counts_hold_under_racing_uploads(house: House) -> None:
    version = await create(house)

    async def one(no: int) -> None:
        sessions = {f"s{(no + k) % 30}": key(index=no) for k in range(5)}
        await put(house, version, f"/{ROOM}", {"sessions": sessions})

    await asyncio.gather(*(one(no) for no in range(40)))
    current = (await house.call(AYNA, "GET", VERSION)).json
    assert current["count"] == len((await get(house, version, f"/{ROOM}"))["sessions"]) == 30


async def test_older_clients_paths(house: House) -> None:
    version = await create(house)
    answer = await house.call(
        AYNA, "GET", f"/_matrix/client/unstable/room_keys/keys?version={version}"
    )
    assert answer.json == {"rooms": {}}


async def test_a_forgotten_account_has_no_backup(house: House, database: Database) -> None:
    version = await create(house)
    await put(house, version, f"/{ROOM}/s", key())
    async with database.write() as tx:
        await store.forget_account(tx, house.callers[AYNA].account_no)
    assert (await house.call(AYNA, "GET", VERSION)).status == 404


GOOD = key()
BAD_KEYS: list[tuple[Any, str]] = [
    (b"{", "M_NOT_JSON"),
    (b"[]", "M_BAD_JSON"),
    ({}, "M_BAD_JSON"),
    (GOOD | {"is_verified": 1}, "M_BAD_JSON"),
    (GOOD | {"is_verified": None}, "M_BAD_JSON"),
    (GOOD | {"first_message_index": "1"}, "M_BAD_JSON"),
    (GOOD | {"first_message_index": True}, "M_BAD_JSON"),
    (GOOD | {"first_message_index": 1.0}, "M_BAD_JSON"),
    (GOOD | {"first_message_index": -1}, "M_BAD_JSON"),
    (GOOD | {"forwarded_count": 2**63}, "M_BAD_JSON"),
    (GOOD | {"forwarded_count": None}, "M_BAD_JSON"),
    (GOOD | {"session_data": "x"}, "M_BAD_JSON"),
    (GOOD | {"session_data": {"x": "y" * 70_000}}, "M_KEY_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "errcode"), BAD_KEYS)
async def test_bad_keys(house: House, body: Any, errcode: str) -> None:
    version = await create(house)
    bodies = {f"/{ROOM}/s": body}
    if not isinstance(body, bytes):
        bodies[f"/{ROOM}"] = {"sessions": {"s": body}}
        bodies[""] = {"rooms": {ROOM: {"sessions": {"s": body}}}}
    for path, whole in bodies.items():
        answer = await house.call(AYNA, "PUT", f"{KEYS}{path}?version={version}", whole)
        assert (answer.status, answer.errcode) == (400, errcode), answer.body
    assert await get(house, version) == {"rooms": {}}


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("", {"rooms": []}, "M_BAD_JSON"),
        ("", {}, "M_BAD_JSON"),
        ("", {"rooms": {ROOM: []}}, "M_BAD_JSON"),
        ("", {"rooms": {ROOM: {"sessions": None}}}, "M_BAD_JSON"),
        ("", {"rooms": {"\0": {"sessions": {"s": GOOD}}}}, "M_INVALID_PARAM"),
        ("", {"rooms": {ROOM: {"sessions": {"\0": GOOD}}}}, "M_INVALID_PARAM"),
        ("", {"rooms": {ROOM: {"sessions": {"": GOOD}}}}, "M_INVALID_PARAM"),
        (f"/{ROOM}", {"sessions": {"s" * 256: GOOD}}, "M_INVALID_PARAM"),
        (f"/{'!' * 256}", {"sessions": {"s": GOOD}}, "M_INVALID_PARAM"),
    ],
)
async def test_bad_shapes(house: House, path: str, body: Any, errcode: str) -> None:
    version = await create(house)
    answer = await house.call(AYNA, "PUT", f"{KEYS}{path}?version={version}", body)
    assert (answer.status, answer.errcode) == (400, errcode)


@pytest.mark.parametrize("path", ["", f"/{ROOM}", f"/{ROOM}/s"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_version_must_be_named(house: House, method: str, path: str) -> None:
    answer = await house.call(AYNA, method, KEYS + path, {"rooms": {}})
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")
