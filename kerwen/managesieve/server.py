"""The ManageSieve door (4190)."""

from __future__ import annotations

from typing import Any, Final

from kerwen.base import limits
from kerwen.managesieve.protocol import Item, Reader
from kerwen.managesieve.session import Deeds, Session
from kerwen.net.line_door import LineConnection, LineDoor

IDLE_S: Final = 31 * 60  # RFC 5804 §1.2: half an hour at least


def managesieve_door(deeds: Deeds, *, plain: bool, slow_failures: bool) -> LineDoor:
    """`plain`: whether passwords are taken without TLS from this machine itself."""

    def begin(line: LineConnection[Any]) -> tuple[Reader, Session]:
        reader = Reader()
        item_line: LineConnection[Item] = line
        return reader, Session(deeds, item_line, reader)

    return LineDoor(
        begin,
        plain=plain,
        slow_failures=slow_failures,
        connections_max=limits.MANAGESIEVE_CONNECTIONS_MAX,
        idle_s=IDLE_S,
    )
