"""A person's push ruleset: the default one, its edits, and whether it is anybody's own.

A ruleset is JSON as clients see it: `{"override": [rule, ...], "content": ..., "room": ...,
"sender": ..., "underride": ...}`, in order of importance. User's rules come before the
server's, but `.m.rule.master`, which is first of all.
"""

# CS #predefined-rules

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
