"""POST /keys/upload: device keys, one-time keys, fallback keys."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.base import limits
from tests.keys.house import House, Person

UPLOAD = "/keys/upload"
AYNA = Person("ayna", "PHONE")


async def test_an_empty_upload_tells_the_counts(house: House) -> None:
    answer = await house.post(AYNA.token, UPLOAD, {})
    assert (answer.status, answer.json) == (200, {"one_time_key_counts": {}})
    await house.post(AYNA.token, UPLOAD, {"one_time_keys": AYNA.one_time_keys(5)})
    answer = await house.post(AYNA.token, UPLOAD, {})
    assert answer.json == {"one_time_key_counts": {"signed_curve25519": 5}}


async def test_everything_at_once(house: House) -> None:
    answer = await house.post(
        AYNA.token,
        UPLOAD,
        {
            "device_keys": AYNA.device_keys(),
            "one_time_keys": AYNA.one_time_keys(50) | {"curve25519:X": "plain"},
            "fallback_keys": {"signed_curve25519:F": AYNA.one_time_key(99, fallback=True)},
        },
    )
    assert answer.json == {"one_time_key_counts": {"signed_curve25519": 50, "curve25519": 1}}


async def test_a_repeated_upload_changes_nothing(house: House) -> None:
    body = {"device_keys": AYNA.device_keys(), "one_time_keys": AYNA.one_time_keys(3)}
    await house.post(AYNA.token, UPLOAD, body)
    settled = house.feed.settled
    answer = await house.post(AYNA.token, UPLOAD, body)
    assert answer.json == {"one_time_key_counts": {"signed_curve25519": 3}}
    assert house.feed.settled == settled, "nobody need look again"


async def test_a_key_signed_anew_is_the_same_key(house: House) -> None:
    key = AYNA.one_time_key(1)
    await house.post(AYNA.token, UPLOAD, {"one_time_keys": {"signed_curve25519:A": key}})
    other = key | {"signatures": {AYNA.user_id: {"ed25519:PHONE": "another"}}}
    answer = await house.post(AYNA.token, UPLOAD, {"one_time_keys": {"signed_curve25519:A": other}})
    assert answer.json == {"one_time_key_counts": {"signed_curve25519": 1}}


async def test_another_key_under_the_same_id_is_refused_whole(house: House) -> None:
    await house.post(
        AYNA.token, UPLOAD, {"one_time_keys": {"signed_curve25519:A": AYNA.one_time_key(1)}}
    )
    answer = await house.post(
        AYNA.token,
        UPLOAD,
        {
            "one_time_keys": {
                "signed_curve25519:A": AYNA.one_time_key(2),
                "signed_curve25519:B": AYNA.one_time_key(3),
            }
        },
    )
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    assert answer.json["error"] == "One time key signed_curve25519:A already exists"
    counts = await house.post(AYNA.token, UPLOAD, {})
    assert counts.json == {"one_time_key_counts": {"signed_curve25519": 1}}


async def test_devices_do_not_share_keys(house: House) -> None:
    laptop = Person("ayna", "LAPTOP")
    await house.post(AYNA.token, UPLOAD, {"one_time_keys": AYNA.one_time_keys(2)})
    answer = await house.post(laptop.token, UPLOAD, {"one_time_keys": laptop.one_time_keys(1)})
    assert answer.json == {"one_time_key_counts": {"signed_curve25519": 1}}


async def test_too_many_keys_in_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ONE_TIME_KEYS_MAX", 10)
    for first in (0, 5):
        answer = await house.post(
            AYNA.token, UPLOAD, {"one_time_keys": AYNA.one_time_keys(5, first)}
        )
        assert answer.status == 200
    answer = await house.post(AYNA.token, UPLOAD, {"one_time_keys": AYNA.one_time_keys(1, 10)})
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")


async def test_a_removed_device_cannot_publish(house: House) -> None:
    await house.remove_device(AYNA.token)
    answer = await house.post(AYNA.token, UPLOAD, {"device_keys": AYNA.device_keys()})
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")


GOOD = AYNA.device_keys()
ONE = AYNA.one_time_key(1)
TOO_MANY = {f"a:{no}": "x" for no in range(limits.ONE_TIME_KEYS_MAX + 1)}
BAD: list[tuple[Any, int, str]] = [
    (b"", 200, ""),
    (b"{", 400, "M_NOT_JSON"),
    (b"[]", 400, "M_BAD_JSON"),
    (b'{"one_time_keys":{"a:b":NaN}}', 400, "M_NOT_JSON"),
    (b'{"one_time_keys":{"a:b":1e999}}', 400, "M_NOT_JSON"),
    (b'{"one_time_keys":{"a:\\ud800":"x"}}', 400, "M_NOT_JSON"),
    (b'{"one_time_keys":{"a:b":"\xff"}}', 400, "M_NOT_JSON"),
    ({"device_keys": None, "one_time_keys": None, "fallback_keys": None}, 200, ""),
    ({"device_keys": []}, 400, "M_BAD_JSON"),
    ({"device_keys": {}}, 400, "M_INVALID_PARAM"),
    ({"device_keys": GOOD | {"user_id": "@batyr:kerwen.test"}}, 400, "M_INVALID_PARAM"),
    ({"device_keys": GOOD | {"device_id": "LAPTOP"}}, 400, "M_INVALID_PARAM"),
    ({"device_keys": GOOD | {"algorithms": "x"}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"algorithms": [1]}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"keys": None}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"keys": {"ed25519:PHONE": 1}}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"signatures": []}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"signatures": {AYNA.user_id: 1}}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"signatures": {AYNA.user_id: {"a": 1}}}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"x": 1.5}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"x": 2**60}}, 400, "M_BAD_JSON"),
    ({"device_keys": GOOD | {"x": "y" * 40_000}}, 400, "M_KEY_TOO_LARGE"),
    (b'{"device_keys":{"user_id":' + b"[" * 900 + b"]" * 900 + b"}}", 400, "M_INVALID_PARAM"),
    ({"one_time_keys": []}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"nocolon": ONE}}, 400, "M_INVALID_PARAM"),
    ({"one_time_keys": {":x": ONE}}, 400, "M_INVALID_PARAM"),
    ({"one_time_keys": {"x:": ONE}}, 400, "M_INVALID_PARAM"),
    ({"one_time_keys": {"a:\0": ONE}}, 400, "M_INVALID_PARAM"),
    ({"one_time_keys": {"a:" + "b" * 300: ONE}}, 400, "M_INVALID_PARAM"),
    ({"one_time_keys": {"a:b": 1}}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"a:b": {}}}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"a:b": {"key": 1}}}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"a:b": {"key": "x", "signatures": 1}}}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"a:b": {"key": "x", "y": [[[]] * 9] * 9, "z": 0.5}}}, 400, "M_BAD_JSON"),
    ({"one_time_keys": {"a:b": "x" * 9_000}}, 400, "M_KEY_TOO_LARGE"),
    ({"one_time_keys": TOO_MANY}, 413, "M_TOO_LARGE"),
    ({"one_time_keys": {f"a{no}:b": "x" for no in range(17)}}, 413, "M_TOO_LARGE"),
    ({"fallback_keys": {"a:b": "x", "a:c": "y"}}, 400, "M_INVALID_PARAM"),
    ({"fallback_keys": "x"}, 400, "M_BAD_JSON"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), BAD)
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_bad_uploads(house: House, body: Any, status: int, errcode: str) -> None:
    answer = await house.post(AYNA.token, UPLOAD, body)
    assert (answer.status, answer.json.get("errcode", "")) == (status, errcode), answer.body
    queried = await house.post(AYNA.token, "/keys/query", {"device_keys": {AYNA.user_id: []}})
    assert queried.json["device_keys"] == {AYNA.user_id: {}}, "nothing was kept"
