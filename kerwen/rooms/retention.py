"""How long a room's messages live: MSC1763's `m.room.retention`, and timers of chats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RETENTION: Final = "m.room.retention"  # MSC1763; state key ''
TIMER: Final = "com.beeper.disappearing_timer"  # what bridges and clients write; state key ''
TIMERS: Final = frozenset({RETENTION, TIMER})

LIFETIME_MIN_MS: Final = 10_000  # the worker looks at a room once in its lifetime
LIFETIME_MAX_MS: Final = 2**46  # more is as good as for ever


def lifetime(
    retention: Mapping[str, Any] | None, timer: Mapping[str, Any] | None, house_ms: int
) -> int:
    """For how long messages are kept, in ms; 0: for ever.

    The shortest of what the room's members agreed upon and of what the server keeps (`house_ms`,
    0: for ever). What cannot be understood, and timers that begin when somebody reads (a server
    cannot know that), count as none.
    """
    asked = [house_ms]
    if retention is not None:
        asked.append(_ms(retention.get("max_lifetime")))
    if timer is not None and timer.get("type") == "after_send":
        asked.append(_ms(timer.get("timer")))
    found = [ms for ms in asked if ms > 0]
    return max(min(found), LIFETIME_MIN_MS) if found else 0


def _ms(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < LIFETIME_MAX_MS:
        return 0
    return value


def expired(stamps: list[int], before_ms: int, now_ms: int) -> int:
    """How many events at the head of a list (their times, in the order in which they came) are
    older than a time.

    A time that lies ahead of us cannot be true: such an event goes with those around it.
    """
    count = 0
    for at, stamp in enumerate(stamps):
        if stamp < before_ms:
            count = at + 1
        elif stamp <= now_ms:
            break
    return count
