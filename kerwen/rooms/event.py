"""The event: one PDU as this server holds it, parsed once and kept with its canonical bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from kerwen.base import canonical_json
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import EVENT_BYTES_MAX, EVENT_ID_FIELD_MAX
from kerwen.base.signing import encode_base64, encode_base64_url, signature_of, verify
from kerwen.rooms.redact import redact
from kerwen.rooms.versions import RoomVersion

StateKey = tuple[str, str]  # (type, state_key)

PREV_EVENTS_MAX: Final = 20  # SS #pdus
AUTH_EVENTS_MAX: Final = 10
DEPTH_MAX: Final = 2**53 - 1
DEPTH_MAX_BEFORE_V6: Final = 2**63 - 1

# SPEC appendices #server-name, #user-identifiers (historical), #room-ids
_SERVER = r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.\-]{1,255})(?::[0-9]{1,5})?"
_SERVER_NAME = re.compile(_SERVER)
_USER_ID = re.compile(rf"@[^:\0]*:{_SERVER}", re.DOTALL)
_ROOM_ID = re.compile(rf"![^:\0]*:{_SERVER}", re.DOTALL)
_ROOM_ID_V12 = re.compile(r"![A-Za-z0-9_\-]{43}")


class Event(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One event. `raw` is the whole PDU in canonical JSON, without `unsigned`.

    `content_json` is the part of `raw` that is the content, so that it can be handed on
    without being parsed; `content` parses it once, when somebody looks. Neither an event nor
    what it returns may be changed. Two events are equal when ID, bytes and verdict are.
    """

    event_id: str
    room_id: str
    type: str
    sender: str
    state_key: str | None
    origin_server_ts: int
    depth: int
    prev_events: tuple[str, ...]
    auth_events: tuple[str, ...]
    raw: bytes
    content_json: bytes
    version: RoomVersion
    rejected: bool = False
    _top_redacts: str | None = None
    _content: dict[str, Any] | None = None

    @property
    def content(self) -> dict[str, Any]:
        """The parsed content; look, do not write."""
        content = self._content
        if content is None:
            content = _dialect_decode(self.content_json, self.version)
            msgspec.structs.force_setattr(self, "_content", content)
        return content

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """(type, state_key) of a state event."""
        assert self.state_key is not None
        return (self.type, self.state_key)

    @property
    def server(self) -> str:
        """The server name of the sender."""
        return server_of(self.sender)

    @property
    def redacts(self) -> str | None:
        """The ID of the event that this one wants redacted."""
        if self.type != "m.room.redaction":
            return None
        if not self.version.redacts_in_content:
            return self._top_redacts
        redacts = self.content.get("redacts")
        return redacts if isinstance(redacts, str) else None

    @property
    def membership(self) -> str | None:
        """`content.membership` of a member event, if it is a string."""
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) else None

    def pdu(self) -> dict[str, Any]:
        """The whole PDU, parsed anew: the caller may change it."""
        pdu: dict[str, Any] = _dialect_decode(self.raw, self.version)
        return pdu

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.event_id, self.raw, self.rejected) == (
            other.event_id,
            other.raw,
            other.rejected,
        )

    def __hash__(self) -> int:
        return hash(self.event_id)


def server_of(identifier: str) -> str:
    """The server name in a user ID, room ID or alias; "" if it has none."""
    return identifier.partition(":")[2]


def is_server_name(text: object) -> bool:
    """Whether `text` follows the grammar of server names."""
    return isinstance(text, str) and _SERVER_NAME.fullmatch(text) is not None


def is_user_id(text: object) -> bool:
    """Whether servers must take `text` for a user ID: the historical, wider grammar."""
    return (
        isinstance(text, str)
        and _USER_ID.fullmatch(text) is not None
        and len(text.encode("utf-8", "replace")) <= EVENT_ID_FIELD_MAX
    )


# --- from bytes ---------------------------------------------------------------------------


def parse_pdu(source: bytes | Mapping[str, Any], version: RoomVersion) -> Event:
    """The event of a PDU from another server, or from a file.

    Checks the event format of the room version and the size limits; signatures and
    authorization are for others. If the content hash does not fit, the event comes back
    redacted, as the specification wants. Rooms before version 6 hash numbers as they were
    written: give their PDUs as bytes. Says `NOT_JSON`, `BAD_JSON` or `TOO_LARGE`.
    """
    # SS #checks-performed-on-receipt-of-a-pdu (1 and 3)
    pdu = _dialect_decode(source, version) if isinstance(source, bytes) else source
    if not isinstance(pdu, Mapping):
        raise Refused(Reason.BAD_JSON, "An event is a JSON object")
    pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    if version.strict_canonical_json:
        canonical_json.check(pdu)
    else:
        canonical_json.check_lax(pdu)
    _check_format(pdu, version)
    raw = dialect_encode(pdu, version)
    if len(raw) > EVENT_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"An event has at most {EVENT_BYTES_MAX} bytes")
    if pdu["hashes"]["sha256"].rstrip("=") != content_hash(pdu, version):
        pdu = redact(pdu, version)
        raw = dialect_encode(pdu, version)
    return _event_of(pdu, raw, version)


