"""What one SMTP connection has said so far, and what is answered to it.

`now` answers what needs no waiting, which is most; `later` the rest.
"""

# RFC 5321 §4.1.1; RFC 6409 (submission)

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.actions.prove_sender import Sender
from kerwen.mail.letter import Letter, Peer, Wishes
from kerwen.smtp import commands as c
from kerwen.smtp import replies
from kerwen.smtp.deeds import Deeds
from kerwen.smtp.replies import Reply, reply

log = logging.getLogger(__name__)

FAILURES_MAX: Final = 3
_FAILED: Final = frozenset({Reason.WRONG_PASSWORD, Reason.UNKNOWN_TOKEN, Reason.EXPIRED_TOKEN})
_NO_ROOM: Final = Unavailable(Unready.BUSY)
_LOG_IN_AGAIN: Final = reply(421, "4.7.0", "Log in again", close=True)
_BARE: Final = reply(550, "5.6.0", "Lines of a message end with CR LF")
_ENOUGH_GUESSES: Final = reply(421, "4.7.0", "Too many failed log-ins", close=True)


class Line(Protocol):
    """The connection under the session."""

    address: str
    tls_shown: str | None
    """Version and cipher, under TLS."""

    def hello_reply(self) -> Reply:
        """What EHLO is answered with."""

    def take_room(self, size: int) -> bool:
        """Room in memory for so many bytes of a message; false if there is none."""

    def give_room(self, size: int) -> None:
        """Gives room back."""

    async def failed(self) -> None:
        """Lets somebody wait who failed to log in."""


