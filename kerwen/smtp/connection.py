"""One SMTP connection: bytes in, replies out, TLS, back-pressure. It means nothing by itself.

What needs no waiting is answered where it is read; for the rest there is one task at a time, and
meanwhile nothing is read. An idle connection has no task, no timer and no buffer.
"""

# RFC 5321 §4.5.3.2 (time); RFC 3207 (STARTTLS)

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from kerwen.smtp import commands as c
from kerwen.smtp import replies
from kerwen.smtp.protocol import Protocol, Stage
from kerwen.smtp.replies import Reply, reply
from kerwen.smtp.session import Session

if TYPE_CHECKING:
    from kerwen.smtp.server import SmtpServer

log = logging.getLogger(__name__)

IDLE_S: Final = 5 * 60  # RFC 5321 §4.5.3.2.7
MESSAGE_S: Final = 30 * 60  # one message, however slowly it drips
LIFE_S: Final = 4 * 3600  # the whole connection
HANDSHAKE_S: Final = 30
LINGER_S: Final = 5
FAILED_S: Final = 1.0  # how long a failed log-in waits for its answer
_MESSAGE: Final = (Stage.DATA, Stage.CHUNKS)
_BROKEN: Final = reply(451, "4.3.0", "Something went wrong here, try again later", close=True)


