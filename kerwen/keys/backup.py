"""Key backup: versions, and which of two copies of a session's key stays.

# CS #server-side-key-backups
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import as_object

_INDEX_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Version:
    """A backup of an account; `auth_data` is JSON."""

    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    count: int


@dataclass(frozen=True, slots=True)
class Rank:
    """What decides between two copies of a key."""

    is_verified: bool
    first_message_index: int
    forwarded_count: int


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session's key, sealed by the client; `body` is its JSON."""

    room_id: str
    session_id: str
    rank: Rank
    body: bytes


def replaces(new: Rank, old: Rank) -> bool:
    """Whether a new copy is better than the one we hold; of equals, the old one stays."""
    if new.is_verified != old.is_verified:
        return new.is_verified
    if new.first_message_index != old.first_message_index:
        return new.first_message_index < old.first_message_index
    return new.forwarded_count < old.forwarded_count


def session_key(room_id: str, session_id: str, value: object) -> SessionKey:
    """A key of an upload. Refuses (`BAD_JSON`) other shapes, (`KEY_TOO_LARGE`) huge ones."""
    key = as_object(value, "A backed up key")
    _check_name(room_id)
    _check_name(session_id)
    verified = key.get("is_verified")
    if not isinstance(verified, bool):
        raise Refused(Reason.BAD_JSON, "is_verified must be true or false")
    rank = Rank(verified, _number(key, "first_message_index"), _number(key, "forwarded_count"))
    as_object(key.get("session_data"), "session_data")
    canonical_json.check_lax(key, limits.KEYS_DEPTH_MAX)
    body = orjson.dumps(key)
    if len(body) > limits.BACKUP_KEY_MAX:
        raise Refused(Reason.KEY_TOO_LARGE, f"A key may have {limits.BACKUP_KEY_MAX} bytes")
    return SessionKey(room_id, session_id, rank, body)


def _number(key: dict[str, Any], name: str) -> int:
    value = key.get(name)
    if type(value) is not int or not 0 <= value < _INDEX_MAX:
        raise Refused(Reason.BAD_JSON, f"{name} must be a number")
    return value


def _check_name(name: str) -> None:
    if not 0 < len(name) <= limits.KEY_NAME_MAX or "\0" in name:
        raise Refused(Reason.INVALID_PARAM, "Room and session ids have 1 to 255 characters")


def room_sessions(room_id: str, value: object) -> list[SessionKey]:
    """The keys of one room's `{"sessions": {...}}`."""
    sessions = as_object(as_object(value, "A room's backup").get("sessions"), "sessions")
    return [session_key(room_id, session_id, key) for session_id, key in sessions.items()]


def all_sessions(value: object) -> list[SessionKey]:
    """The keys of `{"rooms": {...}}`."""
    rooms = as_object(as_object(value, "The backup").get("rooms"), "rooms")
    return [key for room_id, room in rooms.items() for key in room_sessions(room_id, room)]


def version_data(value: dict[str, Any]) -> tuple[str, bytes]:
    """Algorithm and `auth_data` (JSON) of a version's body. Both must be there."""
    algorithm = value.get("algorithm")
    if not isinstance(algorithm, str) or not algorithm or "\0" in algorithm:
        raise Refused(Reason.BAD_JSON, "algorithm must be a string")
    if len(algorithm) > limits.KEY_NAME_MAX:
        raise Refused(Reason.INVALID_PARAM, "The algorithm's name is too long")
    auth_data = as_object(value.get("auth_data"), "auth_data")
    canonical_json.check_lax(auth_data, limits.KEYS_DEPTH_MAX)
    body = orjson.dumps(auth_data)
    if len(body) > limits.BACKUP_AUTH_DATA_MAX:
        raise Refused(Reason.TOO_LARGE, "auth_data is too large")
    return algorithm, body


def version_number(text: str) -> int | None:
    """The number of a version's name; None if we never gave such a name."""
    if text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0"):
        return int(text)
    return None
