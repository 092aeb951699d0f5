"""A person's push ruleset: the default one, its edits, and whether it is anybody's own.

A ruleset is JSON as clients see it: `{"override": [rule, ...], "content": ..., "room": ...,
"sender": ..., "underride": ...}`, in order of importance. User's rules come before the
server's, but `.m.rule.master`, which is first of all.
"""

# CS #predefined-rules

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from kerwen.base.errors import Reason, Refused

Ruleset = dict[str, list[dict[str, Any]]]

KINDS: Final = ("override", "content", "room", "sender", "underride")
MASTER: Final = ".m.rule.master"

RULES_MAX: Final = 2_000  # of one person
RULE_ID_MAX: Final = 255
CONDITIONS_MAX: Final = 32
ACTIONS_MAX: Final = 32
PATTERN_MAX: Final = 512
RULE_BYTES_MAX: Final = 8_192

_SOUND: Final = {"set_tweak": "sound", "value": "default"}
_HIGHLIGHT: Final = {"set_tweak": "highlight"}


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _default(
    name: str, conditions: list[dict[str, Any]], *actions: Any, enabled: bool = True
) -> dict[str, Any]:
    return {
        "rule_id": ".m.rule." + name,
        "default": True,
        "enabled": enabled,
        "conditions": conditions,
        "actions": list(actions),
    }


def _overrides(user_id: str) -> list[dict[str, Any]]:
    state = _match("state_key", "")
    named = {
        "kind": "event_property_contains",
        "key": "content.m\\.mentions.user_ids",
        "value": user_id,
    }
    room = {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True}
    edit = {
        "kind": "event_property_is",
        "key": "content.m\\.relates_to.rel_type",
        "value": "m.replace",
    }
    invited = [
        _match("type", "m.room.member"),
        _match("content.membership", "invite"),
        _match("state_key", user_id),
    ]
    may_call_room = {"kind": "sender_notification_permission", "key": "room"}
    return [
        _default("master", [], enabled=False),
        _default("suppress_notices", [_match("content.msgtype", "m.notice")]),
        _default("invite_for_me", invited, "notify", _SOUND),
        _default("member_event", [_match("type", "m.room.member")]),
        _default("is_user_mention", [named], "notify", _SOUND, _HIGHLIGHT),
        _default("is_room_mention", [room, may_call_room], "notify", _HIGHLIGHT),
        _default("tombstone", [_match("type", "m.room.tombstone"), state], "notify", _HIGHLIGHT),
        _default("reaction", [_match("type", "m.reaction")]),
        _default("room.server_acl", [_match("type", "m.room.server_acl"), state]),
        _default("suppress_edits", [edit]),
    ]


def _underrides() -> list[dict[str, Any]]:
    two = {"kind": "room_member_count", "is": "2"}
    message, encrypted = _match("type", "m.room.message"), _match("type", "m.room.encrypted")
    ring = {"set_tweak": "sound", "value": "ring"}
    return [
        _default("call", [_match("type", "m.call.invite")], "notify", ring),
        _default("encrypted_room_one_to_one", [two, encrypted], "notify", _SOUND),
        _default("room_one_to_one", [two, message], "notify", _SOUND),
        _default("message", [message], "notify"),
        _default("encrypted", [encrypted], "notify"),
    ]


def default_ruleset(user_id: str) -> Ruleset:
    """The rules of a person who changed none."""
    found: Ruleset = {kind: [] for kind in KINDS}
    found["override"] = _overrides(user_id)
    found["underride"] = _underrides()
    return found


# --- what is stored -------------------------------------------------------------------------


def with_defaults(stored: Mapping[str, Any], user_id: str) -> Ruleset:
    """A stored ruleset under this program's default rules.

    A default rule keeps its owner's `enabled` and `actions`; rules that the server no longer
    has go, new ones come. Whatever is not a rule is left out.
    """
    found = default_ruleset(user_id)
    for kind in KINDS:
        rules = stored.get(kind)
        if not isinstance(rules, list):
            continue
        known = {rule["rule_id"]: rule for rule in found[kind]}
        own = []
        for rule in rules:
            if not _is_rule(rule):
                continue
            if not rule["rule_id"].startswith("."):
                own.append(rule)
            elif rule["rule_id"] in known:
                for name in ("enabled", "actions"):
                    known[rule["rule_id"]][name] = rule.get(name, known[rule["rule_id"]][name])
        at = _first_own(found[kind])
        found[kind][at:at] = own
    return found


