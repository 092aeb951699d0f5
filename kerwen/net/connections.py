"""All connections of a door: one sweep looks at their time, and they end together."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from typing import Final, Generic, Protocol, TypeVar

SWEEP_S: Final = 10.0


class Connection(Protocol):
    """A connection, as its door knows it."""

    def check_time(self, now: float) -> None:
        """Ends it if it is over its time."""

    def stop(self) -> None:
        """What runs may end, nothing new begins."""

    def cut(self) -> None:
        """Ends it at once."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """What every door has. `tasks`: commands at work; `now`: as of the last sweep, monotonic."""

    def __init__(self) -> None:
        self.connections: set[C] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.now = time.monotonic()
        self.stopping = False
        self._sweep: asyncio.TimerHandle | None = None

    def enter(self, connection: C) -> None:
        """A connection is there."""
        self.connections.add(connection)
        if self._sweep is None:
            self._look()

    def _look(self) -> None:
        self.now = time.monotonic()
        for connection in tuple(self.connections):
            connection.check_time(self.now)
        if not self.stopping:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._look)

    async def stop(self, patience_s: float) -> None:
        """Lets running commands end for `patience_s`, then cuts what is left."""
        self.stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self.connections):
            connection.stop()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience_s)
        for connection in tuple(self.connections):
            connection.cut()
        for task in tuple(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=1)


def is_loopback(address: str) -> bool:
    """Whether a peer is this machine itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
