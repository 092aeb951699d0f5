"""Push rules: does an event notify a person, and how. Compiled once, then evaluated in a µs.

    compiled = compile(ruleset, "@ayna:a.test")
    outcome = evaluate(compiled, EventFacts(event, members=2))
    outcome.notify, outcome.highlight, outcome.actions

A room of a thousand people must not cost a thousand evaluations an event. So:

* `for_everyone(facts)` is what the default rules say to a member who is not mentioned, the same
  for all; `loud(facts)` is whether that notifies. Its count is kept per room, once.
* `singled_out(event)` names the few whom the default rules may treat otherwise.
* `individual_rooms(ruleset)` of `push_ruleset.py` tells whose own rules matter, and where.

Only the last two kinds are evaluated one by one.
"""

# CS #push-rules

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from kerwen.rooms.paths import path_parts
from kerwen.rooms.push_ruleset import Ruleset, default_ruleset

TYPES_CACHED_MAX: Final = 128  # event types a compiled ruleset remembers its rules for
KEY_PARTS_MAX: Final = 16
NOTIFICATION_LEVEL_DEFAULT: Final = 50  # m.room.power_levels: notifications.room
_NOBODY: Final = "\0"
_MISSING: Final = object()


class Outcome(NamedTuple):
    """What happens for a person: `actions` are the matching rule's, `tweaks` included."""

    notify: bool
    highlight: bool
    actions: tuple[Any, ...]


QUIET: Final = Outcome(False, False, ())


@dataclass(slots=True)
class EventFacts:
    """An event and what rules may ask about its room, the same for every member.

    `event` has `type`, `sender`, `room_id`, `content` and, for state, `state_key`.
    `sender_power` None: not known, so no `sender_notification_permission` holds.
    """

    event: Mapping[str, Any]
    members: int = 0  # joined
    sender_power: int | None = None
    notification_levels: Mapping[str, Any] = field(default_factory=dict)  # of power_levels


Test = Callable[[EventFacts, str, str], bool]
"""(facts, user id of whom it is for, their display name in the room) -> does it hold."""


@dataclass(frozen=True, slots=True)
class _Rule:
    type_tests: tuple[Callable[[str], bool], ...]
    tests: tuple[Test, ...]
    outcome: Outcome


_Selected = tuple[tuple[_Rule, ...], tuple[_Rule, ...], tuple[_Rule, ...]]


class _Table:
    """The enabled rules of a ruleset; `by_type` keeps those that an event type leaves."""

    __slots__ = ("by_type", "content", "override", "room", "sender", "underride")

    def __init__(self, ruleset: Ruleset, user_id: str) -> None:
        self.override = _rules(ruleset.get("override", ()), user_id)
        self.underride = _rules(ruleset.get("underride", ()), user_id)
        self.content = _content_rules(ruleset.get("content", ()))
        self.room = _by_id(ruleset.get("room", ()))
        self.sender = _by_id(ruleset.get("sender", ()))
        self.by_type: dict[str, _Selected] = {}

    def select(self, event_type: str) -> _Selected:
        """The rules that can match an event type, in order."""
        found = (
            _for_type(self.override, event_type),
            _for_type(self.content, event_type),
            _for_type(self.underride, event_type),
        )
        if len(self.by_type) < TYPES_CACHED_MAX:
            self.by_type[event_type] = found
        return found


@dataclass(frozen=True, slots=True)
class Compiled:
    """A person's ruleset, ready to evaluate. People with default rules share one table."""

    user_id: str
    table: _Table


def compile(ruleset: Ruleset, user_id: str) -> Compiled:
    """Makes a ruleset of `with_defaults` ready; conditions that say nonsense never hold."""
    if ruleset == default_ruleset(user_id):
        return Compiled(user_id, _default_table())
    return Compiled(user_id, _Table(ruleset, user_id))


def compile_default(user_id: str) -> Compiled:
    """The rules of a person who changed nothing."""
    return Compiled(user_id, _default_table())


@lru_cache(1)
def _default_table() -> _Table:
    # the ids of the person in the rules compile to "whom it is for", so one table does for all
    return _Table(default_ruleset(_NOBODY), _NOBODY)


def evaluate(compiled: Compiled, facts: EventFacts, display_name: str = "") -> Outcome:
    """What the rules say of an event to their owner; never ask it for the owner's own events.

    `display_name` is the owner's in that room, for the deprecated `contains_display_name`.
    """
    table, user_id = compiled.table, compiled.user_id
    event = facts.event
    event_type = event["type"]
    override, content, underride = table.by_type.get(event_type) or table.select(event_type)
    for rule in override:
        for test in rule.tests:
            if not test(facts, user_id, display_name):
                break
        else:
            return rule.outcome
    for rule in content:
        if rule.tests[0](facts, user_id, display_name):
            return rule.outcome
    if table.room and (found := table.room.get(event.get("room_id", ""))) is not None:
        return found
    if table.sender and (found := table.sender.get(event.get("sender", ""))) is not None:
        return found
    for rule in underride:
        for test in rule.tests:
            if not test(facts, user_id, display_name):
                break
        else:
            return rule.outcome
    return QUIET


