"""The ManageSieve door (4190)."""

from __future__ import annotations

from functools import partial
from typing import Final

from kerwen.base import limits
from kerwen.managesieve.session import Deeds, Session
from kerwen.net.line_door import LineDoor

IDLE_S: Final = 31 * 60  # RFC 5804 §1.2: half an hour at least


def managesieve_door(deeds: Deeds, *, plain: bool, slow_failures: bool) -> LineDoor:
    """`plain`: whether passwords are taken without TLS from this machine itself."""
    return LineDoor(
        partial(Session, deeds),
        plain=plain,
        slow_failures=slow_failures,
        connections_max=limits.MANAGESIEVE_CONNECTIONS_MAX,
        idle_s=IDLE_S,
    )