class SmtpConnection(asyncio.Protocol):
    """The transport's protocol, and the session's `Line`."""

    __slots__ = (
        "_busy", "_closing", "_ended", "_lost", "_out", "_paused", "_protocol", "_server",
        "_session", "_stuck", "_task", "_transport", "_until", "address", "deadline", "own",
        "tls_shown",
    )  # fmt: skip

    def __init__(self, server: SmtpServer, *, own: bool, secure: bool) -> None:
        self._server = server
        self._transport: Any = None
        self._session = Session(server.deeds, self, own=own)
        self._session.counted = server.count
        self._protocol = Protocol(server.offer(own=own, address=""), tls=secure)
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._lost = self._closing = self._stuck = self._ended = False
        self._paused = False  # nothing is read
        self._out: list[bytes] = []
        self.own = own
        self.address = ""
        self.tls_shown: str | None = None
        self.deadline = 0.0
        self._until = 0.0

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        refusal = self._server.admit(self)
        if refusal is not None:
            self._closing = True
            transport.write(refusal.render())  # type: ignore[attr-defined]
            transport.close()
            return
        self._protocol.offer = self._server.offer(own=self.own, address=self.address)
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._note_tls()
        self._until = self._server.now + LIFE_S
        self.deadline = self._server.now + IDLE_S
        transport.write(self._protocol.greet())  # type: ignore[attr-defined]

    def _note_tls(self) -> None:
        cipher = self._transport.get_extra_info("cipher")
        if cipher:
            self.tls_shown = f"{cipher[1]} {cipher[0]}"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._server.dismiss(self)
        self._protocol.closed()
        if not self._busy:
            self._session.forget()  # what was not acknowledged was not received

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._busy:
            # what comes meanwhile waits its turn; more of it is not read
            self._protocol.feed(data)
            self._pause()
            return
        before = self._protocol.stage in _MESSAGE
        self._go_on(data)
        if self._busy or self._closing:
            return
        now = self._protocol.stage in _MESSAGE
        if not now:
            self.deadline = self._server.now + IDLE_S
        elif not before:
            self.deadline = self._server.now + MESSAGE_S

    def eof_received(self) -> bool:
        """The client said all it wanted: what it asked is still answered."""
        if not self._busy or self._protocol.tls:
            return False
        self._ended = True
        return True

    def pause_writing(self) -> None:
        self._stuck = True
        self._pause()

    def resume_writing(self) -> None:
        self._stuck = False
        if not self._busy:
            self._resume()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._stuck and not self._closing:
            self._paused = False
            self._transport.resume_reading()

    # --- commands

    def _go_on(self, data: bytes) -> None:
        """Answers what can be answered at once; begins a task for the first that cannot."""
        command = self._take(data)
        if not isinstance(command, c.Rcpt):  # that is quick: one answer for all then
            self._flush()
        if command is not None and not self._closing:
            self._busy = True
            if isinstance(command, c.StartTls):
                self._pause()  # what comes now is not for us
            self._task = asyncio.get_running_loop().create_task(self._work(command))
            self._server.tasks.add(self._task)

    def _take(self, data: bytes) -> c.Command | None:
        """Goes through what came; the first command that must be waited for."""
        protocol, session = self._protocol, self._session
        found = protocol.feed(data)
        while found:
            for command in found:
                if isinstance(command, c.Chunk):
                    session.chunk(command.data)
                    continue
                if isinstance(command, c.Gone):
                    return None
                answer = session.now(command)
                if answer is None:
                    return command
                self._say(command, answer)
                if self._closing:
                    return None
                if protocol.stage is Stage.TLS:
                    return command
            found = protocol.feed(b"")
        return None

    def _say(self, command: c.Command, answer: Reply) -> None:
        if self._protocol.is_closed:  # too much came while it waited
            self.hang_up()
            return
        self._out.append(self._protocol.reply(answer))
        if answer.close:
            self.hang_up(linger=answer is not replies.BYE)

    def _flush(self) -> None:
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        if not self._lost and not self._transport.is_closing():
            self._transport.write(data)

    async def _work(self, command: c.Command | None) -> None:
        """Answers what must be waited for, and what was pipelined behind it."""
        try:
            while command is not None and not self._lost:
                self.deadline = 0.0
                if isinstance(command, c.StartTls):
                    await self._start_tls()
                else:
                    answer = await self._session.later(command)
                    if self._lost:
                        break
                    self._say(command, answer)
                command = self._take(b"") if not self._closing else None
                if command is not None and isinstance(command, c.StartTls):
                    self._flush()
        except ConnectionError:
            pass
        except Exception:
            log.exception("a connection broke")
            if not self._lost:
                self._out.append(_BROKEN.render())
                self.hang_up()
        finally:
            self._end_work()

    def _end_work(self) -> None:
        self._busy = False
        if self._task is not None:
            self._server.tasks.discard(self._task)
            self._task = None
        if self._lost:
            self._session.forget()
            return
        self._flush()
        if self._closing:
            return
        if self._ended:
            self.hang_up()
            return
        if self._server.stopping:
            self._out.append(replies.STOPPING.render())
            self._flush()
            self.hang_up()
            return
        in_message = self._protocol.stage in _MESSAGE
        self.deadline = self._server.now + (MESSAGE_S if in_message else IDLE_S)
        self._resume()

    async def _start_tls(self) -> None:
        self._flush()
        tls = self._server.tls
        assert tls is not None, "STARTTLS was offered"
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
        self._protocol.tls_started()
        self._note_tls()
        # what was said in clear does not count any more (RFC 3207 §4.2)
        self._session.forget()

    # --- the session calls

    def hello_reply(self) -> Reply:
        return self._protocol.hello_reply()

    def take_room(self, size: int) -> bool:
        return self._server.take_room(self.address, size)

    def give_room(self, size: int) -> None:
        self._server.give_room(self.address, size)

    async def failed(self) -> None:
        if self._server.slow_failures:
            await asyncio.sleep(FAILED_S)

    # --- the server calls

    def hang_up(self, *, linger: bool = False) -> None:
        """Ends the connection when what was said is sent. `linger`: the client may be speaking;
        what it says is read past for a moment, since a reset would cost it our last words."""
        if self._closing:
            return
        self._flush()
        self._closing = True
        self.deadline = self._server.now + (LINGER_S if linger else IDLE_S)
        if linger and not self._lost and self._transport.can_write_eof():
            self._transport.write_eof()
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
        else:
            self._transport.close()

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time."""
        if self._lost or self._busy:
            return
        over = self.deadline and now >= self.deadline
        if self._closing and over:
            self._transport.abort()
        elif over or (self._until and now >= self._until):
            self._out.append(replies.IDLE.render())
            self.hang_up()

    def stop(self) -> None:
        """The server stops: what runs may end, nothing new begins."""
        if not self._busy and not self._closing:
            self._out.append(replies.STOPPING.render())
            self.hang_up()

    def cut(self) -> None:
        """Ends it at once."""
        if not self._lost:
            self._transport.abort()
