"""Messages to devices: the shape of a request and of what is kept.

# CS #send-to-device-messaging
"""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import as_object

ALL_DEVICES = "*"

Messages = dict[str, dict[str, bytes]]
"""Content, as JSON, by user id and device id (or `*`)."""


def messages(body: dict[str, Any]) -> Messages:
    """The messages of a request. Refuses other shapes, too many targets, deep nesting.

    Contents were decoded and are encoded again, so that no client can be sent what only some
    parsers take.
    """
    shaped = as_object(body.get("messages"), "messages")
    found: Messages = {}
    targets = 0
    for user_id, by_device in shaped.items():
        targets += len(as_object(by_device, "A user's messages"))
        if targets > limits.TO_DEVICE_TARGETS_MAX:
            raise Refused(Reason.TOO_LARGE, f"At most {limits.TO_DEVICE_TARGETS_MAX} devices")
        contents = found[user_id] = {}
        for device_id, content in by_device.items():
            contents[device_id] = _encoded(content)
    return found


def _encoded(content: object) -> bytes:
    """A message's content, checked; that numbers are finite is the decoder's own care."""
    if type(content) is not dict:
        raise Refused(Reason.BAD_JSON, "A message must be an object")
    text = orjson.dumps(content)
    if len(text) > limits.TO_DEVICE_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A message may have {limits.TO_DEVICE_BYTES_MAX} bytes")
    if text.count(b"{") + text.count(b"[") > limits.JSON_DEPTH_MAX:  # it may be too deep
        canonical_json.check_lax(content, limits.JSON_DEPTH_MAX)
    return text


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
