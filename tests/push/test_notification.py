"""The pure rules: what a gateway is told, how long is waited, what a phone gets."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.push import ntfy
from kerwen.push.gateway import origin_of
from kerwen.push.notification import (
    RETRY_MAX_MS,
    device_of,
    for_phone,
    of_badge,
    of_event,
    rejected_of,
    retry_after_ms,
    tweaks_of,
    wait_ms,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("actions", "tweaks"),
    [
        (["notify"], {}),
        (["notify", {"set_tweak": "highlight"}], {"highlight": True}),
        (["notify", {"set_tweak": "highlight", "value": False}], {"highlight": False}),
        ([{"set_tweak": "sound", "value": "ring"}], {"sound": "ring"}),
        ([{"set_tweak": "sound"}], {}),
        ([{"set_tweak": "x", "value": {"a": 1}}], {}),
        ([{"set_tweak": "x", "value": "y" * 2_000}], {}),
        ([{"set_tweak": str(n), "value": n} for n in range(99)], {str(n): n for n in range(16)}),
    ],
)
def test_tweaks(actions: list[object], tweaks: dict[str, object]) -> None:
    assert tweaks_of(actions) == tweaks


def test_counts_of_zero_are_left_out_but_from_badges() -> None:
    device = device_of("a", "k", 12_345_678, {"url": "https://g.test/", "x": 1}, {})
    assert device == {"app_id": "a", "pushkey": "k", "pushkey_ts": 12_345, "data": {"x": 1}}
    assert of_event("$e", "!r", 0, device)["notification"]["counts"] == {}
    assert of_badge(0, device)["notification"]["counts"] == {"unread": 0}


def test_the_wait_doubles_up_to_an_hour() -> None:
    waits = [wait_ms(n) for n in range(1, 40)]
    assert waits[:4] == [1_000, 2_000, 4_000, 8_000]
    assert waits == sorted(waits)
    assert waits[-1] == RETRY_MAX_MS
    assert wait_ms(1, 60_000) == 60_000
    assert wait_ms(1, 10**12) == RETRY_MAX_MS
    assert wait_ms(0) == 0


@pytest.mark.parametrize(
    ("text", "ms"),
    [("5", 5_000), (None, 0), ("", 0), ("-1", 0), ("x", 0), ("1" * 30, 0), ("٣", 0)],
)
def test_retry_after(text: str | None, ms: int) -> None:
    assert retry_after_ms(text) == ms


@pytest.mark.parametrize(
    ("answer", "rejected"),
    [
        (b'{"rejected":["a","b"]}', {"a", "b"}),
        (b'{"rejected":["a",1,null]}', {"a"}),
        (b'{"rejected":"a"}', set()),
        (b"[]", set()),
        (b"<html>", set()),
        (b"", set()),
    ],
)
def test_what_a_gateway_rejects(answer: bytes, rejected: set[str]) -> None:
    assert rejected_of(answer) == rejected


@given(JSON, JSON)
def test_our_gateway_hands_on_no_content(body: object, content: object) -> None:
    full = {
        "event_id": "$e",
        "room_id": "!r",
        "type": "m.room.message",
        "sender": "@sender:a.test",
        "sender_display_name": "Major Tom",
        "room_name": "Mission Control",
        "content": {"body": "secret", "more": content},
        "counts": {"unread": 2, "other": body},
        "devices": [],
    }
    device = {"app_id": "a", "pushkey": "k", "more": body}
    made = for_phone({"notification": full}, device)
    assert made == {
        "notification": {
            "event_id": "$e",
            "room_id": "!r",
            "counts": {"unread": 2},
            "devices": [{"app_id": "a", "pushkey": "k"}],
        }
    }


@given(JSON, st.dictionaries(st.text(max_size=9), JSON))
def test_any_push_is_survived(told: object, device: dict[str, object]) -> None:
    made = for_phone({"notification": told}, device)
    assert made is None or orjson.dumps(made)


@pytest.mark.parametrize(
    ("text", "poll", "found"),
    [
        (None, False, (ntfy.NOW, 0)),
        (None, True, ((0, 0), 0)),
        ("all", False, ((0, 0), 0)),
        ("none", True, (ntfy.NOW, 0)),
        ("latest", False, (ntfy.NOW, 0)),
        ("12.3", False, ((12, 3), 0)),
        ("1700000000", False, ((0, 0), 1_700_000_000_000)),
        ("10m", False, ((0, 0), 1_000_000 - 600_000)),
    ],
)
def test_since(text: str | None, poll: bool, found: object) -> None:
    assert ntfy.since(text, 1_000_000, poll=poll) == found


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "-1", "m", "1" * 40, "9" * 19 + ".1", "٣m"])
def test_since_is_no_nonsense(text: str) -> None:
    with pytest.raises(Refused) as caught:
        ntfy.since(text, 0, poll=False)
    assert caught.value.reason is Reason.INVALID_PARAM


@given(st.text(max_size=30))
def test_any_since_is_survived(text: str) -> None:
    try:
        ntfy.since(text, 10**12, poll=False)
    except Refused:
        pass


@given(st.binary(max_size=100))
def test_messages_come_whole(body: bytes) -> None:
    import base64

    told = ntfy.message("upabcdefghijklmn", (3, 4), 5_000, body)
    text = told["message"].encode()
    assert (base64.b64decode(text) if told.get("encoding") == "base64" else text) == body
    assert ntfy.since(told["id"], 0, poll=False) == ((3, 4), 0)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.test/x", "https://a.test:443"),
        ("http://a.test", "http://a.test:80"),
        ("https://A.test:8443/", "https://a.test:8443"),
        ("https://[::1", ""),
        ("https://a.test:99999/", ""),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin
