"""Time as an argument: code asks a clock, so tests can set it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the wall time in milliseconds since 1970."""


def now_ms() -> int:
    """The wall time in milliseconds."""
    return time.time_ns() // 1_000_000
