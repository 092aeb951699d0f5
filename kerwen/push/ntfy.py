"""The stream by which a phone is waked: the part of ntfy's protocol that UnifiedPush needs.

Each line is a JSON object: `open` at the beginning, `message` for a wake-up, `keepalive` in
between. An id is the place on the feed, so a phone that comes back says from where to go on.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import orjson

from kerwen.base.errors import Reason, Refused

MESSAGE_MAX: Final = 4_096  # bytes (UnifiedPush, RFC 8030)
TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{14,64}", re.ASCII)
TOPICS_MAX: Final = 50  # of one account, of one stream
KEPT_MS: Final = 12 * 3_600_000
_ID: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})", re.ASCII)
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Place = tuple[int, int]
"""(position, order within it) of a message."""
NOW: Final[Place] = (-1, 0)


def message_id(place: Place) -> str:
    """A message's id."""
    return f"{place[0]}.{place[1]}"


def line(event: str, topic: str, now_ms: int, number: str) -> bytes:
    """An `open` or `keepalive` line."""
    told = {"id": number, "time": now_ms // 1000, "event": event, "topic": topic}
    return orjson.dumps(told) + b"\n"


def message(topic: str, place: Place, at_ms: int, body: bytes) -> dict[str, Any]:
    """A message as a subscriber gets it; bytes that are no text go in Base64."""
    told: dict[str, Any] = {
        "id": message_id(place),
        "time": at_ms // 1000,
        "expires": (at_ms + KEPT_MS) // 1000,
        "event": "message",
        "topic": topic,
    }
    try:
        told["message"] = body.decode()
    except UnicodeDecodeError:
        told["message"] = base64.b64encode(body).decode()
        told["encoding"] = "base64"
    return told


def since(text: str | None, now_ms: int, *, poll: bool) -> tuple[Place, int]:
    """(place, time) after which messages are wanted. Without a word: all for a poll, else none.

    An id, a time in seconds, an age (`10m`), `all`, `none` or `latest`. `NOW` is the place where
    the feed stands when the stream begins.
    """
    if text is None:
        text = "all" if poll else "none"
    if text == "all":
        return (0, 0), 0
    if text in ("none", "latest"):
        return NOW, 0
    if (found := _ID.fullmatch(text)) is not None:
        return (int(found[1]), int(found[2])), 0
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return (0, 0), int(text) * 1000
    unit = _UNITS.get(text[-1:])
    if unit is not None and text[:-1].isascii() and text[:-1].isdigit() and len(text) <= 7:
        return (0, 0), now_ms - int(text[:-1]) * unit
    raise Refused(Reason.INVALID_PARAM, "since is an id, a time, an age, all or none")


def topics_of(text: str) -> list[str]:
    """The topics of a path, divided by commas. Says `INVALID_PARAM`."""
    found = list(dict.fromkeys(text.split(",")))
    if len(found) > TOPICS_MAX:
        raise Refused(Reason.INVALID_PARAM, f"At most {TOPICS_MAX} topics")
    for topic in found:
        if not TOPIC.fullmatch(topic):
            raise Refused(Reason.INVALID_PARAM, "A topic has 14 to 64 letters, digits, - or _")
    return found
