"""All connections of a door: how many, one sweep over their time, and how they end together."""

from __future__ import annotations

import asyncio
import enum
import ipaddress
import ssl
import time
from typing import Final, Generic, Protocol, TypeVar

SWEEP_S: Final = 10.0
FAILED_S: Final = 1.0  # how long a failed log-in waits for its answer


class End(enum.Enum):
    """Why a door ends a connection; the value is what a person may read."""

    FULL = "Too many connections"
    SILENT = "Nothing was said for too long"
    STOP = "The server stops"
    BROKEN = "Internal error"


class Connection(Protocol):
    """A connection, as its door knows it."""

    address: str

    def check_time(self, now: float) -> None:
        """Ends it if it is over its time."""

    def stop(self) -> None:
        """What runs may end, nothing new begins."""

    def cut(self) -> None:
        """Ends it at once."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """What every door has. `plain`: whether passwords are taken without TLS from this machine
    itself. `tasks`: commands at work; `now`: as of the last sweep, monotonic."""

    def __init__(self, *, plain: bool, slow_failures: bool, connections_max: int) -> None:
        self.connections: set[C] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.tls: ssl.SSLContext | None = None
        self.failed_s = FAILED_S if slow_failures else 0.0
        self.now = time.monotonic()
        self.stopping = False
        self._plain = plain
        self._most = connections_max
        self._sweep: asyncio.TimerHandle | None = None

    def take_tls(self, context: ssl.SSLContext | None) -> None:
        """What STARTTLS is served with."""
        self.tls = context

    def plain_allowed(self, address: str) -> bool:
        """Whether a password may come without TLS from there."""
        return self._plain and is_loopback(address)

    def admit(self, connection: C) -> End | None:
        """Takes a connection in, or says why not."""
        if self.stopping:
            return End.STOP
        if len(self.connections) >= self._most:
            return End.FULL
        self.connections.add(connection)
        if self._sweep is None:
            self._look()
        return None

    def dismiss(self, connection: C) -> None:
        """A connection is gone."""
        self.connections.discard(connection)

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
