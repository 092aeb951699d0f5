"""Building a new event of this server: hashed, signed and named in one pass over its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from orjson import dumps

from kerwen.base import canonical_json
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import EVENT_BYTES_MAX, EVENT_ID_FIELD_MAX
from kerwen.base.signing import SigningKey, encode_base64
from kerwen.rooms.event import (
    AUTH_EVENTS_MAX,
    DEPTH_MAX,
    PREV_EVENTS_MAX,
    Event,
    content_hash,
    dialect_encode,
    event_id_of_hash,
    parse_pdu,
    signed_bytes,
)
from kerwen.rooms.redact import redacted_content
from kerwen.rooms.versions import RoomVersion


def build_event(
    version: RoomVersion,
    *,
    room_id: str | None,
    sender: str,
    type: str,
    content: dict[str, Any],
    prev_events: Sequence[str],
    auth_events: Sequence[str],
    depth: int,
    origin_server_ts: int,
    key: SigningKey,
    server_name: str,
    state_key: str | None = None,
    redacts: str | None = None,
) -> Event:
    """A new signed event, made here. `content` becomes the event's own: do not change it.

    `room_id` is None for the create event of rooms whose ID is that event's hash, and only
    there. `redacts` goes where the room version wants it. `depth` is cut at its limit. Our own
    events are strict canonical JSON in every room version. Says `BAD_JSON` or `TOO_LARGE`.
    """
    # SS #adding-hashes-and-signatures-to-outgoing-events. The keys of a PDU have one order in
    # canonical JSON, so its three forms (to hash, to sign, whole) are cut from the same pieces.
    assert len(prev_events) <= PREV_EVENTS_MAX
    assert len(auth_events) <= AUTH_EVENTS_MAX
    _check_sizes(sender, type, state_key)
    if redacts is not None and version.redacts_in_content:
        content = {**content, "redacts": redacts}
    canonical_json.check(content)
    content_json = canonical_json.encode(content)
    kept_json = _kept_json(type, content, content_json, version)

    head = b'{"auth_events":%b,"content":' % dumps(list(auth_events))
    depth = min(depth, DEPTH_MAX)
    middle = b',"depth":%d' % depth
    prev = dumps(list(prev_events))
    origin = b',"origin_server_ts":%d,"prev_events":%b' % (origin_server_ts, prev)
    top_redacts = b""
    if redacts is not None and not version.redacts_in_content:
        top_redacts = b',"redacts":%b' % dumps(redacts)
    who, tail = _who_and_what(room_id, sender, type, state_key)

    hashed = b"".join((head, content_json, middle, origin, top_redacts, who, tail))
    digest = encode_base64(hashlib.sha256(hashed).digest()).encode()
    middle = b'%b,"hashes":{"sha256":"%b"}' % (middle, digest)
    signed = b"".join((head, kept_json, middle, origin, who, tail))
    signature = b'{"%b":"%b"}' % (key.key_id.encode(), key.sign(signed).encode())
    signatures = b',"signatures":{%b:%b}' % (dumps(server_name), signature)
    raw = b"".join((head, content_json, middle, origin, top_redacts, who, signatures, tail))
    if len(raw) > EVENT_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"An event has at most {EVENT_BYTES_MAX} bytes")

    event_id = event_id_of_hash(hashlib.sha256(signed).digest(), version)
    return Event(
        event_id,
        room_id if room_id is not None else "!" + event_id[1:],
        type,
        sender,
        state_key,
        origin_server_ts,
        depth,
        tuple(prev_events),
        tuple(auth_events),
        raw,
        content_json,
        version,
        False,
        redacts if top_redacts else None,
        content,
    )


def sign_template(
    template: Mapping[str, Any], version: RoomVersion, key: SigningKey, server_name: str
) -> Event:
    """The signed event of a PDU without hashes, as `make_join` and its like hand out.

    The template is another server's word: the caller has put its own room, sender, type and
    content into it. Says what `parse_pdu` says.
    """
    skip = ("hashes", "signatures", "unsigned", "event_id")
    pdu = {k: v for k, v in template.items() if k not in skip}
    if not isinstance(pdu.get("content"), dict) or not isinstance(pdu.get("type"), str):
        raise Refused(Reason.BAD_JSON, "An event has a type and a content")
    pdu["hashes"] = {"sha256": content_hash(pdu, version)}
    signature = key.sign(signed_bytes(pdu, version))
    pdu["signatures"] = {server_name: {key.key_id: signature}}
    return parse_pdu(pdu, version)


def add_signature(event: Event, key: SigningKey, server_name: str) -> Event:
    """The same event with one more signature: for invites, and for joins that we allowed."""
    pdu = event.pdu()
    signature = key.sign(signed_bytes(pdu, event.version))
    return put_signature(event, server_name, key.key_id, signature)


def put_signature(event: Event, server_name: str, key_id: str, signature: str) -> Event:
    """The same event with another's signature put in, for instance a policy server's."""
    pdu = event.pdu()
    pdu["signatures"].setdefault(server_name, {})[key_id] = signature
    raw = dialect_encode(pdu, event.version)
    if len(raw) > EVENT_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"An event has at most {EVENT_BYTES_MAX} bytes")
    return Event(
        event.event_id,
        event.room_id,
        event.type,
        event.sender,
        event.state_key,
        event.origin_server_ts,
        event.depth,
        event.prev_events,
        event.auth_events,
        raw,
        event.content_json,
        event.version,
        event.rejected,
        event._top_redacts,
        event._content,
    )


def _who_and_what(
    room_id: str | None, sender: str, event_type: str, state_key: str | None
) -> tuple[bytes, bytes]:
    room = b"" if room_id is None else b',"room_id":%b' % dumps(room_id)
    who = b'%b,"sender":%b' % (room, canonical_json.encode(sender))
    tail = b',"type":%b}' % canonical_json.encode(event_type)
    if state_key is not None:
        tail = b',"state_key":%b%b' % (canonical_json.encode(state_key), tail)
    return who, tail


def _kept_json(
    event_type: str, content: dict[str, Any], content_json: bytes, version: RoomVersion
) -> bytes:
    kept = redacted_content(event_type, content, version)
    if not kept:
        return b"{}"
    return content_json if kept == content else canonical_json.encode(kept)


def _check_sizes(sender: str, event_type: str, state_key: str | None) -> None:
    # CS #size-limits: bytes, in every room version, for what we send
    for name, text in (("sender", sender), ("type", event_type), ("state_key", state_key or "")):
        if len(text) > EVENT_ID_FIELD_MAX // 4 and _bytes_of(text) > EVENT_ID_FIELD_MAX:
            raise Refused(Reason.TOO_LARGE, f"`{name}` is longer than {EVENT_ID_FIELD_MAX} bytes")
        if "\0" in text:
            raise Refused(Reason.INVALID_PARAM, f"`{name}` must not hold U+0000")


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
