"""What a script wants done with a message. Nothing of it is done here."""

from __future__ import annotations

from typing import Final

import msgspec

INBOX: Final = ""
"""The mailbox of `keep`: where the message would go without a script."""


class Fault(Exception):
    """A script went wrong while it ran; the message is kept."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text, line)
        self.text = text
        self.line = line


class Filed(msgspec.Struct, frozen=True):
    """A copy in a mailbox. `header`: which of the message's headers it has (0: as it came)."""

    mailbox: str = INBOX
    flags: tuple[str, ...] = ()
    create: bool = False
    special: str = ""  # the mailbox of this special use, if there is one
    header: int = 0


class Redirect(msgspec.Struct, frozen=True):
    """The message goes on to an address."""

    address: str
    header: int = 0


class Reject(msgspec.Struct, frozen=True):
    """The message is refused; its sender is told why."""

    reason: str
    extended: bool  # `ereject`: by the protocol, if that can be


class Reply(msgspec.Struct, frozen=True):
    """`vacation`: who wrote is answered, once in `seconds`."""

    reason: str
    seconds: int
    subject: str | None = None
    sender: str | None = None  # `:from`
    addresses: tuple[str, ...] = ()
    mime: bool = False
    handle: str = ""


class Remember(msgspec.Struct, frozen=True):
    """What a `duplicate` test is to know from now on, for so many seconds."""

    key: bytes
    seconds: int
    again: bool  # `:last`: known ones are known longer


class Outcome(msgspec.Struct, frozen=True):
    """All of it. `fault`: what went wrong, and the message is kept; `ask`: what must be known
    first (whether a `duplicate` test has seen a key)."""

    filed: tuple[Filed, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    reject: Reject | None = None
    reply: Reply | None = None
    remember: tuple[Remember, ...] = ()
    fault: Fault | None = None
    ask: bytes | None = None
    steps: int = 0


class Facts(msgspec.Struct, frozen=True):
    """What a script may ask beside the message. `mailboxes`: each with its special use, empty for
    none; `seen`: of keys of `duplicate` tests, whether they came before."""

    now_ms: int
    mailboxes: dict[str, str] = {}
    seen: dict[bytes, bool] = {}
