"""Push rules: every condition with the specification's own examples, the default rules, fuzz."""

from __future__ import annotations

import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.rooms import push_rules
from kerwen.rooms.paths import path_parts
from kerwen.rooms.push_rules import QUIET, EventFacts, compile, compile_default, evaluate
from kerwen.rooms.push_ruleset import Ruleset, default_ruleset, with_defaults

AYNA, BATYR = "@ayna:a.test", "@batyr:a.test"
SOUND = {"set_tweak": "sound", "value": "default"}
HIGHLIGHT = {"set_tweak": "highlight"}


def event(type: str = "m.room.message", **content: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": type, "sender": BATYR, "room_id": "!r:a.test"}
    if "state_key" in content:
        found["state_key"] = content.pop("state_key")
    return {**found, "content": content}


def facts(shown: dict[str, Any], **known: Any) -> EventFacts:
    return EventFacts(shown, **{"members": 3, "sender_power": 0, **known})


def holds(condition: dict[str, Any], shown: dict[str, Any], name: str = "", **known: Any) -> bool:
    """Whether a condition alone makes an override rule match."""
    rule = {"rule_id": "r", "enabled": True, "conditions": [condition], "actions": ["notify"]}
    compiled = compile({"override": [rule]}, AYNA)
    return evaluate(compiled, facts(shown, **known), name).notify


def matches(key: str, pattern: str, shown: dict[str, Any]) -> bool:
    return holds({"kind": "event_match", "key": key, "pattern": pattern}, shown)


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        ("Lunch plans", True),
        ("LUNCH", True),
        (" lunch", False),
        ("lunc", False),
        (None, False),
        (7, False),
        (["lunch"], False),
        ("lunch\nplans", True),
    ],
)
def test_event_match_is_the_whole_value_in_any_case(topic: object, wanted: bool) -> None:
    shown = event("m.room.topic", state_key="", topic=topic)
    assert matches("content.topic", "lunc?*", shown) is wanted


@pytest.mark.parametrize(
    ("pattern", "body", "wanted"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("ex*ple", "inexample", False),
        ("ex*ple", "examples", False),
        ("cake", "The CAKE is a lie", True),
        ("cake", "cakes", False),
        ("cake", "pancake cake", True),
        ("cake", "cup_cake", False),
        ("cake", "cup-cake", True),
        ("cake*lie", "the cake is a lie!", True),
        ("cake*lie", "lie, no cake", False),
        ("c?ke", "coke", True),
        ("c?ke", "cke", False),
        ("*", "", True),
        ("", "anything", True),
        ("a.c", "abc", False),
        ("(a", "x (a b", True),
        ("salam", "SALAM, dünýä", True),
        ("ÇAÝ", "bir çaý", True),
        ("чай", "Горячий ЧАЙ", True),
        ("@room", "hey @room!", True),
        ("foo", "foo1 foo", True),
    ],
)
def test_body_matches_between_word_boundaries(pattern: str, body: str, wanted: bool) -> None:
    assert matches("content.body", pattern, event(body=body)) is wanted
    rule = {"rule_id": "r", "enabled": True, "pattern": pattern, "actions": ["notify"]}
    compiled = compile({"content": [rule]}, AYNA)
    assert evaluate(compiled, facts(event(body=body))).notify is wanted


@pytest.mark.parametrize(
    ("pattern", "value", "wanted"),
    [
        ("*", "", True),
        ("**", "abc", True),
        ("a*b*c", "aXbXbXc", True),
        ("a*b*c", "aXbX", False),
        ("*b", "abb", True),
        ("a*a", "a", False),
        ("?", "", False),
        ("??", "ab", True),
        ("a\\b", "A\\B", True),
    ],
)
def test_globs(pattern: str, value: str, wanted: bool) -> None:
    assert push_rules.matcher(pattern)(value) is wanted


def test_a_missing_property_does_not_match_a_star() -> None:
    assert not matches("content.topic", "*", event(body="x"))
    assert not matches("state_key", "*", event())
    assert not matches("content.body.deeper", "*", event(body="x"))


@pytest.mark.parametrize(
    ("value", "held", "wanted"),
    [
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (None, None, True),
        ("a", "a", True),
        ("a", "A", False),
        (0, 0.0, False),
    ],
)
def test_event_property_is_casts_nothing(value: object, held: object, wanted: bool) -> None:
    condition = {"kind": "event_property_is", "key": "content.m\\.federate", "value": value}
    assert holds(condition, event("m.room.create", **{"m.federate": held})) is wanted
    assert not holds(condition, event("m.room.create"))