def redact_event(event: Event) -> Event:
    """The redacted form of an event. Its ID stays."""
    pdu = redact(event.pdu(), event.version)
    return _event_of(pdu, dialect_encode(pdu, event.version), event.version, event.rejected)


def _event_of(
    pdu: Mapping[str, Any], raw: bytes, version: RoomVersion, rejected: bool = False
) -> Event:
    event_id = event_id_of(pdu, version)
    redacts = pdu.get("redacts")
    return Event(
        event_id=event_id,
        room_id=pdu["room_id"] if "room_id" in pdu else "!" + event_id[1:],
        type=pdu["type"],
        sender=pdu["sender"],
        state_key=pdu.get("state_key"),
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu["depth"],
        prev_events=tuple(pdu["prev_events"]),
        auth_events=tuple(pdu["auth_events"]),
        raw=raw,
        content_json=dialect_encode(pdu["content"], version),
        version=version,
        rejected=rejected,
        _top_redacts=redacts if isinstance(redacts, str) else None,
    )


class _Stored(msgspec.Struct, gc=False):
    type: str
    sender: str
    content: msgspec.Raw
    origin_server_ts: int
    depth: int
    prev_events: tuple[str, ...]
    auth_events: tuple[str, ...]
    room_id: str | None = None
    state_key: str | None = None
    redacts: Any = None


_decode_stored = msgspec.json.Decoder(_Stored).decode


def stored_event(raw: bytes, event_id: str, version: RoomVersion, rejected: bool = False) -> Event:
    """The event of bytes that were `Event.raw` before: nothing is checked or hashed again.

    Costs about 2 µs; the content is not parsed.
    """
    pdu = _decode_stored(raw)
    return Event(
        event_id,
        pdu.room_id if pdu.room_id is not None else "!" + event_id[1:],
        pdu.type,
        pdu.sender,
        pdu.state_key,
        pdu.origin_server_ts,
        pdu.depth,
        pdu.prev_events,
        pdu.auth_events,
        raw,
        bytes(pdu.content),
        version,
        rejected,
        pdu.redacts if isinstance(pdu.redacts, str) else None,
    )


# --- hashes and signatures ----------------------------------------------------------------


