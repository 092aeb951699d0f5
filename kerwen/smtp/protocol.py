"""The server's side of SMTP, sans-IO: bytes in, commands out; replies in, bytes out.

    commands = protocol.feed(data)          # at most one of them, the last, wants a reply
    out = protocol.reply(reply)             # then feed(b"") gives what was pipelined behind it

What is answered without asking anybody (NOOP, syntax errors, prompts of AUTH) comes as `Answer` or
`Malformed`: give its reply back. Any bytes, whole or one by one, give the same commands (pieces of
a message may be cut elsewhere, those of a spoilt one may stop earlier).

Lines end with CRLF only. A bare CR or LF in a command is refused; in a message it is read as what
it is, never as a line end, and the message is refused at its end. So nothing can be smuggled.
"""

# RFC 5321; RFC 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 7628, 9422

from __future__ import annotations

import enum
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.smtp import grammar, replies, sasl
from kerwen.smtp.commands import (
    Answer,
    Chunk,
    ChunkEnd,
    Command,
    Data,
    DataEnd,
    Gone,
    Hello,
    Login,
    Mail,
    Malformed,
    Quit,
    Rcpt,
    Reset,
    Spoiled,
    StartTls,
    Token,
)
from kerwen.smtp.dots import Unstuffer
from kerwen.smtp.grammar import Wrong
from kerwen.smtp.replies import Reply, reply


class Stage(enum.Enum):
    """Where a connection stands."""

    GREETING = "greeting"  # we have not spoken yet
    START = "start"  # no EHLO yet, or TLS has just begun
    READY = "ready"
    MAIL = "mail"  # there is a sender
    RCPT = "rcpt"  # and a recipient
    DATA = "data"  # lines of the message come
    CHUNKS = "chunks"  # the message comes by BDAT, more is to come
    AUTH = "auth"  # answers of AUTH come
    TLS = "tls"  # hands are shaken
    CLOSED = "closed"


S = Stage
_OPEN: Final = (S.READY, S.MAIL, S.RCPT, S.CHUNKS)

