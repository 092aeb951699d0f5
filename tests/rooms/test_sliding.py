"""What a sliding sync asks for, and what a connection remembers: pure rules, from tables."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.rooms.sliding import (
    ACCOUNT_DATA,
    RECEIPTS,
    TYPING,
    Config,
    Filters,
    both,
    combine,
    parse,
    required,
    windows,
)
from kerwen.rooms.sliding_state import (
    NextState,
    Pos,
    SentMembers,
    State,
    decode_state,
    direct_rooms,
    encode_state,
    read_pos,
)

ME = "@me:a.b"
OTHER = "@other:a.b"
LAZY = ("m.room.member", "$LAZY")
OWN = ("m.room.member", "$ME")


# --- windows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "ranges", "places"),
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, [], []),
        (0, [(0, 9)], []),
        (5, [(0, 0)], [0]),
        (5, [(1, 3)], [1, 2, 3]),
        (5, [(3, 99)], [3, 4]),
        (5, [(5, 9)], []),
        (5, [(0, 1), (3, 3)], [0, 1, 3]),
        (5, [(3, 3), (0, 1)], [0, 1, 3]),
        (5, [(0, 3), (2, 4)], [0, 1, 2, 3, 4]),
        (5, [(0, 4), (1, 2)], [0, 1, 2, 3, 4]),
    ],
)
def test_windows(count: int, ranges: Any, places: list[int]) -> None:
    assert [place for window in windows(count, ranges) for place in window] == places


# --- required state -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "wanted", "unwanted"),
    [
        ([], [], [("m.room.name", ""), OWN]),
        (
            [("m.room.name", "")],
            [("m.room.name", "")],
            [("m.room.name", "x"), ("m.room.topic", "")],
        ),
        ([("t", "*")], [("t", ""), ("t", "x")], [("u", "")]),
        ([("*", "")], [("t", ""), ("u", "")], [("t", "x"), ("m.room.member", OTHER)]),
        ([("*", "*")], [("t", "x"), ("m.room.member", OTHER)], []),
        ([("*", "*"), LAZY], [("t", "x")], [("m.room.member", OTHER), ("m.room.member", ME)]),
        ([("*", "*"), LAZY, OWN], [("m.room.member", ME)], [("m.room.member", OTHER)]),
        ([("m.room.member", "*"), LAZY], [("m.room.member", OTHER)], [("t", "")]),
        ([LAZY], [], [("m.room.member", OTHER), ("m.room.member", ME)]),
        ([OWN], [("m.room.member", ME)], [("m.room.member", OTHER)]),
        ([("t", "$ME")], [("t", ME)], [("t", OTHER)]),
        ([("*", "$ME")], [("t", ME), ("m.room.member", ME)], [("t", OTHER)]),
        ([("t", "$LAZY")], [], [("t", ""), ("t", "$LAZY")]),
        ([("m.room.member", OTHER)], [("m.room.member", OTHER)], [("m.room.member", ME)]),
    ],
)
def test_required_state(pairs: Any, wanted: Any, unwanted: Any) -> None:
    found = required(tuple(pairs))
    assert all(found.wants(*key, ME) for key in wanted)
    assert not any(found.wants(*key, ME) for key in unwanted)


def test_members_wanted_by_name() -> None:
    assert required((OWN, ("m.room.member", OTHER), LAZY)).members(ME) == {ME, OTHER}
    assert required((("*", OTHER),)).members(ME) == {OTHER}
    assert required((LAZY,)).lazy
    assert not required((LAZY, ("m.room.member", "*"))).lazy
    assert required((("*", "*"),)).all_members
    assert not required((("*", "*"), LAZY)).all_members


NAMES = st.sampled_from(["*", "m.room.member", "m.room.name", "t"])
KEYS = st.sampled_from(["*", "$ME", "$LAZY", "", ME, OTHER, "x"])
PAIRS = st.lists(st.tuples(NAMES, KEYS), max_size=6).map(tuple)
EVENTS = [(t, k) for t in ("m.room.member", "m.room.name", "t", "u") for k in ("", ME, OTHER, "x")]


@given(PAIRS, PAIRS)
def test_both_wants_what_either_wants(one: Any, other: Any) -> None:
    union = both(required(one), required(other))
    for key in EVENTS:
        either = required(one).wants(*key, ME) or required(other).wants(*key, ME)
        assert union.wants(*key, ME) == either, key
    lazy = required(one).lazy or required(other).lazy
    everybody = required(one).all_members or required(other).all_members
    assert union.lazy == (lazy and not everybody)
    assert union == both(required(other), required(one))


@given(PAIRS)
def test_what_means_the_same_is_one(pairs: Any) -> None:
    assert required(pairs) == required(tuple(reversed(pairs)) + pairs)
    assert both(required(pairs), required(pairs)) is required(pairs)


def test_combined_configurations_are_supersets() -> None:
    one = Config(3, required((("m.room.name", ""),)), ACCOUNT_DATA)
    other = Config(20, required((OWN,)), TYPING)
    union = combine((one, other))
    assert union == combine((other, one))
    assert (union.limit, union.extras) == (20, ACCOUNT_DATA | TYPING)
    assert union.required.wants("m.room.name", "", ME)
    assert union.required.wants("m.room.member", ME, ME)
    assert combine((one,)) is one


# --- requests -------------------------------------------------------------------------------


def wish(**body: Any) -> Any:
    return parse(json.dumps(body).encode())


def one_list(**more: Any) -> Any:
    return {"lists": {"a": {"timeline_limit": 1, "required_state": [], **more}}}


def test_an_empty_request() -> None:
    found = parse(b"")
    assert (found.conn_id, found.lists, found.subscriptions) == ("", [], [])
    assert found == parse(b"{}")
    assert found.to_device is None
    assert not any((found.e2ee, found.account_data, found.receipts, found.typing))


def test_equal_configurations_are_one_object() -> None:
    body = one_list(required_state=[["t", "x"], ["t", "y"]])
    first = parse(json.dumps(body).encode()).lists[0].config
    again = parse(json.dumps(body).encode()).lists[0].config
    assert first is again


def test_limits_are_capped() -> None:
    found = wish(**one_list(timeline_limit=2**40)).lists[0]
    assert found.config.limit == 100
    assert found.ranges is None


@pytest.mark.parametrize(
    ("extension", "of_list", "of_other_list", "of_room"),
    [
        ({}, 0, 0, 0),
        ({"receipts": {}}, 0, 0, 0),
        ({"receipts": {"enabled": False}}, 0, 0, 0),
        ({"receipts": {"enabled": True}}, RECEIPTS, RECEIPTS, RECEIPTS),
        ({"receipts": {"enabled": True, "lists": [], "rooms": []}}, 0, 0, 0),
        ({"receipts": {"enabled": True, "lists": ["a"], "rooms": []}}, RECEIPTS, 0, 0),
        ({"receipts": {"enabled": True, "lists": ["*"], "rooms": []}}, RECEIPTS, RECEIPTS, 0),
        ({"receipts": {"enabled": True, "lists": [], "rooms": ["!r"]}}, 0, 0, RECEIPTS),
        ({"receipts": {"enabled": True, "lists": [], "rooms": ["*"]}}, 0, 0, RECEIPTS),
        ({"receipts": {"enabled": True, "lists": [], "rooms": ["!s"]}}, 0, 0, 0),
        (
            {"typing": {"enabled": True}, "account_data": {"enabled": True, "lists": ["a"]}},
            TYPING | ACCOUNT_DATA,
            TYPING,
            TYPING | ACCOUNT_DATA,
        ),
    ],
)
def test_whom_extensions_are_for(
    extension: Any, of_list: int, of_other_list: int, of_room: int
) -> None:
    plain = {"timeline_limit": 1, "required_state": []}
    found = wish(
        lists={"a": plain, "b": plain}, room_subscriptions={"!r": plain}, extensions=extension
    )
    assert [rule.config.extras for rule in found.lists] == [of_list, of_other_list]
    assert [config.extras for _, config in found.subscriptions] == [of_room]


DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]

BAD = [
    b"[]",
    b"null",
    b'"x"',
    b"{",
    b"\xff",
    b'{"x": "\xff"}',
    b'{"conn_id": "\xc3\x28"}',
    b'{"conn_id": 5}',
    b'{"conn_id": "' + b"x" * 256 + b'"}',
    b'{"conn_id": "a\\u0000b"}',
    b'{"txn_id": {}}',
    b'{"lists": []}',
    b'{"lists": {"a": null}}',
    b'{"lists": {"a": []}}',
    b'{"lists": {"' + b"x" * 256 + b'": {}}}',
    b'{"room_subscriptions": {"!r\\u0000": {}}}',
    b'{"room_subscriptions": []}',
    b'{"extensions": []}',
    b'{"extensions": {"e2ee": true}}',
    b'{"extensions": {"to_device": {"since": 5}}}',
    b'{"extensions": {"to_device": {"limit": -1}}}',
    b'{"extensions": {"to_device": {"limit": 1.5}}}',
    b'{"extensions": {"receipts": {"enabled": "yes"}}}',
    b'{"extensions": {"receipts": {"lists": "a"}}}',
    b'{"extensions": {"receipts": {"rooms": [1]}}}',
    *(
        json.dumps(one_list(**{name: value})).encode()
        for name, value in [
            ("timeline_limit", -1),
            ("timeline_limit", "1"),
            ("timeline_limit", 2**60),
            ("timeline_limit", None),
            ("ranges", [0, 1]),
            ("ranges", [[0]]),
            ("ranges", [[0, 1, 2]]),
            ("ranges", [[-1, 1]]),
            ("ranges", [[2, 1]]),
            ("ranges", [[0, 10**30]]),
            ("ranges", [[0, "1"]]),
            ("ranges", [[0, 1]] * 101),
            ("ranges", DEEP),
            ("required_state", {}),
            ("required_state", ["m.room.name"]),
            ("required_state", [["m.room.name"]]),
            ("required_state", [["m.room.name", None]]),
            ("required_state", [["m.room.name", "", ""]]),
            ("required_state", [["x" * 256, ""]]),
            ("required_state", [["a", str(n)] for n in range(201)]),
            ("filters", []),
            ("filters", {"is_dm": "true"}),
            ("filters", {"is_encrypted": 1}),
            ("filters", {"spaces": "!s"}),
            ("filters", {"room_types": ["a", 1]}),
            ("filters", {"tags": {}}),
            ("filters", {"room_name_like": 1}),
        ]
    ),
    json.dumps({"lists": {str(n): {} for n in range(101)}}).encode(),
    json.dumps({"room_subscriptions": {str(n): {} for n in range(101)}}).encode(),
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_bad_requests_are_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse(body)
    assert refused.value.reason in (Reason.INVALID_PARAM, Reason.NOT_JSON)


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except Refused:
        pass


# --- filters --------------------------------------------------------------------------------


class Room:
    def __init__(self, **facts: Any) -> None:
        self.room_id = "!r:a.b"
        self.membership = "join"
        self.direct = False
        self.encrypted = False
        self.room_type: str | None = None
        self.name: str | None = None
        self.__dict__.update(facts)


@pytest.mark.parametrize(
    ("filters", "admitted", "kept_out"),
    [
        ({}, {}, None),
        ({"is_dm": True}, {"direct": True}, {"direct": False}),
        ({"is_dm": False}, {"direct": False}, {"direct": True}),
        ({"is_encrypted": True}, {"encrypted": True}, {"encrypted": False}),
        ({"is_encrypted": False}, {"encrypted": False}, {"encrypted": True}),
        ({"is_invite": True}, {"membership": "invite"}, {"membership": "join"}),
        ({"is_invite": False}, {"membership": "join"}, {"membership": "invite"}),
        ({"room_types": [None]}, {}, {"room_type": "m.space"}),
        ({"room_types": ["m.space"]}, {"room_type": "m.space"}, {}),
        ({"room_types": []}, None, {}),
        ({"not_room_types": ["m.space"]}, {}, {"room_type": "m.space"}),
        ({"not_room_types": [None]}, {"room_type": "m.space"}, {}),
        (
            {"room_types": ["a", "b"], "not_room_types": ["b"]},
            {"room_type": "a"},
            {"room_type": "b"},
        ),
        ({"room_name_like": "MAŞ"}, {"name": "Maşgala"}, {"name": "Iş"}),
        ({"room_name_like": "x"}, {"name": "x"}, {"name": None}),
        ({"tags": ["t", "u"]}, {"tags": {"u"}}, {"tags": {"v"}}),
        ({"tags": ["t"]}, {"tags": {"t", "v"}}, {"tags": set()}),
        ({"not_tags": ["t"]}, {"tags": {"v"}}, {"tags": {"t", "v"}}),
        ({"tags": ["a"], "not_tags": ["b"]}, {"tags": {"a"}}, {"tags": {"a", "b"}}),
        ({"spaces": ["!s"]}, {"children": {"!r:a.b"}}, {"children": {"!q"}}),
        ({"spaces": []}, None, {}),
    ],
)
def test_filters(filters: Any, admitted: Any, kept_out: Any) -> None:
    found = Filters(**filters)
    for facts, expected in ((admitted, True), (kept_out, False)):
        if facts is not None:
            facts = dict(facts)
            tags, children = facts.pop("tags", set()), facts.pop("children", set())
            assert found.admit(Room(**facts), tags, children) is expected


@pytest.mark.parametrize(
    ("content", "rooms"),
    [
        ({}, set()),
        ({"@a:b": ["!1", "!2"], "@c:d": ["!2"]}, {"!1", "!2"}),
        ({"@a:b": "!1", "@c:d": [1, None, "!2", ["!3"]]}, {"!2"}),
    ],
)
def test_direct_rooms(content: Any, rooms: set[str]) -> None:
    assert direct_rooms(content) == rooms


# --- positions ------------------------------------------------------------------------------


def test_a_position_is_read_as_it_was_written() -> None:
    pos = Pos(12, FeedToken(300, 0, 7, 5))
    assert read_pos(str(pos)) == pos


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        ".",
        "5.",
        ".EAEE",
        "EAEE",
        "-1.EAEE",
        "+1.EAEE",
        "01.EAEE",
        "1.EAEE.",
        "1..EAEE",
        "1.EAEE=",
        "x.EAEE",
        "1 .EAEE",
        "٣.EAEE",
        "1" * 20 + ".EAEE",
        "1.????",
        "\0",
    ],
)
def test_other_positions_are_unknown(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_pos(text)
    assert refused.value.reason is Reason.UNKNOWN_POSITION


# --- states ---------------------------------------------------------------------------------

ONE = Config(1, required((("m.room.name", ""),)), 0)
TWO = Config(20, required((("*", "*"), LAZY)), RECEIPTS)


def test_a_state_changes_only_when_the_rooms_or_their_configurations_do() -> None:
    new = NextState(State())
    assert not new.changed
    new.sent(7, ONE, False)
    new.sent(9, ONE, True)
    assert new.changed
    state = new.made()
    assert state.config(7) is ONE
    assert (state.is_direct(7), state.is_direct(9), state.is_direct(8)) == (False, True, False)
    assert state.config(8) is None

    same = NextState(state)
    same.sent(7, ONE, False)
    same.gone(8)
    assert not same.changed

    for change in (
        lambda n: n.sent(7, TWO, False),
        lambda n: n.sent(7, ONE, True),
        lambda n: n.sent(8, ONE, False),
        lambda n: n.gone(9),
        lambda n: n.left_out(9, 5),
    ):
        other = NextState(state)
        change(other)
        assert other.changed


def test_what_was_left_out_stays_until_it_is_sent() -> None:
    new = NextState(State())
    new.sent(7, ONE, False)
    new.sent(9, ONE, False)
    state = new.made()

    out = NextState(state)
    out.left_out(9, 5)
    state = out.made()
    assert state.behind == {9: 5}

    again = NextState(state)
    again.left_out(9, 8)
    assert not again.changed  # the first position counts
    again.sent(9, ONE, False)
    assert again.made().behind == {}

    gone = NextState(state)
    gone.gone(9)
    assert gone.made() == State([ONE], {7: 0}, {})


def test_configurations_that_no_room_has_are_dropped() -> None:
    new = NextState(State())
    new.sent(7, ONE, False)
    state = new.made()
    other = NextState(state)
    other.sent(7, TWO, False)
    assert other.made().configs == [TWO]


CONFIGS = st.builds(Config, st.integers(0, 100), PAIRS.map(required), st.integers(0, 7))


@given(
    st.dictionaries(st.integers(1, 2**50), st.tuples(CONFIGS, st.booleans()), max_size=20),
    st.integers(0, 2**50),
)
def test_a_state_is_read_as_it_was_kept(rooms: Any, pos: int) -> None:
    new = NextState(State())
    for room_no, (config, direct) in rooms.items():
        new.sent(room_no, config, direct)
    state = new.made()
    out = NextState(state)
    for room_no in list(rooms)[::2]:
        out.left_out(room_no, pos)
    state = out.made()
    assert decode_state(encode_state(state)) == state
    for room_no, (config, direct) in rooms.items():
        assert state.config(room_no) == config
        assert state.is_direct(room_no) == direct


def test_members_count_once_the_client_came_back() -> None:
    sent = SentMembers()
    at = [Pos(generation, FeedToken(pos)) for generation, pos in ((1, 5), (1, 6), (2, 6), (3, 6))]
    sent.told(at[0], sent.keys(7, [ME]))
    assert not sent.has(7, ME)
    sent.came_back(at[1])
    assert sent.has(7, ME)
    assert not sent.has(7, OTHER)
    assert not sent.has(8, ME)

    sent.told(at[2], sent.keys(7, [OTHER]))
    sent.came_back(at[1])  # the answer got lost: the old position again
    sent.came_back(at[3])
    assert not sent.has(7, OTHER)

    sent.forget(7)
    assert not sent.has(7, ME)
    sent.told(at[3], sent.keys(7, [ME]))
    sent.came_back(at[3])
    assert sent.has(7, ME)