# --- what is the same for everyone ----------------------------------------------------------


def for_everyone(facts: EventFacts) -> Outcome:
    """What the default rules say to a joined member whom the event does not single out."""
    return evaluate(Compiled(_NOBODY, _default_table()), facts)


def loud(facts: EventFacts) -> bool:
    """Whether an event notifies a joined member by the default rules without mentioning them.

    One-to-one or group alike: those rules differ in their sounds only.
    """
    return for_everyone(facts).notify


def singled_out(event: Mapping[str, Any]) -> tuple[str, ...]:
    """User ids whom the default rules may tell something else than everyone.

    Those in `m.mentions`, and who is invited. They are not all members, nor all ours.
    """
    content = event.get("content")
    if not isinstance(content, Mapping):
        return ()
    mentions = content.get("m.mentions")
    named = mentions.get("user_ids") if isinstance(mentions, Mapping) else None
    found = tuple(u for u in named if isinstance(u, str)) if isinstance(named, list) else ()
    if event["type"] == "m.room.member" and content.get("membership") == "invite":
        target = event.get("state_key")
        if isinstance(target, str):
            found += (target,)
    return tuple(dict.fromkeys(found)) if len(found) > 1 else found


# --- rules ----------------------------------------------------------------------------------


def _for_type(rules: Sequence[_Rule], event_type: str) -> tuple[_Rule, ...]:
    """Rules whose conditions on the type hold; those after an unconditional one never matter."""
    found = []
    for rule in rules:
        if all(test(event_type) for test in rule.type_tests):
            found.append(rule)
            if not rule.tests:
                break
    return tuple(found)


def _outcome(rule: Mapping[str, Any]) -> Outcome:
    """CS #actions: `dont_notify` and `coalesce` say nothing; a bare highlight means true."""
    actions = tuple(a for a in rule.get("actions", ()) if a == "notify" or isinstance(a, Mapping))
    highlight = False
    for action in actions:
        if isinstance(action, Mapping) and action.get("set_tweak") == "highlight":
            highlight = action.get("value", True) is not False
    notify = "notify" in actions
    return Outcome(notify, notify and highlight, actions)


def _rules(rules: Sequence[Mapping[str, Any]], user_id: str) -> tuple[_Rule, ...]:
    found = []
    for rule in rules:
        if not rule.get("enabled", True):
            continue
        conditions = rule.get("conditions") or ()
        type_tests: list[Callable[[str], bool]] = []
        tests: list[Test] = []
        for condition in conditions:
            if condition.get("kind") == "event_match" and condition.get("key") == "type":
                type_tests.append(matcher(str(condition.get("pattern", ""))))
            else:
                tests.append(_test(condition, user_id))
        if _never not in tests:
            found.append(_Rule(tuple(type_tests), tuple(tests), _outcome(rule)))
    return tuple(found)


def _content_rules(rules: Sequence[Mapping[str, Any]]) -> tuple[_Rule, ...]:
    return tuple(
        _Rule((), (_body_test(str(rule.get("pattern", ""))),), _outcome(rule))
        for rule in rules
        if rule.get("enabled", True)
    )


def _by_id(rules: Sequence[Mapping[str, Any]]) -> dict[str, Outcome]:
    return {r["rule_id"]: _outcome(r) for r in reversed(rules) if r.get("enabled", True)}


# --- conditions (CS #conditions-1) ------------------------------------------------------------


def _never(facts: EventFacts, user_id: str, display_name: str) -> bool:
    return False


def _test(condition: Mapping[str, Any], user_id: str) -> Test:
    """A condition; one that is unknown or malformed never holds."""
    make = _KINDS.get(condition.get("kind", ""))
    return make(condition, user_id) if make is not None else _never


def _event_match(condition: Mapping[str, Any], user_id: str) -> Test:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return _never
    if key == "content.body":
        return _body_test(pattern)
    get = _getter(key)
    if pattern == user_id:  # also when the user's id holds glob characters
        return lambda facts, user, name: get(facts.event) == user
    match = matcher(pattern)

    def test(facts: EventFacts, user: str, name: str) -> bool:
        value = get(facts.event)
        return isinstance(value, str) and match(value)

    return test


def _event_property_is(condition: Mapping[str, Any], user_id: str) -> Test:
    key, wanted = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_plain(wanted):
        return _never
    get, kind = _getter(key), type(wanted)
    if wanted == user_id:
        return lambda facts, user, name: get(facts.event) == user

    def test(facts: EventFacts, user: str, name: str) -> bool:
        value = get(facts.event)
        return type(value) is kind and value == wanted

    return test