def content_hash(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """The content hash of a PDU, in unpadded Base64."""
    # SS #calculating-the-content-hash-for-an-event
    covered = {k: v for k, v in pdu.items() if k not in ("hashes", "signatures", "unsigned")}
    return encode_base64(hashlib.sha256(dialect_encode(covered, version)).digest())


def signed_bytes(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """What a signature of a PDU covers, and its reference hash too."""
    covered = redact(pdu, version)
    covered.pop("signatures", None)
    return dialect_encode(covered, version)


def event_id_of(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """The event ID: `$` and the reference hash."""
    # SS #calculating-the-reference-hash-for-an-event, RV #event-ids
    return event_id_of_hash(hashlib.sha256(signed_bytes(pdu, version)).digest(), version)


def event_id_of_hash(digest: bytes, version: RoomVersion) -> str:
    """The event ID that a reference hash makes."""
    text = encode_base64_url(digest) if version.url_safe_event_ids else encode_base64(digest)
    return "$" + text


def verify_event(event: Event, server: str, key_id: str, public_key: bytes) -> None:
    """Refuse (`INVALID_SIGNATURE`) an event that `server` did not sign with that key."""
    # SS #validating-hashes-and-signatures-on-received-events
    pdu = event.pdu()
    signature = signature_of(pdu, server, key_id)
    if not verify(public_key, signed_bytes(pdu, event.version), signature):
        raise Refused(Reason.INVALID_SIGNATURE, f"The signature of {server} does not fit")


# --- to clients ---------------------------------------------------------------------------


def client_format(
    event: Event, unsigned: Mapping[str, Any] | None = None, *, room_id: bool = True
) -> bytes:
    """The event as clients get it, in JSON. `room_id=False` for answers that name the room.

    `unsigned` is for the caller to fill (`age`, `transaction_id`, `prev_content`, …). Costs
    about 1 µs: the content is spliced in, not parsed.
    """
    # CS #room-event-format
    shown: dict[str, Any] = {
        "content": orjson.Fragment(event.content_json),
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    if room_id:
        shown["room_id"] = event.room_id
    if event.type == "m.room.redaction" and event.redacts is not None:
        # RV11 #moving-the-redacts-property: old and new clients each find it where they look
        shown["redacts"] = event.redacts
        shown["content"] = {**event.content, "redacts": event.redacts}
    if unsigned:
        shown["unsigned"] = unsigned
    return orjson.dumps(shown)


def stripped_format(event: Event) -> bytes:
    """A state event as an invited user sees it, in JSON."""
    # CS #stripped-state
    return orjson.dumps(
        {
            "content": orjson.Fragment(event.content_json),
            "sender": event.sender,
            "state_key": event.state_key,
            "type": event.type,
        }
    )


# --- the event format ---------------------------------------------------------------------


def _check_format(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Refuse a PDU that the room version's event format does not allow."""
    # RV #event-format, CS #size-limits
    event_type = _text(pdu, "type", version)
    if not is_user_id(_text(pdu, "sender", version)):
        raise Refused(Reason.BAD_JSON, "`sender` is not a user ID")
    if "state_key" in pdu:
        _text(pdu, "state_key", version)
    _check_room_id(pdu, event_type, version)
    if type(pdu.get("content")) is not dict:
        raise Refused(Reason.BAD_JSON, "`content` must be an object")
    depth_max = DEPTH_MAX if version.strict_canonical_json else DEPTH_MAX_BEFORE_V6
    _integer(pdu, "depth", 0, depth_max)
    _integer(pdu, "origin_server_ts", -DEPTH_MAX_BEFORE_V6, DEPTH_MAX_BEFORE_V6)
    _event_ids(pdu, "prev_events", PREV_EVENTS_MAX)
    _event_ids(pdu, "auth_events", AUTH_EVENTS_MAX)
    hashes = pdu.get("hashes")
    if type(hashes) is not dict or not isinstance(hashes.get("sha256"), str):
        raise Refused(Reason.BAD_JSON, "`hashes` must have a `sha256`")
    _check_signatures(pdu.get("signatures"))
    if not version.redacts_in_content and not isinstance(pdu.get("redacts", ""), str):
        raise Refused(Reason.BAD_JSON, "`redacts` must be a string")


def _check_room_id(pdu: Mapping[str, Any], event_type: str, version: RoomVersion) -> None:
    if version.room_id_is_create_hash and event_type == "m.room.create":
        if "room_id" in pdu:
            raise Refused(Reason.BAD_JSON, "A create event must not have a `room_id`")
        return
    pattern = _ROOM_ID_V12 if version.room_id_is_create_hash else _ROOM_ID
    if not pattern.fullmatch(_text(pdu, "room_id", version)):
        raise Refused(Reason.BAD_JSON, "`room_id` is not a room ID")


def _check_signatures(signatures: object) -> None:
    if type(signatures) is not dict:
        raise Refused(Reason.BAD_JSON, "`signatures` must be an object")
    for by_server in signatures.values():
        if type(by_server) is not dict or not all(isinstance(s, str) for s in by_server.values()):
            raise Refused(Reason.BAD_JSON, "`signatures` must hold objects of strings")


def _text(pdu: Mapping[str, Any], name: str, version: RoomVersion) -> str:
    text = pdu.get(name)
    if not isinstance(text, str):
        raise Refused(Reason.BAD_JSON, f"`{name}` must be a string")
    # Rooms up to version 10 hold events that counted code points; dropping those would
    # split the rooms. What we send counts bytes everywhere (`build.py`).
    size = len(text.encode("utf-8", "replace")) if version.strict_byte_limits else len(text)
    if size > EVENT_ID_FIELD_MAX:
        raise Refused(Reason.TOO_LARGE, f"`{name}` is longer than {EVENT_ID_FIELD_MAX} bytes")
    if "\0" in text:
        # QUIRK: such names could be in a room, but no database column for text holds them.
        raise Refused(Reason.BAD_JSON, f"`{name}` must not hold U+0000")
    return text


def _integer(pdu: Mapping[str, Any], name: str, least: int, most: int) -> None:
    number = pdu.get(name)
    if type(number) is not int or not least <= number <= most:
        raise Refused(Reason.BAD_JSON, f"`{name}` must be an integer of at most {most}")


def _event_ids(pdu: Mapping[str, Any], name: str, count_max: int) -> None:
    ids = pdu.get(name)
    if type(ids) is not list or not all(type(i) is str for i in ids):
        raise Refused(Reason.BAD_JSON, f"`{name}` must be a list of event IDs")
    if len(ids) > count_max:
        raise Refused(Reason.BAD_JSON, f"`{name}` has more than {count_max} entries")
    if any(len(i) > EVENT_ID_FIELD_MAX or not i.startswith("$") for i in ids):
        raise Refused(Reason.BAD_JSON, f"`{name}` must be a list of event IDs")


# --- the two dialects of JSON -------------------------------------------------------------


def dialect_encode(value: object, version: RoomVersion) -> bytes:
    """The canonical bytes of a value in rooms of that version."""
    if version.strict_canonical_json:
        return canonical_json.encode(value)
    return canonical_json.encode_lax(value)


def _dialect_decode(raw: bytes, version: RoomVersion) -> Any:
    if version.strict_canonical_json:
        return canonical_json.decode(raw)
    return canonical_json.decode_lax(raw)