# What is allowed where, and where it leads once we said yes. RFC 5321 §4.1.4
NEXT: Final[dict[tuple[Stage, str], Stage]] = {
    **{(stage, verb): S.READY for stage in (S.START, *_OPEN) for verb in ("EHLO", "HELO")},
    **{(stage, "RSET"): S.READY for stage in _OPEN},
    (S.START, "RSET"): S.START,
    **{(stage, v): stage for stage in (S.START, *_OPEN) for v in ("NOOP", "HELP", "VRFY", "EXPN")},
    **{(stage, "QUIT"): S.CLOSED for stage in (S.START, *_OPEN)},
    (S.READY, "STARTTLS"): S.TLS,
    (S.READY, "AUTH"): S.AUTH,
    (S.READY, "MAIL"): S.MAIL,
    (S.MAIL, "RCPT"): S.RCPT,
    (S.RCPT, "RCPT"): S.RCPT,
    (S.RCPT, "DATA"): S.DATA,
    (S.RCPT, "BDAT"): S.CHUNKS,
    (S.CHUNKS, "BDAT"): S.CHUNKS,
}
_VERBS: Final = frozenset(verb for _, verb in NEXT)
_BARE: Final = frozenset({"DATA", "QUIT", "RSET", "STARTTLS"})  # take no argument


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What this listener allows and offers."""

    host: str
    size_max: int = limits.MESSAGE_BYTES_MAX
    tls: bool = True  # STARTTLS can be had
    tls_required: bool = False  # before MAIL and AUTH
    login: bool = False  # AUTH is offered (under TLS, or if not `tls_required`)
    login_required: bool = False  # before MAIL
    recipients_max: int = limits.SMTP_RECIPIENTS_MAX
    mails_max: int = limits.SMTP_MAILS_MAX


class Protocol:
    """One connection."""

    def __init__(self, offer: Offer, *, tls: bool = False) -> None:
        self.offer = offer
        self.tls = tls
        self.logged_in = False
        self.stage = Stage.GREETING
        self.hello: Hello | None = None
        self._buffer = b""
        self._waiting: Command | None = None  # for our reply
        self._verb = ""
        self._errors = 0
        self._idle_commands = 0
        self._mails = 0
        self._recipients = 0
        self._mail: Mail | None = None
        self._sasl: _Sasl | None = None
        self._message: _Message | None = None
        self._bdat_left = -1  # bytes of a chunk that are still to come; -1: no chunk
        self._bdat = _Bdat(0, False, None)
        self._skipping = False  # an endless line
        self._then: Command | None = None  # comes after the one just given
        self._lost_recipients = 0

    # --- in -------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Command]:
        """The commands that these bytes bring to an end."""
        if self.is_closed:
            return []
        self._buffer = self._buffer + data if self._buffer else data
        found: list[Command] = []
        while self._waiting is None and not self.is_closed:
            command, self._then = self._then, None
            if command is None:
                command = self._next()
            if command is None:
                break
            found.append(command)
            if type(command) is not Chunk:
                self._waiting = command
        if self._waiting is not None and len(self._buffer) > limits.SMTP_PENDING_MAX:
            found += self.closed()  # reading should have been paused: `wants_reply`
        return found

    def closed(self) -> list[Command]:
        """The connection ended."""
        if self.is_closed:
            return []
        self.stage = S.CLOSED
        self._buffer = b""
        self._waiting = None
        return [Gone()]

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is read."""
        return self.stage is S.CLOSED

    @property
    def wants_reply(self) -> bool:
        """Whether a command waits for its reply; reading is to pause meanwhile."""
        return self._waiting is not None

    # --- out ------------------------------------------------------------------------------------

    def greet(self) -> bytes:
        """The greeting; to be sent before anything is read."""
        assert self.stage is S.GREETING
        self.stage = S.START
        return replies.greeting(self.offer.host).render()

    def hello_reply(self) -> Reply:
        """What EHLO (or HELO) is answered with: our name and what we can do."""
        command = self._waiting
        assert isinstance(command, Hello)
        if not command.extended:
            return Reply(250, "", (self.offer.host,))
        return Reply(250, "", (f"{self.offer.host} greets you", *self.extensions()))

    def extensions(self) -> list[str]:
        """The keywords of EHLO as things stand."""
        offer = self.offer
        found = ["PIPELINING", f"SIZE {offer.size_max}", "8BITMIME", "SMTPUTF8", "CHUNKING"]
        found += ["ENHANCEDSTATUSCODES", "DSN"]
        found.append(f"LIMITS MAILMAX={offer.mails_max} RCPTMAX={offer.recipients_max}")
        if offer.tls and not self.tls:
            found.append("STARTTLS")
        if self._may_log_in():
            found.append("AUTH " + " ".join(sasl.MECHANISMS))
        return found

    def reply(self, answer: Reply) -> bytes:
        """The bytes of a reply to the command that waits; moves the stage."""
        command, self._waiting = self._waiting, None
        assert command is not None, "nobody asked"
        if type(command) is Token and answer.code >= 500 and self._sasl is not None:
            # RFC 7628 §3.2.3: the client hears why, says one more line, then fails
            self._sasl = _Sasl("OAUTHBEARER", failed=answer)
            return Reply(334, "", (sasl.FAILED_TOKEN,)).render()
        if answer.close:
            self.stage = S.CLOSED
        else:
            self._advance(command, good=answer.code < 400)
        return answer.render()

    def forget(self) -> None:
        """What came and was not taken counts for nothing: hands will be shaken."""
        assert self.stage is S.TLS
        self._buffer = b""

    def tls_started(self) -> None:
        """Hands are shaken: everything that was said before is forgotten (RFC 3207 §4.2)."""
        assert self.stage is S.TLS
        self.tls = True
        self.hello = None
        self.stage = S.START
        self._forget()

    def _advance(self, command: Command, *, good: bool) -> None:
        if isinstance(command, Malformed):
            self._errors += 1
        kind = type(command)
        if kind is DataEnd:
            self.stage = S.READY
            self._forget()
        elif kind is Login or kind is Token:
            self.logged_in = good
            self._sasl = None
            self.stage = S.READY
            self._errors += not good
        elif kind is ChunkEnd:
            if not good:  # RFC 3030 §2: the whole message has failed
                self.stage = S.READY
                self._forget()
        elif good and not isinstance(command, Answer):
            self._accepted(command)
        elif kind is Data:
            self._message = None
        elif kind is Rcpt:
            self._lost_recipients += 1
        elif kind is Mail:
            self._errors += 1

    def _accepted(self, command: Command) -> None:
        kind = type(command)
        if isinstance(command, Hello):
            self.hello = command
        if kind is Hello or kind is Reset:
            self._forget()
        elif isinstance(command, Mail):
            self._mail = command
            self._mails += 1
            self._recipients = 0
            self._idle_commands = 0
        elif kind is Rcpt:
            self._recipients += 1
        self.stage = NEXT[self.stage, self._verb]

    def _forget(self) -> None:
        """The transaction is over."""
        self._mail = None
        self._message = None
        self._recipients = 0

    # --- one command ----------------------------------------------------------------------------

    def _next(self) -> Command | None:
        if self._bdat_left >= 0:
            return self._next_chunk()
        if self.stage is S.DATA:
            return self._next_data()
        if self.stage is S.TLS or self.stage is S.GREETING:
            return None
        end = self._buffer.find(b"\r\n")
        line_max = limits.SMTP_AUTH_LINE_MAX if self._sasl_line() else limits.SMTP_LINE_MAX
        if end < 0:
            if len(self._buffer) > line_max:
                self._skipping = True
                # only the last byte may still be half of a line end
                self._buffer = self._buffer[-1:]
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        if self._skipping or len(line) > line_max:
            self._skipping = False
            self._sasl = None
            self.stage = S.READY if self.stage is S.AUTH else self.stage
            return Malformed(reply(500, "5.5.2", "Line too long"))
        if b"\n" in line or b"\r" in line:
            return Malformed(reply(500, "5.5.2", "Lines end with CR LF", close=True))
        if (
            self._errors >= limits.SMTP_ERRORS_MAX
            or self._lost_recipients >= limits.SMTP_LOST_RECIPIENTS_MAX
        ):
            return Malformed(replies.TOO_MANY_ERRORS)
        if self.stage is S.AUTH:
            return self._next_auth(line)
        return self._command(line)

    def _sasl_line(self) -> bool:
        return self.stage is S.AUTH or self._buffer[:5].upper() == b"AUTH "

    def _command(self, line: bytes) -> Command | None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return Malformed(reply(500, "5.5.2", "Commands are ASCII or UTF-8"))
        if "\0" in text:
            return Malformed(reply(500, "5.5.2", "Commands hold no NUL"))
        verb, _, argument = text.rstrip(" \t").partition(" ")
        verb = verb.upper()
        if verb not in _VERBS:
            return Malformed(reply(500, "5.5.1", "This command is not known here"))
        if verb == "BDAT":
            return self._start_chunk(argument)
        wrong = self._refused(verb, argument)
        if wrong is not None:
            return Malformed(wrong)
        self._verb = verb
        try:
            return self._read(verb, argument)
        except Wrong as error:
            return Malformed(error.answer)

    def _refused(self, verb: str, argument: str) -> Reply | None:
        """Why this command may not come now; None if it may."""
        if (self.stage, verb) not in NEXT:
            return _out_of_order(self.stage, verb)
        if argument and verb in _BARE:
            return reply(501, "5.5.4", f"{verb} takes no argument")
        if verb == "MAIL":
            return self._mail_refused()
        if verb == "STARTTLS" and (self.tls or not self.offer.tls):
            return reply(503, "5.5.1", "TLS cannot be started here")
        if verb == "AUTH":
            if self.offer.login and self.offer.tls_required and not self.tls:
                return reply(538, "5.7.11", "Start TLS first")
            if not self._may_log_in():
                return reply(503, "5.5.1", "There is nothing to log in to")
        return None

    def _mail_refused(self) -> Reply | None:
        offer = self.offer
        if offer.tls_required and not self.tls:
            return reply(530, "5.7.0", "Start TLS first")
        if offer.login_required and not self.logged_in:
            return reply(530, "5.7.0", "Log in first")
        if self._mails >= offer.mails_max:
            return reply(421, "4.5.3", "Enough for one connection, make another", close=True)
        return None

    def _may_log_in(self) -> bool:
        offer = self.offer
        return offer.login and not self.logged_in and (self.tls or not offer.tls_required)

    def _read(self, verb: str, argument: str) -> Command:
        if verb in ("EHLO", "HELO"):
            return grammar.hello(argument, extended=verb == "EHLO")
        if verb == "MAIL":
            command = grammar.mail(argument)
            if command.size is not None and command.size > self.offer.size_max:
                raise Wrong(self._too_large())
            return command
        if verb == "RCPT":
            if self._recipients >= self.offer.recipients_max:
                return Answer(reply(452, "4.5.3", "Enough recipients; send again for the others"))
            return grammar.rcpt(argument, utf8=self._mail is not None and self._mail.utf8)
        if verb == "DATA":
            self._message = _Message(self.offer.size_max)
            return Data()
        if verb == "AUTH":
            return self._start_auth(argument)
        if verb == "STARTTLS":
            return StartTls()
        if verb == "QUIT":
            return Quit()
        return self._idle(verb)

    def _idle(self, verb: str) -> Command:
        """What moves nothing; but not without end."""
        self._idle_commands += 1
        if self._idle_commands > limits.SMTP_IDLE_COMMANDS_MAX:
            return Malformed(replies.TOO_MANY_ERRORS)
        if verb == "RSET":
            return Reset()
        return Answer(_IDLE_REPLIES[verb])

    def _too_large(self) -> Reply:
        return reply(552, "5.3.4", f"A message may have {self.offer.size_max} bytes")

    # --- the message ----------------------------------------------------------------------------

    def _next_data(self) -> Command | None:
        message = self._message
        assert message is not None
        if not self._buffer:
            return None
        block, self._buffer = message.lines.feed(self._buffer)
        chunk = message.take(block)
        end = self._data_end(message) if message.lines.done else None
        if chunk is None:
            return end
        self._then = end
        return chunk

    def _data_end(self, message: _Message) -> Command:
        if message.lines.is_bare:
            return self._spoiled(reply(550, "5.6.0", "Lines of a message end with CR LF"))
        if message.size > self.offer.size_max:
            return self._spoiled(self._too_large())
        return DataEnd(message.size)

    def _spoiled(self, answer: Reply) -> Command:
        """The message is over and refused for what it is."""
        self.stage = S.READY
        self._forget()
        return Spoiled(answer)

    # --- BDAT: RFC 3030 -------------------------------------------------------------------------

    def _start_chunk(self, argument: str) -> Command | None:
        """Whatever is wrong, the bytes that were announced come, and are read past."""
        self._verb = "BDAT"
        size_text, _, last_text = argument.strip().partition(" ")
        last = last_text.strip().upper() == "LAST"
        if not size_text.isascii() or not size_text.isdigit() or len(size_text) > 15 or (
            last_text.strip() and not last
        ):  # fmt: skip
            return Malformed(reply(501, "5.5.4", "Say BDAT size [LAST]", close=True))
        wrong: Reply | None = None
        if (self.stage, "BDAT") not in NEXT:
            wrong = _out_of_order(self.stage, "BDAT")
        elif self._message is None:
            self._message = _Message(self.offer.size_max)
        if wrong is None:
            self.stage = S.CHUNKS
        self._bdat_left = int(size_text)
        self._bdat = _Bdat(self._bdat_left, last, wrong)
        return self._next_chunk()

    def _next_chunk(self) -> Command | None:
        bdat = self._bdat
        if self._bdat_left and self._buffer:
            piece = self._buffer[: self._bdat_left]
            self._buffer = self._buffer[len(piece) :]
            self._bdat_left -= len(piece)
            if bdat.wrong is None and self._message is not None:
                chunk = self._message.take(piece)
                if chunk is not None:
                    return chunk
        if self._bdat_left:
            return None
        self._bdat_left = -1
        if bdat.wrong is not None:
            return Malformed(bdat.wrong)
        message = self._message
        assert message is not None
        if message.size > self.offer.size_max:
            return self._spoiled(self._too_large())
        return DataEnd(message.size) if bdat.last else ChunkEnd(bdat.size)

    # --- AUTH: RFC 4954 -------------------------------------------------------------------------

    def _start_auth(self, argument: str) -> Command:
        name, _, initial = argument.strip().partition(" ")
        mechanism = name.upper()
        if mechanism not in sasl.MECHANISMS:
            raise Wrong(reply(504, "5.5.4", "This mechanism is not known here"))
        self._sasl = _Sasl(mechanism)
        if initial:
            return self._auth_message(initial.strip().encode())
        self.stage = S.AUTH
        return _prompt(sasl.USER_PROMPT if mechanism == "LOGIN" else "")

    def _next_auth(self, line: bytes) -> Command:
        found = self._sasl
        assert found is not None
        if found.failed is not None:
            self._end_auth()
            return Malformed(found.failed)
        if line == b"*":
            self._end_auth()
            return Malformed(reply(501, "5.7.0", "Given up"))
        return self._auth_message(line)

    def _auth_message(self, line: bytes) -> Command:
        found = self._sasl
        assert found is not None
        self.stage = S.AUTH
        message = sasl.decode(line)
        command: Command | None = None
        if message is None:
            pass
        elif found.mechanism == "PLAIN":
            command = sasl.plain(message)
        elif found.mechanism == "OAUTHBEARER":
            command = sasl.bearer(message)
        elif found.user is None:
            self._sasl = _Sasl("LOGIN", user=message)
            command = _prompt(sasl.PASSWORD_PROMPT) if message else None
        elif message:
            command = Login("LOGIN", found.user, message)
        if command is None:
            self._end_auth()
            return Malformed(reply(501, "5.5.2", "This is not what the mechanism says"))
        return command

    def _end_auth(self) -> None:
        self._sasl = None
        self.stage = S.READY