@pytest.mark.parametrize(
    ("value", "held", "wanted"),
    [
        ("#myroom:example.com", ["#somewhere:example.org", "#myroom:example.com"], True),
        (":example.com", ["#myroom:example.com"], False),
        (1, [True], False),
        (None, [None], True),
        ("a", "a", False),
        ("a", {"a": 1}, False),
        ("a", [["a"]], False),
    ],
)
def test_event_property_contains(value: object, held: object, wanted: bool) -> None:
    key = "content.alt_aliases"
    condition = {"kind": "event_property_contains", "key": key, "value": value}
    assert holds(condition, event("m.room.canonical_alias", alt_aliases=held)) is wanted


@pytest.mark.parametrize("value", [{}, [], 1.5])
def test_a_compound_value_never_matches(value: object) -> None:
    for kind in ("event_property_is", "event_property_contains"):
        shown = event(x=value if kind == "event_property_is" else [value])
        assert not holds({"kind": kind, "key": "content.x", "value": value}, shown)


@pytest.mark.parametrize(
    ("body", "name", "wanted"),
    [
        ("hi Ayna!", "ayna", True),
        ("hi Aynabat", "ayna", False),
        ("hi *", "*", True),
        ("hi there", "*", False),
        ("hi ayna", "", False),
    ],
)
def test_contains_display_name(body: str, name: str, wanted: bool) -> None:
    assert holds({"kind": "contains_display_name"}, event(body=body), name) is wanted


@pytest.mark.parametrize(
    ("is_", "wanted"),
    [
        ("3", True),
        ("==3", True),
        ("2", False),
        ("<3", False),
        ("<=3", True),
        (">2", True),
        (">=4", False),
        ("", False),
        ("=3", False),
        ("3 ", False),
        ("-1", False),
        (3, False),
    ],
)
def test_room_member_count(is_: object, wanted: bool) -> None:
    assert holds({"kind": "room_member_count", "is": is_}, event(), members=3) is wanted


@pytest.mark.parametrize(
    ("levels", "power", "wanted"),
    [
        ({}, 49, False),
        ({}, 50, True),
        ({"room": 0}, 0, True),
        ({"room": "20"}, 20, True),
        ({"room": "nonsense"}, 49, False),
        ({"room": 100}, None, False),
    ],
)
def test_sender_notification_permission(
    levels: dict[str, Any], power: int | None, wanted: bool
) -> None:
    condition = {"kind": "sender_notification_permission", "key": "room"}
    found = holds(condition, event(), sender_power=power, notification_levels=levels)
    assert found is wanted


def test_an_unknown_condition_matches_nothing() -> None:
    assert not holds({"kind": "org.example.unknown"}, event())
    assert not holds({}, event())


# --- the default rules ------------------------------------------------------------------------

INVITE = event("m.room.member", state_key=AYNA, membership="invite")
TO_AYNA = {"m.mentions": {"user_ids": [AYNA]}}
TO_ROOM = {"m.mentions": {"room": True}}
EDIT = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}


@pytest.mark.parametrize(
    ("shown", "known", "actions"),
    [
        (event(body="x"), {}, ("notify",)),
        (event(body="x"), {"members": 2}, ("notify", SOUND)),
        (event("m.room.encrypted"), {}, ("notify",)),
        (event("m.room.encrypted"), {"members": 2}, ("notify", SOUND)),
        (event(msgtype="m.notice", body="x"), {}, ()),
        (event(msgtype="m.notice", **TO_AYNA), {}, ()),
        (event(body="x", **TO_AYNA), {}, ("notify", SOUND, HIGHLIGHT)),
        (event("m.room.encrypted", **TO_AYNA), {}, ("notify", SOUND, HIGHLIGHT)),
        (event(body="ayna", **{"m.mentions": {"user_ids": [BATYR]}}), {}, ("notify",)),
        (event(body="hello ayna"), {}, ("notify",)),
        (event(body="x", **TO_ROOM), {"sender_power": 50}, ("notify", HIGHLIGHT)),
        (event(body="x", **TO_ROOM), {"sender_power": 49}, ("notify",)),
        (event(body="x", **EDIT), {}, ()),
        (event(body="x", **EDIT, **TO_AYNA), {}, ("notify", SOUND, HIGHLIGHT)),
        (event("m.reaction"), {}, ()),
        (event("m.room.server_acl", state_key=""), {}, ()),
        (event("m.room.tombstone", state_key=""), {}, ("notify", HIGHLIGHT)),
        (event("m.room.tombstone"), {}, ()),
        (event("m.room.topic", state_key="", topic="x"), {}, ()),
        (INVITE, {}, ("notify", SOUND)),
        (event("m.room.member", state_key=BATYR, membership="invite"), {}, ()),
        (event("m.room.member", state_key=AYNA, membership="join"), {}, ()),
        (event("m.call.invite"), {}, ("notify", {"set_tweak": "sound", "value": "ring"})),
        (event("m.sticker", body="x"), {}, ()),
        (event("M.ROOM.MESSAGE", body="x"), {}, ("notify",)),
    ],
)
def test_default_rules(
    shown: dict[str, Any], known: dict[str, Any], actions: tuple[Any, ...]
) -> None:
    found = evaluate(compile_default(AYNA), facts(shown, **known))
    assert found.actions == actions
    assert found.notify is ("notify" in actions)
    assert found.highlight is (HIGHLIGHT in actions)


