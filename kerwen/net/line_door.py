"""Doors at which one command follows another.

A protocol (without I/O) makes commands of bytes, a session does them, one at a time; while one is
done nothing is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from kerwen.net.connections import Connections, End
from kerwen.net.door_connection import EARLY_S, DoorConnection

ENTRY_S: Final = 5 * 60  # until log-in, however busy a client is

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Reader(Protocol[Item_co]):
    """The protocol of a door, without I/O."""

    def feed(self, data: bytes) -> None:
        """More bytes; those that cannot be kept are counted against the next command."""

    def take(self) -> Item_co | None:
        """The next command; None: more bytes are needed."""

    def forget(self) -> None:
        """What came and was not taken counts for nothing (STARTTLS)."""


class Session(Protocol[Item]):
    """What the commands of a connection mean. `reader` is fed with what comes."""

    @property
    def reader(self) -> Reader[Item]:
        """What makes the commands."""

    def greeting(self) -> bytes:
        """The first that is said."""

    async def do(self, item: Item) -> None:
        """Does a command and says the answer. Raises `ConnectionError` only."""

    def goodbye(self, why: str) -> bytes:
        """The last that is said by a server that ends it."""

    @property
    def is_in(self) -> bool:
        """Whether somebody is logged in."""

    def close(self) -> None:
        """The connection is gone."""


Begin = Callable[["LineConnection[Any]"], Session[Any]]


class LineDoor(Connections["LineConnection[Any]"]):
    """One door. `begin` makes the session of a connection; `plain`: whether passwords are taken
    without TLS from this machine itself; `idle_s`: for whom is logged in."""

    def __init__(
        self,
        begin: Begin,
        *,
        plain: bool,
        slow_failures: bool,
        connections_max: int,
        idle_s: float,
    ) -> None:
        super().__init__(plain=plain, slow_failures=slow_failures, connections_max=connections_max)
        self.begin = begin
        self.idle_s = idle_s

    def clear(self) -> LineConnection[Any]:
        """A protocol for a new connection without TLS."""
        return LineConnection(self, secure=False)

    def secure(self) -> LineConnection[Any]:
        """A protocol for a new connection under TLS."""
        return LineConnection(self, secure=True)


class LineConnection(DoorConnection[LineDoor], Generic[Item]):
    """One connection of such a door."""

    __slots__ = ("_reader", "_session", "_until")

    def __init__(self, door: LineDoor, *, secure: bool) -> None:
        super().__init__(door, secure=secure)
        self._until = 0.0
        self._session: Session[Item] = door.begin(self)
        self._reader = self._session.reader

    def _begin(self) -> None:
        self._until = self._door.now + ENTRY_S
        self._wait()
        self.say(self._session.greeting())

    def _forget(self) -> None:
        self._reader.forget()

    def _goodbye(self, why: End) -> bytes:
        return self._session.goodbye(why.value)

    def _end(self) -> None:
        self._session.close()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._reader.feed(data)
        if self._task is not None:
            self._pause()
            return
        self._wait()
        self._work(self._go_on)

    async def _go_on(self) -> None:
        while not self._closing:
            item = self._reader.take()
            if item is None:
                break
            self.deadline = 0.0
            await self._session.do(item)
            await self.flush()
            await asyncio.sleep(0)  # others have their turn

    def _rest(self) -> None:
        self._wait()
        self._read_on()

    def _wait(self) -> None:
        """Something is to come within some time."""
        if self._session.is_in:
            self.deadline = self._door.now + self._door.idle_s
        else:
            self.deadline = min(self._door.now + EARLY_S, self._until)