def _is_rule(rule: object) -> bool:
    if not isinstance(rule, dict) or not isinstance(rule.get("rule_id"), str):
        return False
    conditions = rule.get("conditions", [])
    return (
        isinstance(rule.get("actions"), list)
        and isinstance(conditions, list)
        and all(isinstance(c, dict) for c in conditions)
    )


def _first_own(rules: list[dict[str, Any]]) -> int:
    """Where the owner's rules begin: master is above them."""
    return 1 if rules and rules[0]["rule_id"] == MASTER else 0


# --- whose own rules matter -----------------------------------------------------------------

EVERYWHERE: Final = None


def individual(ruleset: Ruleset, user_id: str) -> bool:
    """Whether the rules can notify or highlight otherwise than the default ones, anywhere."""
    return individual_rooms(ruleset, user_id) != frozenset()


def individual_rooms(ruleset: Ruleset, user_id: str) -> frozenset[str] | None:
    """Rooms in which the rules may say otherwise than the default ones; None: in any.

    Other sounds do not count. A room that is muted or set to mentions counts for itself only.
    """
    before = _effects(default_ruleset(user_id))
    rooms: set[str] = set()
    for kind in KINDS:
        for rule in ruleset.get(kind, ()):
            if rule["rule_id"].startswith("."):
                if before.get((kind, rule["rule_id"])) != _effect(rule):
                    return EVERYWHERE
            elif rule.get("enabled", True):
                room = _confined_to(kind, rule)
                if room is None:
                    return EVERYWHERE
                rooms.add(room)
    return frozenset(rooms)


def _effects(ruleset: Ruleset) -> dict[tuple[str, str], tuple[bool, bool, bool]]:
    return {(k, rule["rule_id"]): _effect(rule) for k in KINDS for rule in ruleset[k]}


