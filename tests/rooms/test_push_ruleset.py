"""The ruleset: its defaults, its edits, and whose own rules matter where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.push_ruleset import (
    CONDITIONS_MAX,
    KINDS,
    PATTERN_MAX,
    RULES_MAX,
    Ruleset,
    default_ruleset,
    delete_rule,
    find_rule,
    individual,
    individual_rooms,
    parse_actions,
    parse_rule,
    put_rule,
    with_defaults,
)

AYNA = "@ayna:a.test"


def rules() -> Ruleset:
    return default_ruleset(AYNA)


def put(ruleset: Ruleset, rule_id: str, **where: str) -> None:
    rule = parse_rule("content", rule_id, {"pattern": rule_id, "actions": ["notify"]})
    put_rule(ruleset, "content", rule, where.get("before"), where.get("after"))


def order(ruleset: Ruleset, kind: str = "content") -> str:
    return " ".join(rule["rule_id"] for rule in ruleset[kind])


def test_the_default_rules_are_those_of_the_specification() -> None:
    assert order(rules(), "override").replace(".m.rule.", "").split() == [
        "master",
        "suppress_notices",
        "invite_for_me",
        "member_event",
        "is_user_mention",
        "is_room_mention",
        "tombstone",
        "reaction",
        "room.server_acl",
        "suppress_edits",
    ]
    assert order(rules(), "underride").replace(".m.rule.", "").split() == [
        "call",
        "encrypted_room_one_to_one",
        "room_one_to_one",
        "message",
        "encrypted",
    ]
    enabled = {r["rule_id"] for k in KINDS for r in rules()[k] if r["enabled"]}
    assert ".m.rule.master" not in enabled
    assert len(enabled) == 14


def test_a_new_rule_is_the_most_important_of_ones_own() -> None:
    found = rules()
    put(found, "a")
    put(found, "b")
    assert order(found) == "b a"
    rule = parse_rule("override", "mine", {"actions": []})
    put_rule(found, "override", rule)
    assert order(found, "override").startswith(".m.rule.master mine .m.rule.suppress_notices")


@pytest.mark.parametrize(
    ("moved", "where", "wanted"),
    [
        ("d", {"before": "b"}, "a d b c"),
        ("d", {"after": "b"}, "a b d c"),
        ("d", {"before": "a"}, "d a b c"),
        ("d", {"after": "c"}, "a b c d"),
        ("a", {"after": "c"}, "b c a"),
        ("c", {"before": "a"}, "c a b"),
        ("a", {"before": "c"}, "b a c"),
        ("a", {"before": "c", "after": "a"}, "b a c"),
        ("b", {}, "a b c"),
        ("b", {"before": "b"}, "a b c"),
        ("b", {"after": "b"}, "a b c"),
    ],
)
def test_before_and_after(moved: str, where: dict[str, str], wanted: str) -> None:
    found = rules()
    for rule_id in ("c", "b", "a"):
        put(found, rule_id)
    put(found, moved, **where)
    assert order(found) == wanted


@pytest.mark.parametrize("where", [{"before": "none"}, {"after": ".m.rule.master"}])
def test_before_and_after_name_rules_of_ones_own(where: dict[str, str]) -> None:
    found = rules()
    with pytest.raises(Refused) as refused:
        put(found, "a", **where)
    assert refused.value.reason is Reason.INVALID_PARAM
    assert order(found) == ""


def test_a_changed_rule_stays_disabled() -> None:
    found = rules()
    put(found, "a")
    find_rule(found, "content", "a")["enabled"] = False
    put(found, "a")
    assert find_rule(found, "content", "a")["enabled"] is False


def test_deleting() -> None:
    found = rules()
    put(found, "a")
    delete_rule(found, "content", "a")
    assert order(found) == ""
    for kind, rule_id, reason in (
        ("content", "a", Reason.NOT_FOUND),
        ("override", ".m.rule.master", Reason.INVALID_PARAM),
        ("nonsense", "a", Reason.INVALID_PARAM),
    ):
        with pytest.raises(Refused) as refused:
            delete_rule(found, kind, rule_id)
        assert refused.value.reason is reason


def test_the_number_of_rules_is_bounded() -> None:
    found = rules()
    found["room"] = [{"rule_id": f"!{n}:a"} for n in range(RULES_MAX)]
    with pytest.raises(Refused) as refused:
        put(found, "a")
    assert refused.value.reason is Reason.OVER_QUOTA


NOTIFY: dict[str, Any] = {"actions": ["notify"]}


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "reason"),
    [
        ("override", ".mine", NOTIFY, Reason.INVALID_PARAM),
        ("override", "a/b", NOTIFY, Reason.INVALID_PARAM),
        ("override", "a\\b", NOTIFY, Reason.INVALID_PARAM),
        ("override", "", NOTIFY, Reason.INVALID_PARAM),
        ("override", "x" * 256, NOTIFY, Reason.INVALID_PARAM),
        ("other", "a", NOTIFY, Reason.INVALID_PARAM),
        ("override", "a", {}, Reason.MISSING_PARAM),
        ("override", "a", {"actions": {}}, Reason.BAD_JSON),
        ("override", "a", {"actions": ["shout"]}, Reason.INVALID_PARAM),
        ("override", "a", {"actions": [{"sound": "x"}]}, Reason.INVALID_PARAM),
        ("override", "a", {"actions": ["notify"] * 33}, Reason.INVALID_PARAM),
        ("override", "a", {**NOTIFY, "conditions": 7}, Reason.BAD_JSON),
        ("override", "a", {**NOTIFY, "conditions": [7]}, Reason.BAD_JSON),
        ("override", "a", {**NOTIFY, "conditions": [{"kind": 7}]}, Reason.BAD_JSON),
        (
            "override",
            "a",
            {**NOTIFY, "conditions": [{"kind": "x"}] * (CONDITIONS_MAX + 1)},
            Reason.INVALID_PARAM,
        ),
        (
            "underride",
            "a",
            {**NOTIFY, "conditions": [{"kind": "event_match", "key": "type"}]},
            Reason.MISSING_PARAM,
        ),
        (
            "underride",
            "a",
            {**NOTIFY, "conditions": [{"kind": "event_match", "key": "x", "pattern": 7}]},
            Reason.BAD_JSON,
        ),
        (
            "underride",
            "a",
            {**NOTIFY, "conditions": [{"kind": "event_property_is", "key": "x", "value": []}]},
            Reason.INVALID_PARAM,
        ),
        ("content", "a", NOTIFY, Reason.MISSING_PARAM),
        ("content", "a", {**NOTIFY, "pattern": 7}, Reason.BAD_JSON),
        ("content", "a", {**NOTIFY, "pattern": "x" * (PATTERN_MAX + 1)}, Reason.INVALID_PARAM),
        (
            "room",
            "!a:b",
            {"actions": [{"set_tweak": "sound", "value": "x" * 9000}]},
            Reason.TOO_LARGE,
        ),
    ],
)
def test_refusals(kind: str, rule_id: str, body: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        parse_rule(kind, rule_id, body)
    assert refused.value.reason is reason


def test_a_rule_holds_what_its_kind_has() -> None:
    body = {"pattern": "cake*lie", "conditions": [], "actions": ["notify"], "default": True}
    assert parse_rule("content", "nocake", body) == {
        "rule_id": "nocake",
        "default": False,
        "enabled": True,
        "pattern": "cake*lie",
        "actions": ["notify"],
    }
    unknown = [{"kind": "org.example.unknown", "x": [1]}]
    assert parse_rule("override", "a", {**body, "conditions": unknown})["conditions"] == unknown
    assert "conditions" not in parse_rule("room", "!a:b", body)


def test_historical_actions_are_taken_out() -> None:
    assert parse_actions(["dont_notify", "coalesce"]) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
BODY = st.dictionaries(
    st.sampled_from(["actions", "conditions", "pattern"]),
    JSON | st.lists(st.dictionaries(st.sampled_from(["kind", "key", "is", "value"]), JSON)),
)


@given(st.sampled_from([*KINDS, "x"]), st.text(max_size=5), BODY)
def test_only_refusals_escape(kind: str, rule_id: str, body: dict[str, Any]) -> None:
    found = rules()
    try:
        put_rule(found, kind, parse_rule(kind, rule_id, body))
    except Refused:
        return
    stored = with_defaults(found, AYNA)
    assert find_rule(stored, kind, rule_id) == find_rule(found, kind, rule_id)


# --- what is stored under a newer program -------------------------------------------------------


def test_with_defaults_keeps_ones_own_and_brings_new_default_rules() -> None:
    stored = rules()
    put(stored, "a")
    find_rule(stored, "underride", ".m.rule.message")["actions"] = []
    find_rule(stored, "override", ".m.rule.master")["enabled"] = True
    stored["override"] = [r for r in stored["override"] if r["rule_id"] != ".m.rule.suppress_edits"]
    stored["override"].append({"rule_id": ".m.rule.of_old", "enabled": True, "actions": []})
    found = with_defaults(stored, AYNA)
    assert order(found, "override") == order(rules(), "override")
    assert find_rule(found, "override", ".m.rule.master")["enabled"] is True
    assert find_rule(found, "underride", ".m.rule.message")["actions"] == []
    assert order(found) == "a"
    assert with_defaults(found, AYNA) == found
    assert default_ruleset(AYNA) == rules(), "the defaults themselves stay untouched"


# --- whose own rules matter -----------------------------------------------------------------------


def changed(kind: str, rule_id: str, **values: Any) -> Ruleset:
    found = rules()
    find_rule(found, kind, rule_id).update(values)
    return found


def with_rule(kind: str, rule_id: str, body: dict[str, Any]) -> Ruleset:
    found = rules()
    put_rule(found, kind, parse_rule(kind, rule_id, body))
    return found


ROOM = {"kind": "event_match", "key": "room_id", "pattern": "!a:b"}
DISABLED = with_rule("content", "k", {"pattern": "k", "actions": ["notify"]})
DISABLED["content"][0]["enabled"] = False
NOWHERE: frozenset[str] = frozenset()
RING = {"set_tweak": "sound", "value": "ring"}


@pytest.mark.parametrize(
    ("ruleset", "wanted"),
    [
        (rules(), NOWHERE),
        (DISABLED, NOWHERE),
        (changed("underride", ".m.rule.message", actions=["notify", RING]), NOWHERE),
        (changed("override", ".m.rule.suppress_edits", actions=["dont_notify"]), NOWHERE),
        (changed("underride", ".m.rule.message", actions=[]), None),
        (changed("underride", ".m.rule.message", enabled=False), None),
        (changed("override", ".m.rule.master", enabled=True), None),
        (
            changed("override", ".m.rule.tombstone", actions=["notify"]),
            None,
        ),
        (with_rule("room", "!a:b", {"actions": []}), frozenset({"!a:b"})),
        (with_rule("override", "!a:b", {"actions": [], "conditions": [ROOM]}), {"!a:b"}),
        (with_rule("override", "x", {"actions": [], "conditions": []}), None),
        (
            with_rule("override", "x", {"actions": [], "conditions": [{**ROOM, "pattern": "*"}]}),
            None,
        ),
        (with_rule("content", "k", {"pattern": "k", "actions": ["notify"]}), None),
        (with_rule("sender", "@b:b", {"actions": []}), None),
    ],
)
def test_individual_rooms(ruleset: Ruleset, wanted: frozenset[str] | None) -> None:
    assert individual_rooms(ruleset, AYNA) == wanted
    assert individual(ruleset, AYNA) is (wanted != NOWHERE)


def test_a_rule_with_other_conditions_beside_its_room_is_about_that_room() -> None:
    sender = {"kind": "event_match", "key": "sender", "pattern": "@b:b"}
    found = with_rule("override", "x", {"actions": [], "conditions": [sender, ROOM]})
    assert individual_rooms(found, AYNA) == {"!a:b"}


def test_too_many_bytes_of_actions_are_refused() -> None:
    for body, reason in (
        ([{"set_tweak": "sound", "value": "x" * 9_000}], Reason.TOO_LARGE),
        ([{"set_tweak": "sound", "value": {1, 2}}], Reason.BAD_JSON),
    ):
        with pytest.raises(Refused) as refused:
            parse_actions(body)
        assert refused.value.reason is reason
    many = [{"kind": "x", "note": "y" * 400} for _ in range(CONDITIONS_MAX)]
    with pytest.raises(Refused) as refused:
        parse_rule("override", "a", {"actions": [], "conditions": many})
    assert refused.value.reason is Reason.TOO_LARGE
