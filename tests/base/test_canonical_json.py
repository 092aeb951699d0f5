from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import canonical_json as cj
from kerwen.base.errors import Reason, Refused

# SPEC appendices #canonical-json, the examples there
EXAMPLES = [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
    (
        '{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": '
        '{"display_name": "John Doe", "three_pids": [{"medium": "email", "address": '
        '"john.doe@example.org"}, {"medium": "msisdn", "address": "123456789"}]}}}',
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe",'
        '"three_pids":[{"address":"john.doe@example.org","medium":"email"},'
        '{"address":"123456789","medium":"msisdn"}]},"success":true}}',
    ),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0}', '{"a":0}'),
    # grammar: escapes, and keys in the order of code points (not of UTF-16 units)
    (
        '"\\u0000\\u001F\\b\\t\\n\\f\\r\\"\\\\\\/\\u007f"',
        '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f"',
    ),
    ('{"\\uffff": 1, "\\ud83d\\ude00": 2}', '{"\uffff":1,"😀":2}'),
    ("[1, [2, {}], true, false]", "[1,[2,{}],true,false]"),
    ('{"a": 1, "a": 2}', '{"a":2}'),  # the last one wins
]


@pytest.mark.parametrize(("text", "canonical"), EXAMPLES)
def test_examples(text, canonical):
    value = cj.decode(text.encode())
    cj.check(value)
    assert cj.encode(value).decode() == canonical
    lax = cj.decode_lax(text.encode())
    cj.check_lax(lax)
    assert cj.encode_lax(lax).decode() == canonical


def reason(action, *args):
    with pytest.raises(Refused) as caught:
        action(*args)
    return caught.value.reason


@pytest.mark.parametrize("text", ["", "{", "nul", "NaN", "Infinity", '{"a":1,}', "'a'", "\xff"])
def test_not_json(text):
    raw = text.encode("latin-1")
    assert reason(cj.decode, raw) is Reason.NOT_JSON
    assert reason(cj.decode_lax, raw) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        1e10,
        {"a": [0.5]},
        2**53,
        -(2**53),
        {"a": {"b": [2**60]}},
        float("nan"),
        (1, 2),
        b"x",
        {"a": object()},
    ],
)
def test_refused_by_the_strict_check(value):
    assert reason(cj.check, value) is Reason.BAD_JSON


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53) + 1, 0, True, None, "", [], {"": {}}])
def test_passed_by_the_strict_check(value):
    cj.check(value)
    assert cj.decode(cj.encode(value)) == value


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth():
    cj.check(nested(cj.DEPTH_MAX))
    cj.encode(nested(cj.DEPTH_MAX))
    cj.check_lax(nested(cj.DEPTH_MAX))
    assert reason(cj.check, nested(cj.DEPTH_MAX + 1)) is Reason.BAD_JSON
    assert reason(cj.check_lax, nested(cj.DEPTH_MAX + 1)) is Reason.BAD_JSON
    assert reason(cj.check, nested(3), 2) is Reason.BAD_JSON
    assert reason(cj.encode, nested(5000)) is Reason.BAD_JSON
    bomb = b"[" * 100_000 + b"]" * 100_000
    assert reason(cj.decode, bomb) is Reason.NOT_JSON
    assert reason(cj.decode_lax, bomb) is Reason.NOT_JSON


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, {1: 2}, {"a": {2}}])
def test_cannot_be_encoded(value):
    assert reason(cj.encode, value) is Reason.BAD_JSON


def test_strict_encoder_knows_the_integer_range():
    assert reason(cj.encode, {"a": 2**53}) is Reason.BAD_JSON


def test_lax_keeps_numbers_as_they_were():
    raw = b'{"a":10000000000.0,"b":123456789012345678901234567890,"c":-0.5}'
    assert cj.encode_lax(cj.decode_lax(raw)) == raw
    assert reason(cj.encode_lax, {"a": "\ud800"}) is Reason.BAD_JSON
    assert reason(cj.encode_lax, {"a": float("inf")}) is Reason.BAD_JSON
    assert reason(cj.check_lax, cj.decode_lax(b"[1e999]")) is Reason.BAD_JSON


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(cj.INT_MIN, cj.INT_MAX) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON)
def test_round_trip_and_the_specifications_own_encoder(value):
    cj.check(value)
    raw = cj.encode(value)
    assert cj.decode(raw) == value
    spec = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert raw == spec.encode()
    assert cj.encode_lax(value) == raw


@given(st.binary(max_size=200))
def test_any_bytes(raw):
    for decode in (cj.decode, cj.decode_lax):
        try:
            decode(raw)
        except Refused:
            pass  # and nothing else


def test_what_is_kept_is_as_small_as_it_looks():
    """The encoder writes into pages of 4 KiB and would leave each answer in one."""
    tracemalloc.start()
    kept = [cj.encode({"n": n}) for n in range(1_000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(kept) < 200
