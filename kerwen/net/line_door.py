"""Doors at which one command follows another: connections, TLS, back-pressure, time.

A protocol (without I/O) makes commands of bytes, a session does them, one at a time; while one is
done nothing is read. An idle connection has neither a task nor a timer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from kerwen.net.connections import Connections, is_loopback

log = logging.getLogger(__name__)

EARLY_S: Final = 60  # before log-in
ENTRY_S: Final = 5 * 60  # until log-in, however busy a client is
STALL_S: Final = 5 * 60  # the client takes nothing
HANDSHAKE_S: Final = 30
FAILED_S: Final = 1.0  # how long a failed log-in waits for its answer

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)
Item_contra = TypeVar("Item_contra", contravariant=True)


class Reader(Protocol[Item_co]):
    """The protocol of a door, without I/O."""

    def feed(self, data: bytes) -> None:
        """More bytes; those that cannot be kept are counted against the next command."""

    def take(self) -> Item_co | None:
        """The next command; None: more bytes are needed."""

    def forget(self) -> None:
        """What came and was not taken counts for nothing (STARTTLS)."""


class Session(Protocol[Item_contra]):
    """What the commands of a connection mean."""

    def greeting(self) -> bytes:
        """The first that is said."""

    async def do(self, item: Item_contra) -> None:
        """Does a command and says the answer. Raises `ConnectionError` only."""

    def goodbye(self, why: str) -> bytes:
        """The last that is said by a server that ends it."""

    @property
    def is_in(self) -> bool:
        """Whether somebody is logged in."""

    def close(self) -> None:
        """The connection is gone."""


Begin = Callable[["LineConnection[Any]"], tuple[Reader[Any], Session[Any]]]


class LineDoor(Connections["LineConnection[Any]"]):
    """One door. `begin` makes what a connection needs; `plain`: whether passwords are taken
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
        super().__init__()
        self.begin = begin
        self.tls: ssl.SSLContext | None = None
        self.failed_s = FAILED_S if slow_failures else 0.0
        self.idle_s = idle_s
        self._plain = plain
        self._most = connections_max

    def take_tls(self, context: ssl.SSLContext | None) -> None:
        """What STARTTLS is served with."""
        self.tls = context

    def clear(self) -> LineConnection[Any]:
        """A protocol for a new connection without TLS."""
        return LineConnection(self, secure=False)

    def secure(self) -> LineConnection[Any]:
        """A protocol for a new connection under TLS."""
        return LineConnection(self, secure=True)

    def admit(self, connection: LineConnection[Any]) -> bool:
        """Takes a connection in; false if there are too many."""
        if self.stopping or len(self.connections) >= self._most:
            return False
        self.enter(connection)
        return True

    def plain_allowed(self, address: str) -> bool:
        """Whether a password may come without TLS from there."""
        return self._plain and is_loopback(address)


class LineConnection(asyncio.Protocol, Generic[Item]):
    """The transport's protocol, and what a session says its answers to."""

    __slots__ = (
        "_closing", "_door", "_ended", "_lost", "_out", "_paused", "_reader", "_session",
        "_stopping", "_task", "_transport", "_until", "_writable", "address", "deadline", "secure",
    )  # fmt: skip

    def __init__(self, door: LineDoor, *, secure: bool) -> None:
        self._door = door
        self._transport: Any = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._lost = self._closing = self._paused = self._stopping = self._ended = False
        self.address = ""
        self.secure = secure
        self.deadline = 0.0
        self._until = 0.0
        reader, session = door.begin(self)
        self._reader: Reader[Item] = reader
        self._session: Session[Item] = session

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        if not self._door.admit(self):
            self._closing = True
            transport.write(self._session.goodbye("Too many connections"))  # type: ignore[attr-defined]
            transport.close()
            return
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._until = self._door.now + ENTRY_S
        self._wait()
        self.say(self._session.greeting())
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._door.connections.discard(self)
        self.resume_writing()
        if self._task is None:
            self._session.close()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._reader.feed(data)
        if self._task is not None:
            self._pause()
            return
        self._wait()
        self._task = asyncio.get_running_loop().create_task(self._work())
        self._door.tasks.add(self._task)

    def eof_received(self) -> bool:
        """The client said all it wanted: what it asked is still answered."""
        if self._task is None or self.secure:
            return False
        self._ended = True
        return True

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()
        self.deadline = self._door.now + STALL_S

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _wait(self) -> None:
        """Something is to come within some time."""
        if self._session.is_in:
            self.deadline = self._door.now + self._door.idle_s
        else:
            self.deadline = min(self._door.now + EARLY_S, self._until)

    # --- work

    async def _work(self) -> None:
        try:
            while not self._closing:
                item = self._reader.take()
                if item is None:
                    break
                self.deadline = 0.0
                await self._session.do(item)
                await self.flush()
                await asyncio.sleep(0)  # others have their turn
        except ConnectionError:
            pass
        except Exception:
            log.exception("a connection broke")
            self.hang_up(self._session.goodbye("Internal error"))
        finally:
            self._end_work()

    def _end_work(self) -> None:
        if self._task is not None:
            self._door.tasks.discard(self._task)
            self._task = None
        if self._lost:
            self._session.close()
        elif not self._closing:
            self._wait()
            if self._ended:
                self.hang_up()
            elif self._stopping:
                self.hang_up(self._session.goodbye("The server stops"))
            elif self._paused:
                self._paused = False
                self._transport.resume_reading()

    # --- the session calls

    @property
    def may_log_in(self) -> bool:
        """Passwords are taken under TLS, and in development from this machine."""
        return self.secure or self._door.plain_allowed(self.address)

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is to be had."""
        return not self.secure and self._door.tls is not None

    async def failed(self) -> None:
        """Whoever guesses waits."""
        await asyncio.sleep(self._door.failed_s)

    def say(self, data: bytes) -> None:
        """Adds to what will be sent."""
        self._out.append(data)

    async def flush(self) -> None:
        """Sends; waits while the client does not read. Raises `ConnectionError`."""
        self._write()
        if self._lost:
            raise ConnectionResetError
        if self._writable is not None:
            await self._writable
            if self._lost:
                raise ConnectionResetError

    def _write(self) -> None:
        if self._out and not self._closing:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    async def start_tls(self, said: bytes) -> None:
        """Says so and begins TLS; what was said in clear does not count any more."""
        tls = self._door.tls
        assert tls is not None, "STARTTLS was offered"
        self._pause()  # what comes now is not for us
        self.say(said)
        self._write()
        self._reader.forget()
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self, tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            log.info("STARTTLS failed: %s", error)
            self._transport.abort()
            self.connection_lost(None)
            raise ConnectionResetError from None
        if transport is None:
            raise ConnectionResetError
        self._transport = transport
        self._paused = False
        self.secure = True

    def hang_up(self, said: bytes = b"") -> None:
        """Ends the connection after what was said."""
        if self._closing:
            return
        self.say(said)
        self._write()
        self._closing = True
        self.deadline = self._door.now + STALL_S
        self._transport.close()

    # --- the door calls

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time."""
        if not self.deadline or now < self.deadline or self._lost:
            return
        if self._closing or self._writable is not None:
            self._transport.abort()
        elif self._task is None:
            self.hang_up(self._session.goodbye("Nothing was said for too long"))

    def stop(self) -> None:
        """The server stops: what runs may end, nothing new begins."""
        if self._task is None:
            self.hang_up(self._session.goodbye("The server stops"))
        else:
            self._stopping = True

    def cut(self) -> None:
        """Ends it at once."""
        if not self._lost:
            self._transport.abort()
