"""One connection: bytes in, bytes out, TLS, compression, back-pressure. It means nothing by itself.

An idle connection has no task, no timer and no buffer of its own: everything about it is a few
small objects. Work runs in one task at a time, which ends when there is nothing more to do.
"""

# RFC 9051 §2, §5.4, §5.5; RFC 4978 (COMPRESS)

from __future__ import annotations

import asyncio
import logging
import socket
import zlib
from typing import TYPE_CHECKING, Any, Final

from kerwen.base import limits
from kerwen.imap.commands.log_in import FAILED_S
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.parser import Parser
from kerwen.imap.protocol.stages import Stage
from kerwen.imap.session import Session

if TYPE_CHECKING:
    from kerwen.imap.server import ImapServer

log = logging.getLogger(__name__)

EARLY_S: Final = 60  # before log-in
IDLE_S: Final = 31 * 60  # RFC 9051 §5.4: half an hour at least
STALL_S: Final = 5 * 60  # the client takes nothing
WAITING_MAX: Final = 64 * limits.KIB  # bytes read ahead of what is worked on
LARGE_LITERAL: Final = 1 * limits.MIB  # from here on a message must find room before it comes
INFLATED_MAX: Final = 256 * limits.KIB  # at a time


class ImapConnection(asyncio.Protocol):
    """The transport's protocol, and the session's `Line`."""

    __slots__ = (
        "_answer", "_closing", "_deflate", "_dirty", "_inflate", "_inflated", "_lost", "_out",
        "_parser", "_paused", "_queue", "_reserved", "_server", "_session", "_task",
        "_transport", "_writable", "address", "compressed", "deadline", "secure",
    )  # fmt: skip

    def __init__(self, server: ImapServer, *, secure: bool) -> None:
        self._server = server
        self._transport: Any = None
        self._parser = Parser()
        self._session = Session(server.deeds, self)
        self._queue: list[c.Item] = []
        self._task: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[c.Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._inflate: Any = None
        self._deflate: Any = None
        self._inflated = b""  # compressed bytes that wait
        self._reserved = 0  # room for large messages that come
        self._paused = self._lost = self._closing = self._dirty = False
        self.address = ""
        self.secure = secure
        self.compressed = False
        self.deadline = 0.0

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        if not self._server.admit(self):
            self._closing = True
            transport.write(b"* BYE [UNAVAILABLE] Too many connections\r\n")  # type: ignore[attr-defined]
            transport.close()
            return
        _keep_alive(transport.get_extra_info("socket"))
        self.deadline = self._server.now + EARLY_S
        transport.write(  # type: ignore[attr-defined]
            responses.untagged("OK", "Kerwen is ready", self._server.greeting(self))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._server.dismiss(self)
        self._parser.closed()
        self.resume_writing()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())
        if self._task is None:
            self._end()

    def _end(self) -> None:
        """Nobody works any more: gives back what is held."""
        self._session.close()
        self._server.give_room(self._reserved)
        self._reserved = 0
        self._queue.clear()
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self.deadline = self._server.now + (
            EARLY_S if self._session.stage is Stage.GREETED else IDLE_S
        )
        if self._inflate is not None:
            self._inflated += data
            self._read_compressed()
        else:
            self._take(self._parser.feed(data))

    def eof_received(self) -> bool:
        """The client said all it wanted: what it asked is still answered."""
        if self._task is None or self.secure:
            return False
        self._queue.append(_LAST)
        return True

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()
        self.deadline = self._server.now + STALL_S

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- reading

    def _take(self, items: list[c.Item]) -> None:
        if items and self._answer is not None and isinstance(items[0], c.Answer):
            answer, self._answer = self._answer, None
            if not answer.done():
                answer.set_result(items.pop(0))  # type: ignore[arg-type]
        if items:
            self._queue += items
            self._start()
        self._check_room()

    def _read_compressed(self) -> None:
        """Inflates what came, not more at a time than fits."""
        while self._inflated and not self._paused:
            try:
                data = self._inflate.decompress(self._inflated, INFLATED_MAX)
            except zlib.error:
                self.hang_up(responses.untagged("BYE", "The compressed stream is broken"))
                return
            self._inflated = self._inflate.unconsumed_tail
            if not data:
                return
            self._take(self._parser.feed(data))

    def _check_room(self) -> None:
        """Reads no more while too much waits, or while a large message finds no room."""
        if self._lost:
            return
        parser = self._parser
        if parser.waiting > WAITING_MAX or not self._find_room(parser.literal_left):
            self._pause()
        elif self._paused:
            self._paused = False
            self._transport.resume_reading()
            if self._inflated:
                self._read_compressed()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _find_room(self, size: int) -> bool:
        """Room for a large message that comes. Waits in the server's line if there is none."""
        if size < LARGE_LITERAL or size <= self._reserved:
            return True
        if self._server.take_room(size - self._reserved, self._check_room):
            self._reserved = size
            return True
        return False

    # --- working

    def _start(self) -> None:
        if self._task is None and not self._lost:
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._server.tasks.add(self._task)

    async def _work(self) -> None:
        """Does what waits, then ends."""
        try:
            while not self._lost:
                if self._queue:
                    await self._work_off()
                elif self._dirty:
                    self._dirty = False
                    await self._session.changed()
                else:
                    self._take_more()
                    if not self._queue and not self._dirty:
                        break
                    await asyncio.sleep(0)  # others have their turn
        except ConnectionError:
            pass
        except Exception:
            log.exception("a connection broke")
            self.hang_up(responses.untagged("BYE", "Internal error", b"SERVERBUG"))
        finally:
            if self._task is not None:
                self._server.tasks.discard(self._task)
                self._task = None
            if self._lost:
                self._end()
            elif not self._closing:
                self.deadline = self._server.now + (
                    EARLY_S if self._session.stage is Stage.GREETED else IDLE_S
                )

    async def _work_off(self) -> None:
        queue, self._queue = self._queue, []
        for item in queue:
            if self._closing:
                return
            if item is _LAST:
                self.hang_up()
                return
            self.deadline = 0.0
            await self._session.take(item)
        if self._reserved and not self._parser.literal_left:
            self._server.give_room(self._reserved)
            self._reserved = 0

    def _take_more(self) -> None:
        """What the parser holds back until it knows the stage."""
        if self._closing:
            return
        self._queue += self._parser.go_on(self._session.stage)
        self._check_room()

    # --- the session calls

    @property
    def may_log_in(self) -> bool:
        """Passwords are taken under TLS, and in development from this machine."""
        return self.secure or self._server.plain_allowed(self.address)

    @property
    def failed_s(self) -> float:
        """How long a failed log-in waits for its answer."""
        return FAILED_S if self._server.slow_failures else 0.0

    @property
    def can_start_tls(self) -> bool:
        return not self.secure and self._server.tls is not None

    def say(self, data: bytes) -> None:
        if data:
            self._out.append(data)

    async def flush(self) -> None:
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
        if self._closing:
            return
        if self.compressed:
            data = self._compressed(data)
        self._transport.write(data)

    def _compressed(self, data: bytes) -> bytes:
        deflate = self._deflate or _deflate()
        data = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
        # after a flush a new one may go on in its place: who idles keeps no window
        self._deflate = None if self._session.idling is not None else deflate
        return data

    def expect_done(self) -> None:
        self._parser.expect_done()

    async def ask(self, challenge: bytes) -> c.Answer:
        self.say(responses.continuation(challenge))
        self._write()
        self._parser.expect_answer()
        waiter: asyncio.Future[c.Answer] = asyncio.get_running_loop().create_future()
        self._answer = waiter
        self.deadline = self._server.now + EARLY_S
        if self._lost:
            raise ConnectionResetError
        self._take(self._parser.go_on(self._session.stage))
        return await waiter

    async def start_tls(self, said: bytes) -> None:
        tls = self._server.tls
        assert tls is not None
        self.say(said)
        self._write()
        self._parser.forget()
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self, tls, server_side=True, ssl_handshake_timeout=EARLY_S
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            log.info("STARTTLS failed: %s", error)
            self._transport.abort()
            self.connection_lost(None)
            raise ConnectionResetError from None
        if transport is None:
            raise ConnectionResetError
        self._transport = transport
        self.secure = True

    async def compress(self, said: bytes) -> bool:
        if self._parser.waiting:
            return False
        self.say(said)
        self._write()
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.compressed = True
        return True

    def set_utf8(self) -> None:
        self._parser.utf8 = True

    def wake(self) -> None:
        if self._session.tells_unasked and not self._closing:
            self._dirty = True
            self._start()

    def hang_up(self, said: bytes = b"") -> None:
        if self._closing:
            return
        self.say(said)
        self._write()
        self._closing = True
        self.deadline = self._server.now + STALL_S
        self._transport.close()

    # --- the server calls

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time."""
        if not self.deadline or now < self.deadline or self._lost:
            return
        if self._closing or self._writable is not None:
            self._transport.abort()
        elif self._task is None:
            self.hang_up(responses.untagged("BYE", "Nothing was said for too long", b"TIMEOUT"))
        elif self._answer is not None:
            self._transport.abort()

    def stop(self) -> None:
        """The server stops: what runs may end, nothing new begins."""
        if self._task is None:
            self.hang_up(responses.untagged("BYE", "The server stops", b"UNAVAILABLE"))
        else:
            self._queue.append(_LAST)

    def cut(self) -> None:
        """Ends it at once."""
        if not self._lost:
            self._transport.abort()


_LAST: Final = c.Item()


def _deflate() -> Any:
    # a window of 8 KiB and small tables: 48 KiB a connection instead of 256
    return zlib.compressobj(4, zlib.DEFLATED, -13, 5)


def _keep_alive(found: Any) -> None:
    """A dead client is noticed, though it says nothing for half an hour."""
    if found is None:
        return
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 300)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        pass
