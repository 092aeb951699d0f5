"""What a client of ours may say over SMTP, as nouns: what `protocol.feed` gives."""

# RFC 5321 §4.1.1; RFC 3207, 3030, 3461, 4954, 6531

from __future__ import annotations

import msgspec

from kerwen.smtp.address import Address
from kerwen.smtp.replies import Reply


class Command(msgspec.Struct, frozen=True, gc=False):
    """One command. All but `Chunk` want a reply."""


class Hello(Command, frozen=True, gc=False):
    """EHLO or HELO. A fresh start: a transaction that was open is over."""

    name: str
    extended: bool


class Mail(Command, frozen=True, gc=False):
    """MAIL FROM. `sender` is None for `<>`."""

    sender: Address | None
    size: int | None = None  # as announced
    eight_bit: bool = False  # BODY=8BITMIME
    utf8: bool = False  # SMTPUTF8
    ret_full: bool | None = None  # RET: the whole message, or its header, in a report
    envelope_id: str | None = None  # ENVID, decoded


class Rcpt(Command, frozen=True, gc=False):
    """RCPT TO. `notify` is None where nothing was said; empty means NEVER."""

    recipient: Address
    notify: frozenset[str] | None = None  # SUCCESS, FAILURE, DELAY
    original: str | None = None  # ORCPT, `rfc822;…`, decoded


class Data(Command, frozen=True, gc=False):
    """DATA. Reply 354 to go on."""


class Chunk(Command, frozen=True, gc=False):
    """Bytes of the message, unstuffed. Wants no reply."""

    data: bytes


class ChunkEnd(Command, frozen=True, gc=False):
    """The end of a BDAT that is not the last."""

    size: int  # of that chunk


class DataEnd(Command, frozen=True, gc=False):
    """The end of the message, by DATA or by the last BDAT."""

    size: int  # of the whole message


class Reset(Command, frozen=True, gc=False):
    """RSET."""


class StartTls(Command, frozen=True, gc=False):
    """STARTTLS. Reply 220, call `forget`, shake hands, then call `tls_started`."""


class Login(Command, frozen=True, gc=False):
    """A user and a password, by PLAIN or LOGIN."""

    mechanism: str
    user: str
    password: str
    authorize: str = ""  # whom to act for, if not the user

    def __repr__(self) -> str:
        return f"Login({self.mechanism!r}, {self.user!r}, …)"


class Token(Command, frozen=True, gc=False):
    """An access token, by OAUTHBEARER."""

    user: str
    token: str

    def __repr__(self) -> str:
        return f"Token({self.user!r}, …)"


class Quit(Command, frozen=True, gc=False):
    """QUIT."""


class Answer(Command, frozen=True, gc=False):
    """What the protocol answers itself: give `reply` back to it."""

    reply: Reply


class Malformed(Answer, frozen=True, gc=False):
    """What was wrong: give `reply` back to the protocol; worth a count of errors."""


class Spoiled(Malformed, frozen=True, gc=False):
    """The message that came is refused for what it is: its chunks are to be thrown away."""


class Gone(Command, frozen=True, gc=False):
    """The connection ended. Wants no reply; what was not confirmed was not received."""
