"""The client's side of SMTP, sans-IO: one connection that hands on one message or several.

    out = client.send(envelope)       # when `Ready` has come
    events = client.feed(data)        # what the server said means
    out = client.take()               # what is to be sent now; ask after every call

The driver brings bytes, time limits and TLS. Commands are pipelined where the server allows it.
Every recipient gets its own result, and a result is never better than what the server confirmed:
where the connection breaks after the message was sent, `unsure` says so.
"""

# RFC 5321 §3, §4.2; RFC 2920 §3.1, RFC 3207, RFC 3461, RFC 6531, RFC 9422

from __future__ import annotations

import enum
import re
from base64 import b64encode
from collections import deque
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.smtp.dots import Stuffer
from kerwen.smtp.grammar import to_xtext
from kerwen.smtp.heard import Heard, failure_status

_REPLY: Final = re.compile(r"([2-5][0-9][0-9])(?:([ -])(.*))?")
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|\Z)")
_LIMIT: Final = re.compile(r"([A-Z]+)=([0-9]{1,9})")


class Verdict(enum.Enum):
    """What is to become of a recipient."""

    SENT = "sent"
    LATER = "later"  # try again
    NEVER = "never"  # tell the sender


class Step(enum.Enum):
    """What was being done."""

    GREETING = "greeting"
    HELLO = "hello"
    TLS = "tls"
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END = "end"


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """One recipient, and what RFC 3461 has about it."""

    address: str
    notify: tuple[str, ...] | None = None  # empty means NEVER
    original: str | None = None  # `rfc822;…`, decoded


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent; an empty `sender` is `<>`."""

    sender: str
    recipients: tuple[Recipient, ...]
    size: int
    eight_bit: bool = False
    utf8: bool = False  # an address or the header needs SMTPUTF8
    ret_full: bool | None = None
    envelope_id: str | None = None
    require_tls: bool = False  # RFC 8689


class Event(msgspec.Struct, frozen=True):
    """What has come to pass."""


class StartTls(Event, frozen=True):
    """The server is ready: shake hands, then call `tls_started`."""


class Ready(Event, frozen=True):
    """A message may be sent."""


class SendBody(Event, frozen=True):
    """The server takes the message: give its bytes to `body`, then call `end_body`."""


class Result(msgspec.Struct, frozen=True):
    """What became of one recipient. `heard` is None where we judged ourselves: see `why`."""

    recipient: Recipient
    verdict: Verdict
    step: Step
    heard: Heard | None
    status: str
    why: str


class Done(Event, frozen=True):
    """The message is dealt with; `rest` was not tried on this connection (RFC 9422 RCPTMAX)."""

    results: tuple[Result, ...]
    rest: tuple[Recipient, ...] = ()


class Broken(Event, frozen=True):
    """The connection is of no use any more. If a message was under way, its results stand here.

    `unsure`: the message was sent and the answer did not come; it may have arrived.
    """

    step: Step
    verdict: Verdict
    heard: Heard | None
    why: str
    results: tuple[Result, ...] = ()
    unsure: bool = False


class Stage(enum.Enum):
    """Where the connection stands."""

    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"  # asked for
    SHAKING = "shaking"
    LOGIN = "login"
    READY = "ready"
    ENVELOPE = "envelope"
    BODY = "body"
    END = "end"  # the dot is sent
    DISCARD = "discard"  # the server wants a message that nobody gets
    RESET = "reset"
    QUITTING = "quitting"
    CLOSED = "closed"


class Security(enum.Enum):
    """What is asked of TLS."""

    NONE = "none"  # never (tests, or TLS that failed before where that is allowed)
    IF_OFFERED = "if offered"
    REQUIRED = "required"  # MTA-STS, DANE, or the operator says so


_STEPS: Final = {
    Stage.GREETING: Step.GREETING,
    Stage.HELLO: Step.HELLO,
    Stage.STARTTLS: Step.TLS,
    Stage.SHAKING: Step.TLS,
    Stage.LOGIN: Step.LOGIN,
    Stage.BODY: Step.DATA,
    Stage.END: Step.END,
}


class ClientProtocol:
    """One connection to another server; `login` is our name and password there, if any.

    `tls`: the connection began with TLS already. `peer`: what the server calls itself.
    """

    def __init__(
        self,
        host: str,
        security: Security = Security.IF_OFFERED,
        login: tuple[str, str] | None = None,
        *,
        tls: bool = False,
    ) -> None:
        self._host = host
        self._security = security
        self._login = login
        self._secrets: list[bytes] = []
        self.stage = Stage.GREETING
        self.tls = tls
        self.peer = ""
        self.extensions: dict[str, str] = {}
        self._extended = True
        self._buffer = b""
        self._lines: list[str] = []
        self._code = ""
        self._out: list[bytes] = []
        self._asked: deque[tuple[Step, int]] = deque()  # replies that are still to come
        self._unsent: deque[tuple[Step, int, bytes]] = deque()  # without pipelining
        self._envelope: Envelope | None = None
        self._results: dict[int, Result] = {}
        self._accepted: list[tuple[int, Heard]] = []
        self._rest: tuple[Recipient, ...] = ()
        self._stuffer = Stuffer()

    # --- what the driver calls ------------------------------------------------------------------

    def take(self) -> bytes:
        """What is to be sent now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    @property
    def recipients_max(self) -> int | None:
        """How many recipients the server takes at once, where it says."""
        found = dict(_LIMIT.findall(self.extensions.get("LIMITS", "").upper())).get("RCPTMAX")
        return max(int(found), 1) if found else None

    def tls_started(self) -> list[Event]:
        """Hands are shaken; what was heard in clear is forgotten (RFC 3207 §4.2)."""
        assert self.stage is Stage.SHAKING
        self.tls = True
        self._buffer = b""
        self.extensions = {}
        self._say_hello()
        return []

    def tls_failed(self, why: str) -> list[Event]:
        """Hands could not be shaken. Whether to try without TLS is the caller's question."""
        return self._broken(Verdict.LATER, None, why)

    def send(self, envelope: Envelope) -> list[Event]:
        """Begins a message; `Ready` must have come."""
        assert self.stage is Stage.READY
        assert envelope.recipients
        self._envelope = envelope
        self._results = {}
        self._accepted = []
        most = self.recipients_max
        self._rest = envelope.recipients[most:] if most is not None else ()
        count = len(envelope.recipients) - len(self._rest)
        refusal = self._unfit(envelope)
        if refusal is not None:
            self._envelope = None  # our own judgement, before anything was said
            told = (
                Result(to, Verdict.NEVER, Step.MAIL, None, *refusal) for to in envelope.recipients
            )
            return [Done(tuple(told))]
        self.stage = Stage.ENVELOPE
        commands = [(Step.MAIL, -1, self._mail_line(envelope))]
        commands += [
            (Step.RCPT, number, self._rcpt_line(envelope.recipients[number]))
            for number in range(count)
        ]
        if "PIPELINING" in self.extensions:
            commands.append((Step.DATA, -1, b"DATA\r\n"))
            for step, number, line in commands:
                self._say(step, number, line)
        else:
            self._unsent = deque(commands)
            self._say_next()
        return []

    def body(self, piece: bytes) -> None:
        """A piece of the message, CRLF between its lines."""
        assert self.stage is Stage.BODY
        self._out.append(self._stuffer.feed(piece))

    def end_body(self) -> None:
        """The message is whole."""
        assert self.stage is Stage.BODY
        self._out.append(self._stuffer.end())
        self._asked.append((Step.END, -1))
        self.stage = Stage.END

    def quit(self) -> None:
        """Says goodbye, if there is nothing under way."""
        if self.stage is Stage.READY:
            self._out.append(b"QUIT\r\n")
            self.stage = Stage.QUITTING

    def feed(self, data: bytes) -> list[Event]:
        """What the server said."""
        events: list[Event] = []
        self._buffer += data
        while self.stage not in (Stage.CLOSED, Stage.SHAKING):
            end = self._buffer.find(b"\n")
            if end < 0 or end > limits.SMTP_REPLY_LINE_MAX:
                if max(end, len(self._buffer)) > limits.SMTP_REPLY_LINE_MAX:
                    events += self._broken(Verdict.LATER, None, "a reply without end")
                break
            line = self._buffer[:end].rstrip(b"\r").decode("utf-8", "replace")
            self._buffer = self._buffer[end + 1 :]
            heard = self._line(line)
            if heard is _NONSENSE:
                events += self._broken(Verdict.LATER, None, f"no reply of SMTP: {line[:100]}")
            elif heard is not None:
                events += self._heard(heard)
        return events

    def closed(self, why: str = "the connection ended") -> list[Event]:
        """The connection ended, or its time was over."""
        if self.stage is Stage.CLOSED:
            return []
        if self.stage in (Stage.QUITTING, Stage.READY):
            self.stage = Stage.CLOSED
            return []
        return self._broken(Verdict.LATER, None, why)

    # --- replies --------------------------------------------------------------------------------

    def _line(self, line: str) -> Heard | None:
        match = _REPLY.fullmatch(line)
        if match is None or (self._code and match[1] != self._code):
            return _NONSENSE
        text = match[3] or ""
        self._code = match[1]
        if len(self._lines) < limits.SMTP_REPLY_LINES_MAX:
            self._lines.append(text)
        if match[2] == "-":
            return None
        lines, self._lines, self._code = self._lines, [], ""
        found = _ENHANCED.match(lines[0])
        enhanced = found[1] if found and found[1][0] == match[1][0] else ""
        return Heard(int(match[1]), enhanced, tuple(lines))

    def _heard(self, heard: Heard) -> list[Event]:
        if heard.code == 421 and self.stage is not Stage.QUITTING:
            # RFC 5321 §3.8: it may come at any time, and the server goes
            return self._broken(Verdict.LATER, heard, heard.text)
        return _HEARD[self.stage](self, heard)

    def _heard_greeting(self, heard: Heard) -> list[Event]:
        if heard.code == 220:
            self._say_hello()
            return []
        # RFC 7504: a host that takes no mail at all says 521; 554 may mean our address, just now
        verdict = Verdict.NEVER if heard.code == 521 else Verdict.LATER
        return self._broken(verdict, heard, heard.text)

    def _say_hello(self) -> None:
        verb = b"EHLO" if self._extended else b"HELO"
        self._out.append(b"%b %b\r\n" % (verb, self._host.encode("ascii", "replace")))
        self.stage = Stage.HELLO

    def _heard_hello(self, heard: Heard) -> list[Event]:
        if heard.code // 100 == 5 and self._extended:
            self._extended = False
            self._say_hello()
            return []
        if heard.code // 100 != 2:
            return self._broken(_verdict(heard), heard, heard.text)
        self.peer = heard.lines[0].partition(" ")[0].lower()
        if self._extended:
            for line in heard.lines[1:]:
                keyword, _, argument = line.partition(" ")
                self.extensions[keyword.upper()] = argument
        if not self.tls and self._security is not Security.NONE:
            if "STARTTLS" in self.extensions:
                self._out.append(b"STARTTLS\r\n")
                self.stage = Stage.STARTTLS
                return []
            if self._security is Security.REQUIRED:
                return self._broken(Verdict.LATER, None, "TLS is required and not offered")
        return self._say_login()

    def _say_login(self) -> list[Event]:
        """Logs in where that was asked for (RFC 4954; LOGIN for servers that know no better)."""
        if self._login is None:
            self.stage = Stage.READY
            return [Ready()]
        offered = self.extensions.get("AUTH", "").upper().split()
        name, password = (part.encode() for part in self._login)
        if "PLAIN" in offered:
            self._secrets, line = [], b"AUTH PLAIN " + b64encode(b"\0%b\0%b" % (name, password))
        elif "LOGIN" in offered:
            self._secrets, line = [b64encode(password), b64encode(name)], b"AUTH LOGIN"
        else:
            return self._broken(Verdict.LATER, None, "no way to log in that we know is offered")
        self._out.append(line + b"\r\n")
        self.stage = Stage.LOGIN
        return []

    def _heard_login(self, heard: Heard) -> list[Event]:
        if heard.code == 334 and self._secrets:
            self._out.append(self._secrets.pop() + b"\r\n")
            return []
        if heard.code != 235:
            # a wrong password is the operator's to mend: no message fails for it
            return self._broken(Verdict.LATER, heard, heard.text)
        self.stage = Stage.READY
        return [Ready()]

    def _heard_starttls(self, heard: Heard) -> list[Event]:
        if heard.code == 220:
            self.stage = Stage.SHAKING
            return [StartTls()]
        if self._security is Security.REQUIRED:
            return self._broken(Verdict.LATER, heard, heard.text)
        return self._say_login()

    def _heard_nothing_asked(self, heard: Heard) -> list[Event]:
        return self._broken(Verdict.LATER, heard, "a reply to nothing")

    def _heard_envelope(self, heard: Heard) -> list[Event]:
        if not self._asked:
            return self._heard_nothing_asked(heard)
        step, number = self._asked.popleft()
        if step is Step.MAIL:
            if heard.code // 100 != 2:
                self._fail_all(_verdict(heard), step, heard)
        elif step is Step.RCPT:
            self._heard_rcpt(number, heard)
        else:
            return self._heard_data(heard)
        return self._say_next()

    def _heard_rcpt(self, number: int, heard: Heard) -> None:
        if number in self._results:
            return  # MAIL failed, and this one after it
        if heard.code // 100 == 2:
            self._accepted.append((number, heard))
        else:
            # RFC 5321 §4.5.3.1.10: 552 for too many recipients means 452
            verdict = Verdict.LATER if heard.code == 552 else _verdict(heard)
            self._set(number, verdict, Step.RCPT, heard)

    def _say_next(self) -> list[Event]:
        """Without pipelining: the next command, or the end where nothing is left to say."""
        if self._asked:
            return []
        assert self._envelope is not None
        if len(self._results) >= len(self._envelope.recipients) - len(self._rest):
            return self._end_without_body()
        if self._unsent:
            self._say(*self._unsent.popleft())
        else:
            self._say(Step.DATA, -1, b"DATA\r\n")
        return []

    def _end_without_body(self) -> list[Event]:
        self._unsent.clear()
        self._out.append(b"RSET\r\n")
        self.stage = Stage.RESET
        return []

    def _heard_data(self, heard: Heard) -> list[Event]:
        live = [number for number, _ in self._accepted if number not in self._results]
        if heard.code == 354:
            self._stuffer = Stuffer()
            if live:
                self.stage = Stage.BODY
                return [SendBody()]
            # RFC 2920 §3.1: DATA was accepted though no recipient was; an empty message ends it
            self._out.append(b".\r\n")
            self.stage = Stage.DISCARD
            return []
        # a 2xx here is nonsense: nothing has been sent yet, so nothing was accepted
        verdict = Verdict.NEVER if heard.code // 100 == 5 else Verdict.LATER
        for number in live:
            self._set(number, verdict, Step.DATA, heard)
        return self._end_without_body()

    def _heard_early(self, heard: Heard) -> list[Event]:
        """The server answers before the message has ended: it will not have it."""
        verdict = Verdict.NEVER if heard.code // 100 == 5 else Verdict.LATER
        return self._broken(verdict, heard, heard.text)

    def _heard_end(self, heard: Heard) -> list[Event]:
        self._asked.popleft()
        for number, _ in self._accepted:
            if number not in self._results:
                self._set(number, _verdict(heard), Step.END, heard)
        return self._done()

    def _heard_discard(self, heard: Heard) -> list[Event]:
        return self._done()

    def _heard_reset(self, heard: Heard) -> list[Event]:
        if heard.code // 100 != 2:
            return self._broken(Verdict.LATER, heard, heard.text)
        return self._done()

    def _heard_quit(self, heard: Heard) -> list[Event]:
        self.stage = Stage.CLOSED
        return []

    # --- results --------------------------------------------------------------------------------

    def _set(self, number: int, verdict: Verdict, step: Step, heard: Heard) -> None:
        assert self._envelope is not None
        recipient = self._envelope.recipients[number]
        status = heard.status if verdict is Verdict.SENT else failure_status(heard)
        self._results[number] = Result(recipient, verdict, step, heard, status, heard.text)

    def _fail_all(self, verdict: Verdict, step: Step, heard: Heard) -> None:
        assert self._envelope is not None
        for number in range(len(self._envelope.recipients) - len(self._rest)):
            self._set(number, verdict, step, heard)

    def _done(self) -> list[Event]:
        results = tuple(self._results[number] for number in sorted(self._results))
        self._envelope = None
        self.stage = Stage.READY
        self._asked.clear()
        return [Done(results, self._rest), Ready()]

    def _broken(self, verdict: Verdict, heard: Heard | None, why: str) -> list[Event]:
        """The end of the connection; recipients without a result get this one."""
        step = _STEPS.get(self.stage)
        if step is None:
            step = self._asked[0][0] if self._asked else Step.MAIL
        unsure = self.stage is Stage.END and heard is None
        self.stage = Stage.CLOSED
        results: tuple[Result, ...] = ()
        if self._envelope is not None:
            status = failure_status(heard)
            for number, recipient in enumerate(self._envelope.recipients):
                if number not in self._results:
                    self._results[number] = Result(recipient, verdict, step, heard, status, why)
            results = tuple(self._results[number] for number in sorted(self._results))
            self._envelope = None
        return [Broken(step, verdict, heard, why, results, unsure)]

    # --- commands -------------------------------------------------------------------------------

    def _say(self, step: Step, number: int, line: bytes) -> None:
        self._out.append(line)
        self._asked.append((step, number))

    def _unfit(self, envelope: Envelope) -> tuple[str, str] | None:
        """Why this server cannot take the message, as status and words."""
        if envelope.require_tls and "REQUIRETLS" not in self.extensions:
            return "5.7.30", "The server does not promise to pass it on by TLS alone"
        if envelope.utf8 and "SMTPUTF8" not in self.extensions:
            return "5.6.7", "The server does not take addresses beyond ASCII"
        most = self.extensions.get("SIZE", "").strip()
        if most.isdigit() and 0 < int(most) < envelope.size:
            return "5.3.4", f"The server takes {most} bytes, the message has {envelope.size}"
        return None

    def _mail_line(self, envelope: Envelope) -> bytes:
        line = f"MAIL FROM:<{envelope.sender}>"
        if "SIZE" in self.extensions:
            line += f" SIZE={envelope.size}"
        if envelope.eight_bit and "8BITMIME" in self.extensions:
            line += " BODY=8BITMIME"
        if envelope.utf8:
            line += " SMTPUTF8"
        if envelope.require_tls:
            line += " REQUIRETLS"
        if "DSN" in self.extensions:
            if envelope.ret_full is not None:
                line += " RET=FULL" if envelope.ret_full else " RET=HDRS"
            if envelope.envelope_id:
                line += f" ENVID={to_xtext(envelope.envelope_id)}"
        return _one_line(line)

    def _rcpt_line(self, recipient: Recipient) -> bytes:
        line = f"RCPT TO:<{recipient.address}>"
        if "DSN" in self.extensions:
            if recipient.notify is not None:
                line += " NOTIFY=" + (",".join(sorted(recipient.notify)) or "NEVER")
            if recipient.original and recipient.original.isascii():
                kind, _, address = recipient.original.partition(";")
                line += f" ORCPT={kind};{to_xtext(address)}"
        return _one_line(line)


_NONSENSE: Final = Heard(0, "", ())
_HEARD: Final = {
    Stage.GREETING: ClientProtocol._heard_greeting,
    Stage.HELLO: ClientProtocol._heard_hello,
    Stage.STARTTLS: ClientProtocol._heard_starttls,
    Stage.LOGIN: ClientProtocol._heard_login,
    Stage.READY: ClientProtocol._heard_nothing_asked,
    Stage.ENVELOPE: ClientProtocol._heard_envelope,
    Stage.BODY: ClientProtocol._heard_early,
    Stage.END: ClientProtocol._heard_end,
    Stage.DISCARD: ClientProtocol._heard_discard,
    Stage.RESET: ClientProtocol._heard_reset,
    Stage.QUITTING: ClientProtocol._heard_quit,
}


def _verdict(heard: Heard) -> Verdict:
    if heard.code // 100 == 2:
        return Verdict.SENT
    return Verdict.NEVER if heard.code // 100 == 5 else Verdict.LATER


def _one_line(text: str) -> bytes:
    """A command; what could end it early never stands in an address that we accepted."""
    assert "\r" not in text
    assert "\n" not in text
    return text.encode() + b"\r\n"
