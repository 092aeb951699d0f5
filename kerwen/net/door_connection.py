"""One connection of a door of mail: what it does with its transport, whatever it speaks.

Bytes out, back-pressure, STARTTLS, one task at a time, time, and the end. What comes in is the
door's own matter. An idle connection has no task, no timer and no buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from kerwen.net.connections import Connections, End

log = logging.getLogger(__name__)

EARLY_S: Final = 60  # before log-in
STALL_S: Final = 5 * 60  # the client takes nothing
HANDSHAKE_S: Final = 30

Door = TypeVar("Door", bound=Connections[Any])


class DoorConnection(asyncio.Protocol, Generic[Door]):
    """The transport's protocol, and what a session says its answers to."""

    __slots__ = (
        "_closing", "_door", "_ended", "_lost", "_out", "_paused", "_task", "_transport",
        "_writable", "address", "deadline", "secure",
    )  # fmt: skip

    def __init__(self, door: Door, *, secure: bool) -> None:
        self._door = door
        self._transport: Any = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._lost = self._closing = self._ended = False
        self._paused = False  # nothing is read
        self.address = ""
        self.secure = secure
        self.deadline = 0.0

    # --- what each door does in its own way

    def _begin(self) -> None:
        """The connection was let in: time and greeting."""
        raise NotImplementedError

    def _forget(self) -> None:
        """What came and was not taken counts for nothing (STARTTLS)."""
        raise NotImplementedError

    def _rest(self) -> None:
        """The work is done: how long silence may last now, and what comes is read."""
        raise NotImplementedError

    def _end(self) -> None:
        """The connection is gone and nobody works any more: gives back what is held."""
        raise NotImplementedError

    def _goodbye(self, why: End) -> bytes:
        """The last that is said by a server that ends it."""
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        self._transport.write(data)

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        refusal = self._door.admit(self)
        if refusal is not None:
            self._closing = True
            self._transport.write(self._goodbye(refusal))
            self._transport.close()
            return
        found = transport.get_extra_info("socket")
        if found is not None:
            with contextlib.suppress(OSError):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin()
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._door.dismiss(self)
        self.resume_writing()
        if self._task is None:
            self._end()

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

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # --- work

    def _work(self, deed: Callable[..., Awaitable[None]], *given: Any) -> None:
        """Begins the one task of the connection."""
        self._task = asyncio.get_running_loop().create_task(self._at_work(deed, *given))
        self._door.tasks.add(self._task)

    async def _at_work(self, deed: Callable[..., Awaitable[None]], *given: Any) -> None:
        try:
            await deed(*given)
        except ConnectionError:
            pass
        except Exception:
            log.exception("a connection broke")
            self.hang_up(self._goodbye(End.BROKEN))
        finally:
            self._end_work()

    def _end_work(self) -> None:
        if self._task is not None:
            self._door.tasks.discard(self._task)
            self._task = None
        if self._lost:
            self._end()
        elif not self._closing:
            if self._ended:
                self.hang_up()
            elif self._door.stopping:
                self.hang_up(self._goodbye(End.STOP))
            else:
                self._rest()

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
        if data:
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
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        if not self._closing:
            self._send(data)

    async def start_tls(self, said: bytes = b"") -> None:
        """Says so and begins TLS; what was said in clear does not count any more."""
        tls = self._door.tls
        assert tls is not None, "STARTTLS was offered"
        self._pause()  # what comes now is not for us
        self.say(said)
        self._write()
        self._forget()
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
        if transport is None or self._lost:
            raise ConnectionResetError
        self._transport = transport
        self._paused = False
        self.secure = True

    def hang_up(self, said: bytes = b"") -> None:
        """Ends the connection after what was said."""
        if self._say_last(said, STALL_S):
            self._transport.close()

    def _say_last(self, said: bytes, patience_s: float) -> bool:
        """Nothing is said after it; false if the last was said before."""
        if self._closing:
            return False
        self.say(said)
        self._write()
        self._closing = True
        self.deadline = self._door.now + patience_s
        return True

    # --- the door calls

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time."""
        if not self.deadline or now < self.deadline or self._lost:
            return
        if self._closing or self._writable is not None:
            self._transport.abort()
        elif self._task is None:
            self.hang_up(self._goodbye(End.SILENT))

    def stop(self) -> None:
        """The server stops: what runs may end, nothing new begins."""
        if self._task is None:
            self.hang_up(self._goodbye(End.STOP))

    def cut(self) -> None:
        """Ends it at once."""
        if not self._lost:
            self._transport.abort()
