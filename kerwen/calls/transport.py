"""Where clients find group calls (MSC4143): needed also where nobody has called yet."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "/_kerwen/calls"


def transport(base_url: str) -> dict[str, str]:
    """Our LiveKit service, as clients are told of it."""
    return {"type": "livekit", "livekit_service_url": base_url + PREFIX}