def _effect(rule: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    """Enabled, notify, highlight; a disabled rule has no other effect."""
    if not rule.get("enabled", True):
        return (False, False, False)
    actions = rule.get("actions", ())
    highlight = False
    for action in actions:
        if isinstance(action, Mapping) and action.get("set_tweak") == "highlight":
            highlight = action.get("value", True) is not False
    return (True, "notify" in actions, highlight)


def _confined_to(kind: str, rule: Mapping[str, Any]) -> str | None:
    """The one room that a rule is about."""
    if kind == "room":
        room: str = rule["rule_id"]
        return room
    for condition in rule.get("conditions") or ():
        pattern = condition.get("pattern")
        if condition.get("kind") != "event_match" or condition.get("key") != "room_id":
            continue
        if isinstance(pattern, str) and "*" not in pattern and "?" not in pattern:
            return pattern
    return None


# --- edits (CS #push-rules-api) ---------------------------------------------------------------


def parse_rule(kind: str, rule_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as a client puts it. Says `INVALID_PARAM`, `MISSING_PARAM` and the like."""
    check_kind(kind)
    _check_rule_id(rule_id)
    rule: dict[str, Any] = {"rule_id": rule_id, "default": False, "enabled": True}
    if kind in ("override", "underride"):
        rule["conditions"] = _parse_conditions(body.get("conditions", []))
    elif kind == "content":
        pattern = body.get("pattern")
        if pattern is None:
            raise Refused(Reason.MISSING_PARAM, "A content rule needs a pattern")
        rule["pattern"] = _pattern(pattern)
    rule["actions"] = parse_actions(body.get("actions"))
    if len(_encoded(rule)) > RULE_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A rule may have {RULE_BYTES_MAX} bytes")
    return rule


def parse_actions(actions: object) -> list[Any]:
    """A list of actions; `dont_notify` and `coalesce` of old are taken out (CS #actions)."""
    if actions is None:
        raise Refused(Reason.MISSING_PARAM, "A rule needs actions")
    if not isinstance(actions, list):
        raise Refused(Reason.BAD_JSON, "actions must be a list")
    if len(actions) > ACTIONS_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A rule may have {ACTIONS_MAX} actions")
    found = []
    for action in actions:
        if action in ("dont_notify", "coalesce"):
            continue
        tweak = isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
        if action != "notify" and not tweak:
            raise Refused(Reason.INVALID_PARAM, "Unknown action")
        found.append(action)
    if len(_encoded(found)) > RULE_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A rule may have {RULE_BYTES_MAX} bytes")
    return found


def check_kind(kind: str) -> None:
    """Says `INVALID_PARAM` for a kind of rule that there is not."""
    if kind not in KINDS:
        raise Refused(Reason.INVALID_PARAM, "Unknown kind of push rule")


def find_rule(ruleset: Ruleset, kind: str, rule_id: str) -> dict[str, Any]:
    """A rule of a ruleset. Says `NOT_FOUND`."""
    check_kind(kind)
    for rule in ruleset[kind]:
        if rule["rule_id"] == rule_id:
            return rule
    raise Refused(Reason.NOT_FOUND, "The push rule was not found")


def put_rule(
    ruleset: Ruleset,
    kind: str,
    rule: dict[str, Any],
    before: str | None = None,
    after: str | None = None,
) -> None:
    """Adds a rule or changes it: next above `before`, or next below `after`, or where it was, or
    first of its owner's. A changed rule stays enabled or disabled. Says `INVALID_PARAM`.
    """
    rules = ruleset[kind]
    old = next((r for r in rules if r["rule_id"] == rule["rule_id"]), None)
    if old is None and sum(len(ruleset[k]) for k in KINDS) >= RULES_MAX:
        raise Refused(Reason.OVER_QUOTA, f"There may be {RULES_MAX} push rules")
    if old is not None:
        rule = {**rule, "enabled": old.get("enabled", True)}
    anchor = after if before is None else before
    if anchor is None:
        if old is not None:
            rules[rules.index(old)] = rule
        else:
            rules.insert(_first_own(rules), rule)
        return
    at = _anchor(rules, anchor)
    if old is rules[at]:
        rules[at] = rule  # a rule cannot be beside itself: it stays
        return
    beside = rules[at]
    if old is not None:
        rules.remove(old)
    at = rules.index(beside)
    rules.insert(at if before is not None else at + 1, rule)


def delete_rule(ruleset: Ruleset, kind: str, rule_id: str) -> None:
    """Takes a rule away. Says `NOT_FOUND`; default rules are not for taking (`INVALID_PARAM`)."""
    rule = find_rule(ruleset, kind, rule_id)
    if rule_id.startswith("."):
        raise Refused(Reason.INVALID_PARAM, "Server-default rules cannot be deleted")
    ruleset[kind].remove(rule)


def _anchor(rules: list[dict[str, Any]], rule_id: str) -> int:
    if rule_id.startswith("."):
        raise Refused(Reason.INVALID_PARAM, "before/after must name a rule of one's own")
    for at, rule in enumerate(rules):
        if rule["rule_id"] == rule_id:
            return at
    raise Refused(Reason.INVALID_PARAM, "before/after rule not found")


def _check_rule_id(rule_id: str) -> None:
    if rule_id.startswith("."):
        raise Refused(Reason.INVALID_PARAM, "Rule ids that begin with a dot are the server's")
    if not rule_id or len(rule_id.encode(errors="replace")) > RULE_ID_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A rule id has 1 to {RULE_ID_MAX} bytes")
    if "/" in rule_id or "\\" in rule_id:
        raise Refused(Reason.INVALID_PARAM, "A rule id holds no slash or backslash")


def _pattern(pattern: object) -> str:
    if not isinstance(pattern, str):
        raise Refused(Reason.BAD_JSON, "pattern must be a string")
    if len(pattern) > PATTERN_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A pattern may have {PATTERN_MAX} characters")
    return pattern


def _parse_conditions(conditions: object) -> list[dict[str, Any]]:
    """Known kinds must be well-formed; unknown ones are kept, and never hold."""
    if not isinstance(conditions, list):
        raise Refused(Reason.BAD_JSON, "conditions must be a list")
    if len(conditions) > CONDITIONS_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A rule may have {CONDITIONS_MAX} conditions")
    for condition in conditions:
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise Refused(Reason.BAD_JSON, "A condition is an object with a kind")
        for name in _NEEDED.get(condition["kind"], ()):
            if name not in condition:
                raise Refused(Reason.MISSING_PARAM, f"{condition['kind']} needs {name}")
        for name in ("key", "pattern", "is"):
            if name in condition:
                _pattern(condition[name])
        if isinstance(condition.get("value"), (dict, list, float)):
            raise Refused(Reason.INVALID_PARAM, "value must be a string, integer, boolean or null")
    return conditions


_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "event_match": ("key", "pattern"),
    "event_property_is": ("key", "value"),
    "event_property_contains": ("key", "value"),
    "room_member_count": ("is",),
    "sender_notification_permission": ("key",),
}


def _encoded(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        raise Refused(Reason.BAD_JSON, "That is not JSON") from None