class Session:
    """`own`: this door is for our own people, who log in."""

    __slots__ = (
        "_accepted", "_bdat", "_chunks", "_deeds", "_failures", "_full", "_letter", "_line",
        "_mail", "_peer", "_size", "counted", "own", "sender",
    )  # fmt: skip

    def __init__(self, deeds: Deeds, line: Line, *, own: bool) -> None:
        self._deeds = deeds
        self._line = line
        self.own = own
        self.sender: Sender | None = None
        self.counted: Callable[[int], None] | None = None  # told the size of a message taken in
        self._failures = 0
        self._peer: Peer | None = None
        self._letter: Letter | None = None
        self._mail: c.Mail | None = None
        self._accepted: list[Accepted] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._full = False  # there was no room for the message
        self._bdat = True

    # --- the message

    def chunk(self, data: bytes) -> None:
        """A piece of the message."""
        if self._full:
            return
        if not self._line.take_room(len(data)):
            self._drop_message()
            self._full = True
            return
        self._chunks.append(data)
        self._size += len(data)

    def _drop_message(self) -> None:
        if self._size:
            self._line.give_room(self._size)
        self._chunks.clear()
        self._size = 0
        self._full = False

    def forget(self) -> None:
        """The transaction is over."""
        self._drop_message()
        self._letter = None
        self._mail = None
        self._accepted = []
        self._bdat = True

    # --- commands

    def now(self, command: c.Command) -> Reply | None:
        """The answer; None where `later` has to be asked."""
        kind = type(command)
        if isinstance(command, c.Answer):
            if kind is c.Spoiled:
                self.forget()
            return command.reply
        if isinstance(command, c.Hello):
            self.forget()
            self._peer = Peer(
                address=self._line.address,
                helo=command.name,
                extended=command.extended,
                tls=self._line.tls_shown,
            )
            return self._line.hello_reply()
        if kind is c.Data:
            self._bdat = False
            return replies.GO_AHEAD
        if isinstance(command, c.ChunkEnd):
            if self._full:
                self.forget()
                return replies.unavailability(_NO_ROOM)
            return reply(250, "2.0.0", f"{command.size} bytes")
        if kind is c.Reset:
            self.forget()
            return replies.RESET
        if kind is c.StartTls:
            self.sender = None
            return replies.READY_FOR_TLS
        if kind is c.Quit:
            return replies.BYE
        if isinstance(command, c.Mail) and not self.own:
            return self._stranger(command)
        return None

    async def later(self, command: c.Command) -> Reply:
        """The answer to what must be looked up or done."""
        try:
            if isinstance(command, c.Rcpt):
                return await self._recipient(command)
            if isinstance(command, c.DataEnd):
                return await self._message()
            if isinstance(command, c.Mail):
                return await self._own_sender(command)
            if isinstance(command, c.Login | c.Token):
                return await self._log_in(command)
        except Refused as refusal:
            return replies.refusal(refusal)
        except Unavailable as problem:
            return replies.unavailability(problem)
        raise AssertionError(command)

    def _stranger(self, command: c.Mail) -> Reply:
        try:
            self._deeds.rates.message(self._line.address)
        except Refused as refusal:
            return replies.refusal(refusal)
        return self._begin(command)

    async def _own_sender(self, command: c.Mail) -> Reply:
        assert self.sender is not None, "the protocol asks for a log-in"
        if not await self._deeds.prove.still(self.sender):
            return _LOG_IN_AGAIN
        if command.sender is not None:
            await self._deeds.submit.check_sender(self.sender, str(command.sender))
        return self._begin(command)

    def _begin(self, command: c.Mail) -> Reply:
        self.forget()
        self._mail = command
        self._letter = Letter(
            sender="" if command.sender is None else str(command.sender),
            envelope_id=command.envelope_id,
            return_full=bool(command.ret_full),
            utf8=command.utf8,
        )
        return replies.SENDER_OK

    async def _recipient(self, command: c.Rcpt) -> Reply:
        assert self._peer is not None
        assert self._letter is not None
        assert self._mail is not None
        address = str(command.recipient)
        wishes = Wishes(notify=command.notify, original=command.original)
        size = self._mail.size or 0
        if self.sender is not None:
            self._deeds.rates.sent(self.sender.account_no)
            one = await self._deeds.submit.recipient(address, wishes, size)
        else:
            self._deeds.rates.may_ask(self._line.address)
            try:
                one = await self._deeds.arrive.recipient(
                    self._peer, self._letter, address, wishes, size
                )
            except Refused as refusal:
                if refusal.reason in (Reason.UNKNOWN_RECIPIENT, Reason.RELAY_REFUSED):
                    self._deeds.rates.lost(self._line.address)
                raise
        self._accepted.append(one)
        return replies.RECIPIENT_OK

    async def _message(self) -> Reply:
        peer, letter, accepted = self._peer, self._letter, self._accepted
        assert peer is not None
        assert letter is not None
        if self._full:
            self.forget()
            return replies.unavailability(_NO_ROOM)
        size = self._size
        raw = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()  # its room is given back when it has been delivered
        try:
            if self._bdat and _has_bare(raw):
                return _BARE
            if self.sender is not None:
                mark = await self._deeds.submit.run(self.sender, peer, letter, accepted, raw)
            else:
                mark = await self._deeds.arrive.run(peer, letter, accepted, raw)
        finally:
            self.forget()
        if self.counted is not None:
            self.counted(size)
        return replies.received(mark)

    async def _log_in(self, command: c.Login | c.Token) -> Reply:
        self._deeds.spend(self._line.address)
        prove = self._deeds.prove
        try:
            if isinstance(command, c.Token):
                self.sender = await prove.by_token(command.user, command.token)
            elif command.authorize and command.authorize != command.user:
                raise Refused(Reason.WRONG_PASSWORD, "Nobody may act for somebody else")
            else:
                self.sender = await prove.by_password(command.user, command.password)
        except Refused as refusal:
            if refusal.reason not in _FAILED:
                raise
            self._failures += 1
            await self._line.failed()
            if self._failures >= FAILURES_MAX and not isinstance(command, c.Token):
                return _ENOUGH_GUESSES
            raise
        self._deeds.proved(self._line.address)
        return replies.LOGGED_IN


def _has_bare(raw: bytes) -> bool:
    """Whether a CR or LF stands alone: what came by BDAT may hold any bytes (RFC 3030 §4)."""
    ends = raw.count(b"\r\n")
    return raw.count(b"\n") != ends or raw.count(b"\r") != ends
