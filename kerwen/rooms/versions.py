"""What the room versions differ in: one table, read by every rule of a room."""

# RV #feature-matrix

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from kerwen.base.errors import Reason, Refused


class StateResolution(enum.Enum):
    """Which algorithm makes one state of several."""

    V2 = "v2"
    V2_1 = "v2.1"  # starts from nothing and replays the conflicted subgraph


@dataclass(frozen=True, slots=True, eq=False)
class RoomVersion:
    """One room version. Each flag is named after what it switches on."""

    id: str
    state_resolution: StateResolution = StateResolution.V2
    # format
    url_safe_event_ids: bool = False  # v4
    strict_canonical_json: bool = False  # v6
    strict_byte_limits: bool = False  # v11: 255 counts bytes, not code points
    redacts_in_content: bool = False  # v11
    room_id_is_create_hash: bool = False  # v12: no room_id in the create event either
    # signatures
    strict_key_validity: bool = False  # v5
    # redaction
    redaction_keeps_aliases: bool = True  # until v5
    redaction_keeps_join_rule_allow: bool = False  # v8
    redaction_keeps_join_authorised: bool = False  # v9
    redaction_v11: bool = False  # v11: whole create content, invite level, redacts, …
    # authorization
    aliases_rule: bool = True  # until v5
    notification_levels: bool = False  # v6
    knock: bool = False  # v7
    restricted: bool = False  # v8
    knock_restricted: bool = False  # v10
    integer_power_levels: bool = False  # v10
    creator_is_sender: bool = False  # v11: no `creator` in the create event
    privileged_creators: bool = False  # v12: infinite power, `additional_creators`
    create_in_auth_events: bool = True  # until v11

    def __repr__(self) -> str:
        return f"RoomVersion({self.id})"


def _table() -> dict[str, RoomVersion]:
    v3 = RoomVersion("3")
    v4 = replace(v3, id="4", url_safe_event_ids=True)
    v5 = replace(v4, id="5", strict_key_validity=True)
    v6 = replace(
        v5,
        id="6",
        strict_canonical_json=True,
        redaction_keeps_aliases=False,
        aliases_rule=False,
        notification_levels=True,
    )
    v7 = replace(v6, id="7", knock=True)
    v8 = replace(v7, id="8", restricted=True, redaction_keeps_join_rule_allow=True)
    v9 = replace(v8, id="9", redaction_keeps_join_authorised=True)
    v10 = replace(v9, id="10", knock_restricted=True, integer_power_levels=True)
    v11 = replace(
        v10,
        id="11",
        strict_byte_limits=True,
        redacts_in_content=True,
        redaction_v11=True,
        creator_is_sender=True,
    )
    v12 = replace(
        v11,
        id="12",
        state_resolution=StateResolution.V2_1,
        room_id_is_create_hash=True,
        privileged_creators=True,
        create_in_auth_events=False,
    )
    return {v.id: v for v in (v3, v4, v5, v6, v7, v8, v9, v10, v11, v12)}


ROOM_VERSIONS: Final[Mapping[str, RoomVersion]] = MappingProxyType(_table())
DEFAULT_ROOM_VERSION: Final = "12"


def room_version(version_id: object) -> RoomVersion:
    """The room version of that name. Says `UNSUPPORTED_ROOM_VERSION`."""
    version = ROOM_VERSIONS.get(version_id) if isinstance(version_id, str) else None
    if version is None:
        raise Refused(Reason.UNSUPPORTED_ROOM_VERSION, "This server has no such room version")
    return version
