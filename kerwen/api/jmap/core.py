"""Core/echo, and what the core capability tells. # RFC 8620 §2, §4"""

from __future__ import annotations

from typing import Any

from kerwen.api.jmap.registry import CORE, Capability, Work
from kerwen.base import limits
from kerwen.mail.jmap import filters
from kerwen.mail.jmap.arguments import Arguments


async def echo(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Core/echo"""
    return arguments.raw


def capability() -> Capability:
    """The core."""
    return Capability(
        CORE,
        {"Core/echo": echo},
        session={
            "maxSizeUpload": limits.MESSAGE_BYTES_MAX,
            "maxConcurrentUpload": limits.JMAP_UPLOADS_AT_ONCE,
            "maxSizeRequest": limits.JMAP_REQUEST_MAX,
            "maxConcurrentRequests": limits.JMAP_REQUESTS_AT_ONCE,
            "maxCallsInRequest": limits.JMAP_CALLS_MAX,
            "maxObjectsInGet": limits.JMAP_OBJECTS_GET_MAX,
            "maxObjectsInSet": limits.JMAP_OBJECTS_SET_MAX,
            "collationAlgorithms": list(filters.COLLATIONS),
        },
        of_account=False,
    )