def test_compiling_default_rules_for_two_people_gives_each_their_own() -> None:
    shown = facts(event(body="x", **TO_AYNA))
    assert evaluate(compile(default_ruleset(AYNA), AYNA), shown).highlight
    assert not evaluate(compile(default_ruleset(BATYR), BATYR), shown).highlight


EVENTS = st.sampled_from(
    [
        event(body="x"),
        event("m.room.encrypted"),
        event(msgtype="m.notice"),
        event(body="x", **TO_ROOM),
        event(body="x", **EDIT),
        event("m.reaction"),
        event("m.room.tombstone", state_key=""),
        event("m.room.member", state_key=BATYR, membership="join"),
        event("m.call.invite"),
        event("m.sticker"),
        event(body="x", **TO_AYNA),
        INVITE,
    ]
)


@given(EVENTS, st.integers(1, 5), st.sampled_from([0, 50, None]), st.sampled_from([AYNA, BATYR]))
def test_for_everyone_says_what_each_member_who_is_not_singled_out_hears(
    shown: dict[str, Any], members: int, power: int | None, user_id: str
) -> None:
    known = facts(shown, members=members, sender_power=power)
    if user_id in push_rules.singled_out(shown):
        return
    own = evaluate(compile_default(user_id), known)
    everyone = push_rules.for_everyone(known)
    assert (own.notify, own.highlight) == (everyone.notify, everyone.highlight)
    assert push_rules.loud(known) is own.notify


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (event(body="x"), ()),
        (event(body="x", **TO_AYNA), (AYNA,)),
        (event(**{"m.mentions": {"user_ids": [AYNA, AYNA, 7, BATYR]}}), (AYNA, BATYR)),
        (event(**{"m.mentions": {"user_ids": AYNA}}), ()),
        (event(**{"m.mentions": 7}), ()),
        (event(**TO_ROOM), ()),
        (INVITE, (AYNA,)),
        ({"type": "m.room.message", "content": 7}, ()),
    ],
)
def test_singled_out(shown: dict[str, Any], wanted: tuple[str, ...]) -> None:
    assert push_rules.singled_out(shown) == wanted


# --- order and one's own rules ------------------------------------------------------------------


def own(**kinds: list[dict[str, Any]]) -> Ruleset:
    return with_defaults(kinds, AYNA)


def rule(rule_id: str, *actions: Any, **more: Any) -> dict[str, Any]:
    return {"rule_id": rule_id, "default": False, "enabled": True, "actions": list(actions), **more}


MUTE = rule("!r:a.test")
ALARM = {"set_tweak": "sound", "value": "alarm"}


@pytest.mark.parametrize(
    ("ruleset", "actions"),
    [
        (own(room=[MUTE]), ()),
        (own(room=[rule("!other:a.test")]), ("notify",)),
        (own(sender=[rule(BATYR)]), ()),
        (own(room=[rule("!r:a.test", "notify", ALARM)], sender=[rule(BATYR)]), ("notify", ALARM)),
        (own(content=[rule("c", "notify", ALARM, pattern="tea")], room=[MUTE]), ("notify", ALARM)),
        (own(content=[rule("a", pattern="tea"), rule("b", "notify", pattern="time")]), ()),
        (own(content=[{**rule("a", pattern="tea"), "enabled": False}]), ("notify",)),
        (own(override=[rule("o", conditions=[])]), ()),
        (own(underride=[rule("u", "notify", ALARM)]), ("notify", ALARM)),
        (own(override=[{"rule_id": ".m.rule.master", "enabled": True, "actions": []}]), ()),
        (
            own(override=[{"rule_id": ".m.rule.suppress_edits", "enabled": False, "actions": []}]),
            ("notify",),
        ),
    ],
)
def test_importance(ruleset: Ruleset, actions: tuple[Any, ...]) -> None:
    shown = facts(event(body="It's time for tea"))
    assert evaluate(compile(ruleset, AYNA), shown).actions == actions


