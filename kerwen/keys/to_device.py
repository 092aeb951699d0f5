"""Messages to devices: the shape of a request and of what is kept.

# CS #send-to-device-messaging
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused

ALL_DEVICES = "*"

Messages = dict[str, dict[str, bytes]]
"""Content, as JSON, by user id and device id (or `*`)."""

_MESSAGES = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one device; `n` orders those of one position."""

    device_no: int
    n: int
    body: bytes


def messages(raw: bytes) -> Messages:
    """The messages of a request's body. Refuses other shapes, too many targets, deep nesting.

    Contents are decoded and encoded again, so that no client can be sent what only some
    parsers take; equal ones only once.
    """
    try:
        body = _BODY.decode(raw or b"{}")
        shaped = _MESSAGES.decode(body.get("messages", b"null"))
    except msgspec.ValidationError as error:
        raise Refused(Reason.BAD_JSON, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(Reason.NOT_JSON, "The body is not JSON") from None
    if sum(map(len, shaped.values())) > limits.TO_DEVICE_TARGETS_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.TO_DEVICE_TARGETS_MAX} devices")
    known: dict[bytes, bytes] = {}
    found: Messages = {}
    for user_id, by_device in shaped.items():
        found[user_id] = of_user = {}
        for device_id, part in by_device.items():
            text = bytes(part)
            content = known.get(text)
            if content is None:
                content = known[text] = _content(text)
            of_user[device_id] = content
    return found


def _content(raw: bytes) -> bytes:
    """A message's content, checked. Finite numbers and text are the decoder's own care."""
    content = canonical_json.decode(raw)
    if not isinstance(content, dict):
        raise Refused(Reason.BAD_JSON, "A message must be an object")
    if raw.count(b"{") + raw.count(b"[") > limits.JSON_DEPTH_MAX:  # it may be too deep
        canonical_json.check_lax(content, limits.JSON_DEPTH_MAX)
    encoded = orjson.dumps(content)
    if len(encoded) > limits.TO_DEVICE_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A message may have {limits.TO_DEVICE_BYTES_MAX} bytes")
    return encoded


def event_end(sender: str, event_type: str) -> bytes:
    """What follows the content in an event: `event` = content between its begin and this."""
    return b',"sender":%b,"type":%b}' % (orjson.dumps(sender), orjson.dumps(event_type))


def event(content: bytes, end: bytes) -> bytes:
    """The event as the device will get it; `end` is of `event_end`."""
    return b'{"content":' + content + end


def txn_name(event_type: str, client_txn_id: str) -> str:
    """What a repeated request is known by. Refuses (`INVALID_PARAM`) endless names."""
    if len(event_type) > limits.EVENT_ID_FIELD_MAX or len(client_txn_id) > limits.KEY_NAME_MAX:
        raise Refused(Reason.INVALID_PARAM, "Event type and transaction id: 255 characters")
    return f"{event_type}\n{client_txn_id}"
