"""One connection of SMTP. It means nothing by itself.

What needs no waiting is answered where it is read; for the rest there is one task at a time, and
meanwhile nothing is read.
"""

# RFC 5321 §4.5.3.2 (time)

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kerwen.net.connections import End
from kerwen.net.door_connection import DoorConnection
from kerwen.smtp import commands as c
from kerwen.smtp import replies
from kerwen.smtp.protocol import Protocol, Stage
from kerwen.smtp.replies import Reply, reply
from kerwen.smtp.session import Session

if TYPE_CHECKING:
    from kerwen.smtp.server import SmtpServer

IDLE_S: Final = 5 * 60  # RFC 5321 §4.5.3.2.7
MESSAGE_S: Final = 30 * 60  # one message, however slowly it drips
LIFE_S: Final = 4 * 3600  # the whole connection
LINGER_S: Final = 5
_MESSAGE: Final = (Stage.DATA, Stage.CHUNKS)
_LAST: Final = {
    End.FULL: replies.TOO_BUSY,
    End.SILENT: replies.IDLE,
    End.STOP: replies.STOPPING,
    End.BROKEN: reply(451, "4.3.0", "Something went wrong here, try again later", close=True),
}


class SmtpConnection(DoorConnection["SmtpServer"]):
    """The transport's protocol, and the session's `Line`."""

    __slots__ = ("_protocol", "_session", "_stuck", "_until", "own", "tls_shown")

    def __init__(self, server: SmtpServer, *, own: bool, secure: bool) -> None:
        super().__init__(server, secure=secure)
        self._session = Session(server.deeds, self, own=own)
        self._session.counted = server.count
        self._protocol = Protocol(server.offer(own=own, address=""), tls=secure)
        self._stuck = False  # the client does not read
        self.own = own
        self.tls_shown: str | None = None
        self._until = 0.0

    def _begin(self) -> None:
        self._protocol.offer = self._door.offer(own=self.own, address=self.address)
        self._note_tls()
        self._until = self._door.now + LIFE_S
        self.deadline = self._door.now + IDLE_S
        self.say(self._protocol.greet())

    def _note_tls(self) -> None:
        cipher = self._transport.get_extra_info("cipher")
        if cipher:
            self.tls_shown = f"{cipher[1]} {cipher[0]}"

    def _forget(self) -> None:
        self._protocol.forget()

    def _goodbye(self, why: End) -> bytes:
        return _LAST[why].render()

    def _end(self) -> None:
        self._session.forget()  # what was not acknowledged was not received

    # --- the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._task is not None:
            # what comes meanwhile waits its turn; more of it is not read
            self._protocol.feed(data)
            self._pause()
            return
        before = self._protocol.stage in _MESSAGE
        self._go_on(data)
        if self._task is not None or self._closing:
            return
        now = self._protocol.stage in _MESSAGE
        if not now:
            self.deadline = self._door.now + IDLE_S
        elif not before:
            self.deadline = self._door.now + MESSAGE_S

    def pause_writing(self) -> None:
        """Nothing is answered until the client reads again: so nothing is read."""
        self._stuck = True
        self._pause()

    def resume_writing(self) -> None:
        self._stuck = False
        if self._task is None:
            self._resume()

    def _resume(self) -> None:
        if not self._stuck and not self._closing:
            self._read_on()

    # --- commands

    def _go_on(self, data: bytes) -> None:
        """Answers what can be answered at once; begins a task for the first that cannot."""
        command = self._take(data)
        if not isinstance(command, c.Rcpt):  # that is quick: one answer for all then
            self._write()
        if command is not None and not self._closing:
            if isinstance(command, c.StartTls):
                self._pause()  # what comes now is not for us
            self._work(self._answer, command)

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
                self._reply(command, answer)
                if self._closing:
                    return None
                if protocol.stage is Stage.TLS:
                    return command
            found = protocol.feed(b"")
        return None

    def _reply(self, command: c.Command, answer: Reply) -> None:
        if self._protocol.is_closed:  # too much came while it waited
            self.hang_up()
            return
        self.say(self._protocol.reply(answer))
        if answer.close:
            self.hang_up(linger=answer is not replies.BYE)

    async def _answer(self, command: c.Command | None) -> None:
        """Answers what must be waited for, and what was pipelined behind it."""
        while command is not None and not self._lost:
            self.deadline = 0.0
            if isinstance(command, c.StartTls):
                await self._shake_hands()
            else:
                answer = await self._session.later(command)
                if self._lost:
                    return
                self._reply(command, answer)
            command = self._take(b"") if not self._closing else None
        self._write()

    def _rest(self) -> None:
        in_message = self._protocol.stage in _MESSAGE
        self.deadline = self._door.now + (MESSAGE_S if in_message else IDLE_S)
        self._resume()

    async def _shake_hands(self) -> None:
        await self.start_tls()
        self._protocol.tls_started()
        self._note_tls()
        # what was said in clear does not count any more (RFC 3207 §4.2)
        self._session.forget()

    # --- the session calls

    def hello_reply(self) -> Reply:
        return self._protocol.hello_reply()

    def take_room(self, size: int) -> bool:
        return self._door.take_room(self.address, size)

    def give_room(self, size: int) -> None:
        self._door.give_room(self.address, size)

    # --- the door calls

    def hang_up(self, said: bytes = b"", *, linger: bool = False) -> None:
        """Ends the connection after what was said. `linger`: the client may be speaking; what it
        says is read past for a moment, since a reset would cost it our last words."""
        if not linger:
            super().hang_up(said)
        elif self._say_last(said, LINGER_S):
            if self._transport.can_write_eof():
                self._transport.write_eof()
                self._read_on()
            else:
                self._transport.close()

    def check_time(self, now: float) -> None:
        """Ends the connection when it is over its time."""
        if self._lost or self._task is not None:
            return
        if not self._closing and self._until and now >= self._until:
            self.hang_up(self._goodbye(End.SILENT))
        else:
            super().check_time(now)