def test_old_actions_say_nothing_and_a_highlight_without_value_is_true() -> None:
    quiet = own(override=[rule("o", "dont_notify", "coalesce", conditions=[])])
    assert evaluate(compile(quiet, AYNA), facts(event())) == QUIET
    off = own(
        override=[rule("o", "notify", {"set_tweak": "highlight", "value": False}, conditions=[])]
    )
    found = evaluate(compile(off, AYNA), facts(event()))
    assert (found.notify, found.highlight) == (True, False)


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("content.body", ("content", "body")),
        ("content.m\\.relates_to", ("content", "m.relates_to")),
        ("content.m\\\\foo", ("content", "m\\foo")),
        ("a\\xb", ("a\\xb",)),
        ("", ("",)),
        ("a.", ("a", "")),
        ("a\\", ("a\\",)),
    ],
)
def test_paths(key: str, parts: tuple[str, ...]) -> None:
    assert path_parts(key) == parts


# --- what others write ------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "key", "pattern", "is", "value", "x"]), inner)
    ),
    max_leaves=8,
)
KIND_NAMES = st.sampled_from(
    [
        "event_match",
        "event_property_is",
        "event_property_contains",
        "contains_display_name",
        "room_member_count",
        "sender_notification_permission",
    ]
)
CONDITION = st.fixed_dictionaries(
    {"kind": KIND_NAMES},
    optional={
        "key": st.sampled_from(["type", "content.body", "content.x", "state_key"]) | JSON,
        "pattern": st.text("ab*?.\\[(", max_size=8) | JSON,
        "is": JSON,
        "value": JSON,
    },
)
RULE = st.fixed_dictionaries(
    {"rule_id": st.text(max_size=5) | JSON, "actions": st.lists(JSON, max_size=3) | JSON},
    optional={"conditions": st.lists(CONDITION, max_size=3) | JSON, "pattern": JSON},
)


@given(
    st.dictionaries(st.sampled_from(["override", "content", "room", "sender"]), st.lists(RULE)),
    st.dictionaries(st.sampled_from(["body", "x", "m.mentions"]), JSON),
)
def test_whatever_is_stored_and_sent_an_answer_comes(
    stored: dict[str, Any], content: dict[str, Any]
) -> None:
    shown = {"type": "m.x", "sender": BATYR, "room_id": "!r", "content": content}
    found = evaluate(compile(with_defaults(stored, AYNA), AYNA), EventFacts(shown))
    assert found.highlight <= found.notify


def test_a_hostile_glob_costs_little() -> None:
    pattern, value = "*a" * 200 + "b", "a" * 60_000
    match = push_rules.matcher(pattern)
    assert not match(value)
    assert timeit.timeit(lambda: match(value), number=1) < 0.5
    body = push_rules.body_matcher("a*" * 200 + "b")
    assert timeit.timeit(lambda: body("a " * 30_000), number=1) < 0.5


def test_rules_may_name_their_owner_in_any_condition() -> None:
    for condition in (
        {"kind": "event_property_is", "key": "content.to", "value": AYNA},
        {"kind": "event_match", "key": "content.to", "pattern": AYNA},
        {"kind": "event_property_contains", "key": "content.all", "value": AYNA},
    ):
        assert holds(condition, event(to=AYNA, all=[AYNA]))
        assert not holds(condition, event(to=BATYR, all=[BATYR]))


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "event_match", "key": 7, "pattern": "*"},
        {"kind": "event_match", "key": "content.x"},
        {"kind": "event_property_is", "key": "content.x"},
        {"kind": "event_property_contains", "key": "content.x"},
        {"kind": "event_property_contains", "value": 1},
        {"kind": "sender_notification_permission"},
        {"kind": "event_match", "key": ".".join(["content"] * 40), "pattern": "*"},
        {"kind": "event_match", "key": "content.x.y.z", "pattern": "*"},
    ],
)
def test_a_malformed_condition_matches_nothing(condition: dict[str, Any]) -> None:
    assert not holds(condition, event(x="text"), sender_power=100)


def test_any_number_of_event_types_is_right_in_bounded_memory() -> None:
    compiled = compile(own(room=[MUTE]), AYNA)
    for number in range(push_rules.TYPES_CACHED_MAX + 20):
        assert not evaluate(compiled, facts(event(f"m.x{number}"))).notify
    assert len(compiled.table.by_type) == push_rules.TYPES_CACHED_MAX
    mentioned = facts(event("m.last", **TO_AYNA))
    assert evaluate(compiled, mentioned).highlight