def _event_property_contains(condition: Mapping[str, Any], user_id: str) -> Test:
    key, wanted = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_plain(wanted):
        return _never
    get, kind = _getter(key), type(wanted)
    if wanted == user_id:

        def holds_me(facts: EventFacts, user: str, name: str) -> bool:
            value = get(facts.event)
            return type(value) is list and user in value

        return holds_me

    def test(facts: EventFacts, user: str, name: str) -> bool:
        value = get(facts.event)
        return type(value) is list and any(type(v) is kind and v == wanted for v in value)

    return test


def _contains_display_name(condition: Mapping[str, Any], user_id: str) -> Test:
    get = _getter("content.body")

    def test(facts: EventFacts, user: str, name: str) -> bool:
        body = get(facts.event)
        return bool(name) and isinstance(body, str) and _name_matcher(name)(body)

    return test


_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "": int.__eq__,
    "==": int.__eq__,
    "<": int.__lt__,
    ">": int.__gt__,
    "<=": int.__le__,
    ">=": int.__ge__,
}
_COUNT = re.compile(r"(==|<=|>=|<|>|)([0-9]{1,16})")


def _room_member_count(condition: Mapping[str, Any], user_id: str) -> Test:
    wanted = condition.get("is")
    found = _COUNT.fullmatch(wanted) if isinstance(wanted, str) else None
    if found is None:
        return _never
    compare, count = _COMPARISONS[found[1]], int(found[2])
    return lambda facts, user, name: compare(facts.members, count)


def _sender_notification_permission(condition: Mapping[str, Any], user_id: str) -> Test:
    key = condition.get("key")
    if not isinstance(key, str):
        return _never

    def test(facts: EventFacts, user: str, name: str) -> bool:
        power = facts.sender_power
        return power is not None and power >= _level(facts.notification_levels.get(key))

    return test


_KINDS: dict[str, Callable[[Mapping[str, Any], str], Test]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (str, int, bool)


def _level(value: object) -> int:
    """A power level as rooms hold it; before room version 10 it may be text."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    return NOTIFICATION_LEVEL_DEFAULT


# --- paths and globs ------------------------------------------------------------------------


def _getter(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """Finds the value at a path, or a thing that equals nothing."""
    parts = path_parts(key)
    if len(parts) > KEY_PARTS_MAX:
        return lambda event: _MISSING
    if len(parts) == 1:
        only = parts[0]
        return lambda event: event.get(only, _MISSING)
    first, *middle = parts[:-1]
    last = parts[-1]

    def get(event: Mapping[str, Any]) -> Any:
        value = event.get(first)
        for part in middle:
            if type(value) is not dict:
                return _MISSING
            value = value.get(part)
        return value.get(last, _MISSING) if type(value) is dict else _MISSING

    return get


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a whole value matches a glob, whatever its case (CS #conditions-1)."""
    lowered = pattern.lower()
    if "*" not in pattern and "?" not in pattern:
        return lambda value: value == pattern or value.lower() == lowered
    first, *rest = _pieces(lowered)
    whole = first + _jumps(rest[:-1]) + ".*" + rest[-1] if rest else first
    match = re.compile(whole, re.DOTALL).fullmatch
    return lambda value: match(value.lower()) is not None


@lru_cache(4096)
def body_matcher(pattern: str) -> Callable[[str], bool]:
    """Whether some part of a text that starts and ends at word boundaries matches a glob."""
    lowered = pattern.lower()
    return _words(_pieces(lowered), max(re.split(r"[*?]", lowered), key=len))


@lru_cache(4096)
def _name_matcher(name: str) -> Callable[[str], bool]:
    return _words([re.escape(name.lower())], name.lower())


def _body_test(pattern: str) -> Test:
    get, match = _getter("content.body"), body_matcher(pattern)

    def test(facts: EventFacts, user: str, name: str) -> bool:
        body = get(facts.event)
        return isinstance(body, str) and match(body)

    return test


_STARTS = r"(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"
_ENDS = r"(?:(?![A-Za-z0-9_])|(?<![A-Za-z0-9_]))"


def _words(pieces: list[str], needed: str) -> Callable[[str], bool]:
    """`needed` must occur anyway: to look for it first costs a tenth of the expression."""
    first, *rest = pieces
    if rest:
        first = "(?>.*?" + _STARTS + first + ")" + _jumps(rest[:-1]) + ".*?" + rest[-1] + _ENDS
    else:
        first = ".*?" + _STARTS + first + _ENDS
    match = re.compile(first, re.DOTALL).match

    def holds(value: str) -> bool:
        lowered = value.lower()
        return needed in lowered and match(lowered) is not None

    return holds


def _pieces(pattern: str) -> list[str]:
    """What stands between a glob's stars, as regular expressions."""
    return [
        "".join("." if c == "?" else re.escape(c) for c in piece)
        for piece in re.split(r"\*+", pattern)
    ]


def _jumps(pieces: list[str]) -> str:
    """Each piece at its first place: if a later piece then fails, it fails for any other place.

    Atomic groups keep that promise, so a hostile glob costs length times length at most.
    """
    return "".join("(?>.*?" + piece + ")" for piece in pieces)
