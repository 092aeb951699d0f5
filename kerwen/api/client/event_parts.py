"""What requests about events have in common: who speaks, types, transaction ids, contents."""

from __future__ import annotations

from typing import Any

from kerwen.api.http import Request
from kerwen.base import canonical_json
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who

_TXN_MAX = 255


def speaker(request: Request) -> tuple[str, int, int]:
    """(user id, user number, device number) of who says something."""
    caller = request.caller
    return caller.user_id, caller.account_no, caller.device_no


def reader(request: Request) -> Who:
    """Who looks at something."""
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)


def content_of(raw: bytes) -> dict[str, Any]:
    """A body as an event's content: strict JSON, since it will be signed."""
    found = canonical_json.decode(raw or b"{}")
    if not isinstance(found, dict):
        raise Refused(Reason.BAD_JSON, "The body must be a JSON object")
    return found


def event_type(text: str) -> str:
    """A part of a path as an event's type."""
    if not text or len(text.encode("utf-8", "replace")) > 255:
        raise Refused(Reason.INVALID_PARAM, "That is no event type")
    return text


def txn_id(text: str) -> str:
    """A part of a path as a transaction id."""
    if not text or len(text) > _TXN_MAX:
        raise Refused(Reason.INVALID_PARAM, "A transaction id has 1 to 255 characters")
    return text
