"""Filters: what they let pass, what they refuse, fuzz."""

from __future__ import annotations

import timeit
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import filters
from kerwen.rooms.filters import DEFAULT, EVERYTHING, event_filter, parse, parse_json

SPEC_EXAMPLE = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {
            "types": ["m.receipt", "m.typing"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
}


def event(type: str = "m.room.message", sender: str = "@a:b", **content: Any) -> dict[str, Any]:
    return {"type": type, "sender": sender, "content": content}


def test_the_example_of_the_specification() -> None:
    found = parse(SPEC_EXAMPLE)
    assert not found.passes_all
    assert found.timeline.passes(event())
    assert not found.timeline.passes(event("m.room.topic"))
    assert not found.timeline.passes(event(sender="@spam:example.com"))
    assert found.state.passes(event("m.room.topic"))
    assert not found.state.passes(event("m.space.child"))
    assert not found.timeline.room("!726s6s6q:example.com")
    assert found.timeline.room("!other:example.com")
    assert not found.presence.sender("@alice:example.com")
    assert found.account_data is EVERYTHING
    assert found.timeline_limit == 10
    assert orjson.loads(found.source) == SPEC_EXAMPLE


def test_an_empty_filter_passes_all() -> None:
    assert parse({}) == DEFAULT
    assert DEFAULT.passes_all
    assert DEFAULT.timeline_limit == limits.TIMELINE_LIMIT_DEFAULT
    room = {"timeline": {"limit": 5}, "state": {"lazy_load_members": True}}
    assert parse({"room": room}).passes_all


@pytest.mark.parametrize(
    ("given", "shown", "wanted"),
    [
        ({}, event(), True),
        ({"types": []}, event(), False),
        ({"types": ["*"]}, event(), True),
        ({"types": ["m.room.*"]}, event("m.room."), True),
        ({"types": ["m.room.*"]}, event("m.roomy"), False),
        ({"types": ["*message"]}, event(), True),
        ({"types": ["m.*.message", "x"]}, event(), True),
        ({"types": ["m.room.message*"]}, event(), True),
        ({"types": ["m?room.message"]}, event(), False),
        ({"types": ["M.ROOM.MESSAGE"]}, event(), False),
        ({"types": ["m.room.*"], "not_types": ["m.room.message"]}, event(), False),
        ({"not_types": ["*"]}, event(), False),
        ({"not_types": []}, event(), True),
        ({"senders": ["@a:b"]}, event(), True),
        ({"senders": []}, event(), False),
        ({"senders": ["@c:b"]}, event(), False),
        ({"senders": ["@a:b"], "not_senders": ["@a:b"]}, event(), False),
        ({"contains_url": True}, event(url="mxc://x"), True),
        ({"contains_url": True}, event(), False),
        ({"contains_url": False}, event(url=None), False),
        ({"contains_url": False}, event(), True),
        ({"contains_url": True}, {"type": "x", "content": 7}, False),
    ],
)
def test_events(given: dict[str, Any], shown: dict[str, Any], wanted: bool) -> None:
    found = event_filter(given)
    assert found.passes(shown) is wanted
    assert not found.passes_all or given == {}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"types": []}, True),
        ({"senders": []}, True),
        ({"rooms": []}, True),
        ({"not_types": ["*"]}, True),
        ({"types": ["m.x"]}, False),
        ({"not_senders": []}, False),
        ({"related_by_rel_types": []}, True),
    ],
)
def test_a_filter_that_nothing_passes_says_so(given: dict[str, Any], wanted: bool) -> None:
    assert event_filter(given).nothing is wanted


def test_rooms() -> None:
    found = parse({"room": {"rooms": ["!a:b", "!c:d"], "not_rooms": ["!c:d"]}})
    assert [found.room(r) for r in ("!a:b", "!c:d", "!e:f")] == [True, False, False]
    assert not found.passes_all
    assert not event_filter({"rooms": ["!a:b"]}).room("!c:d")


