"""Messages to devices: the shape of a request and of what is kept.

# CS #send-to-device-messaging
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from kerwen.base import canonical_json, limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.device_keys import as_object

ALL_DEVICES = "*"

Messages = dict[str, dict[str, dict[str, Any]]]
"""Content by user id and device id (or `*`)."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one device; `n` orders those of one position."""

    device_no: int
    n: int
    body: bytes


def messages(body: dict[str, Any]) -> Messages:
    """The messages of a request. Refuses other shapes, too many targets, deep nesting."""
    found: Messages = as_object(body.get("messages"), "messages")
    targets = 0
    for by_device in found.values():
        targets += len(as_object(by_device, "A user's messages"))
        for content in by_device.values():
            as_object(content, "A message")
    if targets > limits.TO_DEVICE_TARGETS_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.TO_DEVICE_TARGETS_MAX} devices")
    canonical_json.check_lax(found, limits.JSON_DEPTH_MAX)
    return found


def event(sender: str, event_type: str, content: dict[str, Any]) -> bytes:
    """The event as the device will get it. Refuses (`TOO_LARGE`) what no event may be."""
    body = orjson.dumps({"content": content, "sender": sender, "type": event_type})
    if len(body) > limits.TO_DEVICE_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"A message may have {limits.TO_DEVICE_BYTES_MAX} bytes")
    return body


def txn_name(event_type: str, client_txn_id: str) -> str:
    """What a repeated request is known by. Refuses (`INVALID_PARAM`) endless names."""
    if len(event_type) > limits.EVENT_ID_FIELD_MAX or len(client_txn_id) > limits.KEY_NAME_MAX:
        raise Refused(Reason.INVALID_PARAM, "Event type and transaction id: 255 characters")
    return f"{event_type}\n{client_txn_id}"
