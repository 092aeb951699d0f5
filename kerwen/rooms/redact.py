"""The redaction algorithm: what of an event survives, by room version."""

# CS #redactions, RV #redactions

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kerwen.rooms.versions import RoomVersion

_TOP_V11: Final = frozenset(
    {
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    }
)
_TOP_BEFORE_V11: Final = _TOP_V11 | {"prev_state", "origin", "membership"}

_POWER_KEYS: Final = (
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
)


def redact(event: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """A copy of a PDU with all that redaction takes away gone (`unsigned` too)."""
    top = _TOP_V11 if version.redaction_v11 else _TOP_BEFORE_V11
    kept = {key: value for key, value in event.items() if key in top}
    kept["content"] = redacted_content(event["type"], event["content"], version)
    return kept


def redacted_content(
    event_type: str, content: Mapping[str, Any], version: RoomVersion
) -> dict[str, Any]:
    """What redaction leaves of the content of an event of that type."""
    if event_type == "m.room.create" and version.redaction_v11:
        return dict(content)
    kept = {key: content[key] for key in _kept_keys(event_type, version) if key in content}
    if event_type == "m.room.member" and version.redaction_v11:
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            kept["third_party_invite"] = {k: v for k, v in invite.items() if k == "signed"}
    return kept


def _kept_keys(event_type: str, version: RoomVersion) -> tuple[str, ...]:
    match event_type:
        case "m.room.member":
            if version.redaction_keeps_join_authorised:
                return ("membership", "join_authorised_via_users_server")
            return ("membership",)
        case "m.room.create":
            return ("creator",)
        case "m.room.join_rules":
            if version.redaction_keeps_join_rule_allow:
                return ("join_rule", "allow")
            return ("join_rule",)
        case "m.room.power_levels":
            return (*_POWER_KEYS, "invite") if version.redaction_v11 else _POWER_KEYS
        case "m.room.history_visibility":
            return ("history_visibility",)
        case "m.room.aliases":
            return ("aliases",) if version.redaction_keeps_aliases else ()
        case "m.room.redaction":
            return ("redacts",) if version.redaction_v11 else ()
    return ()
