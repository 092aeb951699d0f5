"""What a directory says of rooms: name, topic and their like, read for many rooms at once."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import orjson

from kerwen.storage.database import Snap
from kerwen.storage.sql import sql

_HEADS = sql(
    "select room_no, room_id, version, joined, state_seq from rooms where room_no {in_ints:nos}"
)
_STATE = sql(
    "select s.room_no, s.type, e.client from room_state s join events e on e.event_no = s.event_no"
    " where s.room_no {in_ints:nos} and s.type in ('m.room.create', 'm.room.join_rules',"
    " 'm.room.name', 'm.room.topic', 'm.room.avatar', 'm.room.canonical_alias',"
    " 'm.room.guest_access', 'm.room.history_visibility', 'm.room.encryption')"
    " and s.state_key = '' and s.to_seq is null"
)


class Card(msgspec.Struct, gc=False):
    """One room. `allowed`: the rooms whose members may join it (restricted rooms)."""

    room_no: int
    room_id: str
    version: str
    joined: int
    state_seq: int
    name: str | None = None
    topic: str | None = None
    avatar_url: str | None = None
    canonical_alias: str | None = None
    join_rule: str = "invite"
    allowed: tuple[str, ...] = ()
    world_readable: bool = False
    guest_can_join: bool = False
    room_type: str | None = None
    encryption: str | None = None

    def chunk(self) -> dict[str, object]:
        """The room as the directory shows it (CS #published-room-directory)."""
        shown: dict[str, object] = {
            "room_id": self.room_id,
            "num_joined_members": self.joined,
            "world_readable": self.world_readable,
            "guest_can_join": self.guest_can_join,
            "join_rule": self.join_rule,
        }
        for key in ("name", "topic", "avatar_url", "canonical_alias", "room_type"):
            value = getattr(self, key)
            if value is not None:
                shown[key] = value
        return shown

    def summary(self) -> dict[str, object]:
        """The same with what else a room summary tells (CS #get-room-summary)."""
        shown = {**self.chunk(), "room_version": self.version}
        if self.encryption is not None:
            shown["encryption"] = self.encryption
        if self.allowed:
            shown["allowed_room_ids"] = list(self.allowed)
        return shown


async def cards(snap: Snap, room_nos: Iterable[int]) -> dict[int, Card]:
    """Cards by room number; rooms that do not exist are left out."""
    nos = list(room_nos)
    if not nos:
        return {}
    found = {row[0]: Card(*row) for row in await snap.all(_HEADS, nos=nos)}
    for room_no, event_type, client in await snap.all(_STATE, nos=nos):
        card = found.get(room_no)
        if card is not None:
            _fill(card, event_type, orjson.loads(client + b"}")["content"])
    return found


def _fill(card: Card, event_type: str, content: dict[str, object]) -> None:
    match event_type:
        case "m.room.name":
            card.name = _text(content.get("name"))
        case "m.room.topic":
            card.topic = _text(content.get("topic"))
        case "m.room.avatar":
            card.avatar_url = _text(content.get("url"))
        case "m.room.canonical_alias":
            card.canonical_alias = _text(content.get("alias"))
        case "m.room.join_rules":
            card.join_rule = _text(content.get("join_rule")) or "invite"
            card.allowed = _allowed(content) if "restricted" in card.join_rule else ()
        case "m.room.history_visibility":
            card.world_readable = content.get("history_visibility") == "world_readable"
        case "m.room.guest_access":
            card.guest_can_join = content.get("guest_access") == "can_join"
        case "m.room.create":
            card.room_type = _text(content.get("type"))
        case "m.room.encryption":
            card.encryption = _text(content.get("algorithm"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _allowed(content: dict[str, object]) -> tuple[str, ...]:
    allow = content.get("allow")
    found = []
    for entry in (allow if isinstance(allow, list) else ())[:100]:
        if isinstance(entry, dict) and entry.get("type") == "m.room_membership":
            room_id = entry.get("room_id")
            if isinstance(room_id, str):
                found.append(room_id)
    return tuple(found)
