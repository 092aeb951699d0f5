"""One connection of IMAP: commands that queue, compression, room for large messages.

It means nothing by itself. Work runs in one task at a time, which ends when there is nothing more
to do; an idle connection is a few small objects.
"""

# RFC 9051 §2, §5.4, §5.5; RFC 4978 (COMPRESS)

from __future__ import annotations

import asyncio
import socket
import zlib
from typing import TYPE_CHECKING, Any, Final

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.parser import Parser
from kerwen.imap.protocol.stages import Stage
from kerwen.imap.session import Session
from kerwen.net.connections import End
from kerwen.net.door_connection import EARLY_S, DoorConnection

if TYPE_CHECKING:
    from kerwen.imap.server import ImapServer

IDLE_S: Final = 31 * 60  # RFC 9051 §5.4: half an hour at least
WAITING_MAX: Final = 64 * limits.KIB  # bytes read ahead of what is worked on
LARGE_LITERAL: Final = 1 * limits.MIB  # from here on a message must find room before it comes
INFLATED_MAX: Final = 256 * limits.KIB  # at a time


_CODES: Final = {
    End.FULL: b"UNAVAILABLE",
    End.SILENT: b"TIMEOUT",
    End.STOP: b"UNAVAILABLE",
    End.BROKEN: b"SERVERBUG",
}


class ImapConnection(DoorConnection["ImapServer"]):
    """The transport's protocol, and the session's `Line`."""

    __slots__ = (
        "_answer", "_deflate", "_dirty", "_inflate", "_inflated", "_parser", "_queue", "_reserved",
        "_session", "compressed",
    )  # fmt: skip

    def __init__(self, server: ImapServer, *, secure: bool) -> None:
        super().__init__(server, secure=secure)
        self._parser = Parser()
        self._session = Session(server.deeds, self)
        self._queue: list[c.Item] = []
        self._answer: asyncio.Future[c.Answer] | None = None
        self._inflate: Any = None
        self._deflate: Any = None
        self._inflated = b""  # compressed bytes that wait
        self._reserved = 0  # room for large messages that come
        self._dirty = False
        self.compressed = False

    def _begin(self) -> None:
        _keep_alive(self._transport.get_extra_info("socket"))
        self.deadline = self._door.now + EARLY_S
        self.say(responses.untagged("OK", "Kerwen is ready", self._door.greeting(self)))

    def _forget(self) -> None:
        self._parser.forget()

    def _goodbye(self, why: End) -> bytes:
        return responses.untagged("BYE", why.value, _CODES[why])

    # --- the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser.closed()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())
        super().connection_lost(exc)

    def _end(self) -> None:
        self._session.close()
        self._door.give_room(self._reserved)
        self._reserved = 0
        self._queue.clear()
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._wait()
        if self._inflate is not None:
            self._inflated += data
            self._read_compressed()
        else:
            self._take(self._parser.feed(data))

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
            self._read_on()
            if self._inflated:
                self._read_compressed()

    def _find_room(self, size: int) -> bool:
        """Room for a large message that comes. Waits in the server's line if there is none."""
        if size < LARGE_LITERAL or size <= self._reserved:
            return True
        if self._door.take_room(size - self._reserved, self._check_room):
            self._reserved = size
            return True
        return False

    # --- working

    def _start(self) -> None:
        if self._task is None and not self._lost:
            self._work(self._go_on)

    async def _go_on(self) -> None:
        """Does what waits, then ends."""
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

    def _rest(self) -> None:
        self._wait()

    def _wait(self) -> None:
        """Something is to come within some time."""
        early = self._session.stage is Stage.GREETED
        self.deadline = self._door.now + (EARLY_S if early else IDLE_S)

    async def _work_off(self) -> None:
        queue, self._queue = self._queue, []
        for item in queue:
            if self._closing:
                return
            self.deadline = 0.0
            await self._session.take(item)
        if self._reserved and not self._parser.literal_left:
            self._door.give_room(self._reserved)
            self._reserved = 0

    def _take_more(self) -> None:
        """What the parser holds back until it knows the stage."""
        if self._closing:
            return
        self._queue += self._parser.go_on(self._session.stage)
        self._check_room()

    # --- the session calls

    def _send(self, data: bytes) -> None:
        self._transport.write(self._compressed(data) if self.compressed else data)

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
        self.deadline = self._door.now + EARLY_S
        if self._lost:
            raise ConnectionResetError
        self._take(self._parser.go_on(self._session.stage))
        return await waiter

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

    # --- the door calls

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time, also while it owes us an answer."""
        if self._answer is not None and self.deadline and now >= self.deadline:
            self.cut()
        else:
            super().check_time(now)


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