def test_flags() -> None:
    found = parse(
        {
            "room": {
                "include_leave": True,
                "timeline": {"unread_thread_notifications": True},
                "state": {"lazy_load_members": True, "include_redundant_members": True},
            },
            "event_format": "federation",
        }
    )
    assert found.include_leave
    assert found.federation_format
    assert found.timeline.unread_thread_notifications
    assert found.state.lazy_load_members
    assert found.state.include_redundant_members
    assert not found.timeline.lazy_load_members
    related = event_filter({"related_by_senders": ["@a:b"], "related_by_rel_types": ["m.thread"]})
    assert related.related_by_senders == {"@a:b"}
    assert related.related_by_rel_types == {"m.thread"}
    assert not related.passes_all


@pytest.mark.parametrize(
    ("asked", "wanted"), [(1, 1), (0, 1), (10**9, limits.TIMELINE_LIMIT_MAX), (50, 50)]
)
def test_limits(asked: int, wanted: int) -> None:
    assert parse({"room": {"timeline": {"limit": asked}}}).timeline_limit == wanted


def test_event_fields() -> None:
    shown = {"type": "x", "sender": "@a:b", "content": {"body": 1, "m.x": {"y": 2}, "z": 3}}
    found = parse({"event_fields": ["content.body", "content.m\\.x.y", "type", "content.q", "a.b"]})
    assert found.pick(shown) == {"type": "x", "content": {"body": 1, "m.x": {"y": 2}}}
    assert parse({"event_fields": []}).pick(shown) == {}
    assert DEFAULT.pick(shown) is shown
    assert not found.passes_all


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], Reason.BAD_JSON),
        (None, Reason.BAD_JSON),
        ({"room": []}, Reason.BAD_JSON),
        ({"room": {"timeline": 7}}, Reason.BAD_JSON),
        ({"room": {"timeline": {"types": "m.x"}}}, Reason.BAD_JSON),
        ({"room": {"timeline": {"types": [7]}}}, Reason.BAD_JSON),
        ({"room": {"timeline": {"limit": "7"}}}, Reason.BAD_JSON),
        ({"room": {"timeline": {"limit": True}}}, Reason.BAD_JSON),
        ({"room": {"timeline": {"limit": -1}}}, Reason.INVALID_PARAM),
        ({"room": {"timeline": {"senders": ["a"]}}}, Reason.INVALID_PARAM),
        ({"room": {"rooms": ["a"]}}, Reason.INVALID_PARAM),
        ({"room": {"include_leave": 1}}, Reason.BAD_JSON),
        ({"room": {"state": {"contains_url": "yes"}}}, Reason.BAD_JSON),
        ({"presence": {"types": ["x" * 1025]}}, Reason.INVALID_PARAM),
        ({"presence": {"types": ["x"] * 2001}}, Reason.INVALID_PARAM),
        ({"event_format": "xml"}, Reason.INVALID_PARAM),
        ({"event_fields": "type"}, Reason.BAD_JSON),
        ({"event_fields": ["a." * 20]}, Reason.INVALID_PARAM),
        ({"event_fields": ["a"] * 201}, Reason.INVALID_PARAM),
        ({"x": "y" * 70_000}, Reason.TOO_LARGE),
        ({"x": 2**70}, Reason.BAD_JSON),
    ],
)
def test_refusals(value: Any, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        parse(value)
    assert refused.value.reason is reason


def test_refusals_of_texts() -> None:
    for raw, reason in (("{", Reason.NOT_JSON), ("{" * 70_000, Reason.TOO_LARGE)):
        with pytest.raises(Refused) as refused:
            parse_json(raw)
        assert refused.value.reason is reason


NAMES = st.sampled_from(
    [
        "room",
        "timeline",
        "state",
        "types",
        "not_types",
        "senders",
        "rooms",
        "limit",
        "contains_url",
        "event_fields",
        "presence",
        "account_data",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("am*.@!\\", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_only_refusals_escape(value: Any) -> None:
    try:
        found = parse(value)
    except Refused:
        return
    assert parse_json(found.source) == found
    shown = event("m.a", "@a", m=1)
    if found.timeline.passes_all:
        assert found.timeline.passes(shown)
    if found.timeline.nothing and found.timeline.rooms is None:
        assert found.timeline.related_by_senders is not None or not found.timeline.passes(shown)
    found.pick(shown)


def test_a_hostile_glob_costs_little() -> None:
    found = event_filter({"types": ["*a" * 400 + "b"]})
    long = event("a" * 60_000)
    assert timeit.timeit(lambda: found.passes(long), number=1) < 0.5
    assert filters.LIST_MAX == 2_000
