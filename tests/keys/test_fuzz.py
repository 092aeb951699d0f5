"""Any JSON to any route: an answer of ours, never a fault of ours."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.keys.house import House, Person

AYNA = Person("ayna", "PHONE")
NAMES = [
    AYNA.user_id,
    "@batyr:kerwen.test",
    "@x:else.test",
    "PHONE",
    "B",
    "*",
    "signed_curve25519:A",
    "ed25519:PHONE",
    "device_keys",
    "one_time_keys",
    "fallback_keys",
    "master_key",
    "self_signing_key",
    "messages",
    "rooms",
    "sessions",
    "signatures",
    "algorithms",
    "keys",
    "key",
    "usage",
    "user_id",
    "device_id",
    "auth_data",
    "algorithm",
    "is_verified",
    "first_message_index",
    "forwarded_count",
    "session_data",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(NAMES)
)
KEYS = st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(KEYS, VALUES, max_size=4)
ROUTES = [
    ("POST", "/keys/upload"),
    ("POST", "/keys/query"),
    ("POST", "/keys/claim"),
    ("POST", "/keys/device_signing/upload"),
    ("POST", "/keys/signatures/upload"),
    ("PUT", "/sendToDevice/m.x/t"),
    ("POST", "/room_keys/version"),
    ("PUT", "/room_keys/version/1"),
    ("PUT", "/room_keys/keys?version=1"),
    ("PUT", "/room_keys/keys/!r:x?version=1"),
    ("PUT", "/room_keys/keys/!r:x/s?version=1"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODIES)
async def test_any_body(house: House, method: str, path: str, body: dict[str, Any]) -> None:
    answer = await house.call(AYNA.token, method, path, orjson.dumps(body))
    assert answer.status in (200, 400, 401, 403, 404, 413), answer.body
    assert answer.status == 200 or answer.errcode.startswith("M_")
    assert (await house.post(AYNA.token, "/keys/query", {"device_keys": {AYNA.user_id: []}})).json


@pytest.mark.parametrize(("method", "path"), ROUTES)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(raw=st.binary(max_size=40))
async def test_any_bytes(house: House, method: str, path: str, raw: bytes) -> None:
    answer = await house.call(AYNA.token, method, path, raw)
    assert answer.status in (200, 400, 401, 403, 404, 413), answer.body
