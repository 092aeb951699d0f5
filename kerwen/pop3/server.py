"""The doors of POP3: 110 (`pop3`) and 995 (`pop3s`)."""

from __future__ import annotations

from functools import partial
from typing import Final

from kerwen.base import limits
from kerwen.net.line_door import LineDoor
from kerwen.pop3.session import Deeds, Session

IDLE_S: Final = 10 * 60  # RFC 1939 §3: ten minutes at least


def pop3_door(deeds: Deeds, *, plain: bool, slow_failures: bool) -> LineDoor:
    """`plain`: whether passwords are taken without TLS from this machine itself."""
    return LineDoor(
        partial(Session, deeds),
        plain=plain,
        slow_failures=slow_failures,
        connections_max=limits.POP3_CONNECTIONS_MAX,
        idle_s=IDLE_S,
    )
