"""What a push gateway is told of an event: which one, in which room, how many are unread.

Never a word of it, nor who said it, whatever format the pusher asks for: gateways are other
people's machines. The client fetches the event by its id, and decrypts it.
"""

# PG #push-notifications (Matrix push gateway API v1)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

TWEAKS_BYTES_MAX: Final = 1_024
TWEAKS_MAX: Final = 16
RETRY_MS: Final = 1_000  # after the first failure; twice as long after each other one
RETRY_MAX_MS: Final = 3_600_000
REJECTED_MAX: Final = 100


def tweaks_of(actions: Sequence[Any]) -> dict[str, Any]:
    """The tweaks of a rule's actions (CS #actions); long or nested values stay here."""
    found: dict[str, Any] = {}
    for action in actions:
        if not isinstance(action, Mapping):
            continue
        name = action.get("set_tweak")
        value = action.get("value", True if name == "highlight" else None)
        if isinstance(name, str) and isinstance(value, str | int) and len(found) < TWEAKS_MAX:
            found[name] = value
    return found if len(orjson.dumps(found)) <= TWEAKS_BYTES_MAX else {}


def device_of(
    app_id: str, pushkey: str, set_ms: int, data: Mapping[str, Any], tweaks: Mapping[str, Any]
) -> dict[str, Any]:
    """A pusher as a gateway is shown it: its data without the URL."""
    shown: dict[str, Any] = {
        "app_id": app_id,
        "pushkey": pushkey,
        "pushkey_ts": set_ms // 1000,
        "data": {name: value for name, value in data.items() if name != "url"},
    }
    if tweaks:
        shown["tweaks"] = dict(tweaks)
    return shown


def of_event(event_id: str, room_id: str, unread: int, device: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a push about an event; a count of zero is left out."""
    tweaks = device.get("tweaks", {})
    loud = bool(tweaks.get("highlight")) or "sound" in tweaks
    return {
        "notification": {
            "event_id": event_id,
            "room_id": room_id,
            "prio": "high" if loud else "low",
            "counts": {"unread": unread} if unread else {},
            "devices": [device],
        }
    }


def of_badge(unread: int, device: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a push that only says how many are unread.

    QUIRK: zero is said here. The specification would leave it out, but then no gateway could
    tell a phone that everything was read.
    """
    return {
        "notification": {"prio": "low", "counts": {"unread": unread}, "devices": [device]},
    }


def rejected_of(answer: bytes) -> frozenset[str]:
    """The pushkeys that a gateway says are no longer good; none where it says nonsense."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return frozenset()
    rejected = found.get("rejected") if isinstance(found, dict) else None
    if not isinstance(rejected, list):
        return frozenset()
    return frozenset(key for key in rejected[:REJECTED_MAX] if isinstance(key, str))


def wait_ms(failures: int, asked_ms: int = 0) -> int:
    """How long to wait after so many failures in a row; `asked_ms` is what the gateway asked."""
    waited = RETRY_MS << min(failures - 1, 24) if failures else 0
    return min(max(waited, asked_ms), RETRY_MAX_MS)


def retry_after_ms(value: str | None) -> int:
    """The seconds of a `Retry-After`; dates are not looked at."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 9:
        return 0
    return int(value) * 1000


def for_phone(body: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, Any] | None:
    """What our own gateway hands on of a push, ours or another server's; None if it is none.

    Another server may have written out the event: that stays out of our database.
    """
    told = body.get("notification")
    if not isinstance(told, Mapping):
        return None
    kept = {name: told[name] for name in ("event_id", "room_id") if _is_id(told.get(name))}
    counts = told.get("counts")
    kept["counts"] = {
        name: value
        for name, value in (counts.items() if isinstance(counts, Mapping) else ())
        if name in ("unread", "missed_calls") and type(value) is int
    }
    if told.get("prio") in ("high", "low"):
        kept["prio"] = told["prio"]
    data = device.get("data")
    tweaks = device.get("tweaks")
    shown = {name: device[name] for name in ("app_id", "pushkey") if name in device}
    if isinstance(data, Mapping):
        shown["data"] = data
    if isinstance(tweaks, Mapping):
        shown["tweaks"] = tweaks
    kept["devices"] = [shown]
    return {"notification": kept}


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 255
