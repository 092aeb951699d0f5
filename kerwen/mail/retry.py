"""When a message that could not be handed on is tried again, and when its sender hears of it."""

# RFC 5321 §4.5.4.1

from __future__ import annotations

from typing import Final

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE

LIFE_MS: Final = 5 * 24 * _HOUR
"""How long a message is tried before it is returned."""

DELAYED_AFTER_MS: Final = 4 * _HOUR
"""When its sender is told, once, that it is still under way."""

# greylisting asks for a minute to five; a reboot takes ten; then ever more patience
_WAITS: Final = (1, 3, 6, 10, 15, 25, 40, 60, 90, 120, 180, 240)
_SPREAD: Final = 0.2


def wait_ms(attempts: int, chance: float) -> int:
    """How long to wait after so many failed attempts (at least one).

    `chance`, from 0 to 1, spreads what failed together by a fifth to either side.
    """
    minutes = _WAITS[min(max(attempts, 1), len(_WAITS)) - 1]
    return int(minutes * _MINUTE * (1 - _SPREAD + 2 * _SPREAD * chance))


def next_attempt_ms(queued_ms: int, now_ms: int, attempts: int, chance: float) -> int | None:
    """When to try again; None when its time is over and it has to be returned.

    The last attempt is made at the very end of its life.
    """
    end = queued_ms + LIFE_MS
    if now_ms >= end:
        return None
    return min(now_ms + wait_ms(attempts, chance), end)


def delayed_report_ms(queued_ms: int, now_ms: int) -> int | None:
    """When the report of delay is due; None when that moment has passed."""
    due = queued_ms + DELAYED_AFTER_MS
    return due if due >= now_ms else None