class _Sasl(msgspec.Struct, frozen=True):
    """Where AUTH stands."""

    mechanism: str
    user: str | None = None
    failed: Reply | None = None


class _Bdat(msgspec.Struct, frozen=True):
    """The chunk that comes."""

    size: int
    last: bool
    wrong: Reply | None


class _Message:
    """A message that comes; what is above the limit is counted and dropped."""

    __slots__ = ("_size_max", "lines", "size")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self.lines = Unstuffer()
        self.size = 0

    def take(self, block: bytes) -> Chunk | None:
        if not block:
            return None
        self.size += len(block)
        return Chunk(block) if self.size <= self._size_max and not self.lines.is_bare else None


_IDLE_REPLIES: Final = {
    "NOOP": replies.OK,
    "HELP": reply(214, "2.0.0", "RFC 5321 tells"),
    "VRFY": reply(252, "2.1.5", "Send to it and see"),
    "EXPN": reply(502, "5.5.1", "Lists are not told"),
}


def _prompt(text: str) -> Answer:
    return Answer(Reply(334, "", (text,)))


def _out_of_order(stage: Stage, verb: str) -> Reply:
    if stage is S.START:
        return reply(503, "5.5.1", "Say EHLO first")
    if verb in ("RCPT", "DATA", "BDAT") and stage is S.READY:
        return reply(503, "5.5.1", "Say MAIL first")
    if verb in ("DATA", "BDAT"):
        return reply(554, "5.5.1", "There is no valid recipient")
    return reply(503, "5.5.1", f"{verb} may not come now")
