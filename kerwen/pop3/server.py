"""The doors of POP3: 110 (`pop3`) and 995 (`pop3s`)."""

from __future__ import annotations

from typing import Any, Final

from kerwen.base import limits
from kerwen.net.line_door import LineConnection, LineDoor
from kerwen.pop3.protocol import Item, Reader
from kerwen.pop3.session import Deeds, Session

IDLE_S: Final = 10 * 60  # RFC 1939 §3: ten minutes at least


def pop3_door(deeds: Deeds, *, plain: bool, slow_failures: bool) -> LineDoor:
    """`plain`: whether passwords are taken without TLS from this machine itself."""

    def begin(line: LineConnection[Any]) -> tuple[Reader, Session]:
        reader = Reader()
        item_line: LineConnection[Item] = line
        return reader, Session(deeds, item_line, reader)

    return LineDoor(
        begin,
        plain=plain,
        slow_failures=slow_failures,
        connections_max=limits.POP3_CONNECTIONS_MAX,
        idle_s=IDLE_S,
    )
