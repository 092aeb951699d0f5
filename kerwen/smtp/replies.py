"""SMTP replies: how each reason reads as a code and an enhanced code."""

# RFC 5321 §4.2; RFC 3463, RFC 5248 (enhanced codes)

from __future__ import annotations

import functools
import re
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused, Unavailable, Unready

R = Reason

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]+")
_TEXT_MAX: Final = 400


class Reply(msgspec.Struct, frozen=True, gc=False):
    """One reply. `close` says that the connection ends after it."""

    code: int
    enhanced: str
    lines: tuple[str, ...]
    close: bool = False

    def render(self) -> bytes:
        """The bytes of the reply; every line but the last has a hyphen."""
        return _rendered(self)

    def _render(self) -> bytes:
        lines = self.lines or ("",)
        told = f"{self.enhanced} " if self.enhanced else ""
        last = len(lines) - 1
        return "".join(
            f"{self.code}{' ' if place == last else '-'}{told}{_fit(line)}\r\n"
            for place, line in enumerate(lines)
        ).encode()


@functools.lru_cache(maxsize=256)
def _rendered(answer: Reply) -> bytes:
    """Most replies are said again and again."""
    return answer._render()


def _fit(text: str) -> str:
    return _UNFIT.sub(" ", text)[:_TEXT_MAX]


def reply(code: int, enhanced: str, text: str, *, close: bool = False) -> Reply:
    """A reply of one line."""
    return Reply(code, enhanced, (text,), close)


OK: Final = reply(250, "2.0.0", "OK")
RESET: Final = reply(250, "2.0.0", "Forgotten")
SENDER_OK: Final = reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK: Final = reply(250, "2.1.5", "Recipient OK")
GO_AHEAD: Final = reply(354, "", "Go ahead; end with a dot alone")
READY_FOR_TLS: Final = reply(220, "2.0.0", "Ready for TLS")
LOGGED_IN: Final = reply(235, "2.7.0", "Welcome")
BYE: Final = reply(221, "2.0.0", "Goodbye", close=True)
STOPPING: Final = reply(421, "4.3.2", "The server is stopping", close=True)
IDLE: Final = reply(421, "4.4.2", "You said nothing for too long", close=True)
TOO_MANY_ERRORS: Final = reply(421, "4.7.0", "Too many errors", close=True)
TOO_BUSY: Final = reply(421, "4.3.2", "Too many connections, try again later", close=True)


def received(queue_id: str) -> Reply:
    """The message is ours now."""
    return reply(250, "2.0.0", f"Received as {queue_id}")


def greeting(host: str) -> Reply:
    """The first line of a connection."""
    return Reply(220, "", (f"{host} ESMTP",))


CODES: Final[dict[Reason, tuple[int, str]]] = {
    # mail
    R.UNKNOWN_RECIPIENT: (550, "5.1.1"),
    R.UNKNOWN_SENDER_DOMAIN: (550, "5.1.8"),
    R.BAD_ADDRESS: (553, "5.1.3"),
    R.RELAY_REFUSED: (550, "5.7.1"),
    R.SENDER_NOT_YOURS: (553, "5.7.1"),
    R.LOGIN_REQUIRED: (530, "5.7.0"),
    R.ENCRYPTION_REQUIRED: (530, "5.7.0"),
    R.TOO_MANY_RECIPIENTS: (452, "4.5.3"),
    R.MAILBOX_FULL: (452, "4.2.2"),  # it may be tidied up meanwhile
    R.MAIL_LOOP: (554, "5.4.6"),
    R.MALFORMED_MESSAGE: (554, "5.6.0"),
    R.UNAUTHENTIC_MAIL: (550, "5.7.26"),  # RFC 7372
    R.MAIL_POLICY: (550, "5.7.1"),
    R.UNKNOWN_MAILBOX: (550, "5.2.0"),
    R.MAILBOX_IN_USE: (550, "5.2.0"),
    R.BAD_MAILBOX_NAME: (550, "5.2.0"),
    R.TOO_MANY_MAILBOXES: (550, "5.2.0"),
    R.BAD_FLAG: (554, "5.0.0"),
    R.MESSAGE_GONE: (554, "5.0.0"),
    # who asks
    R.MISSING_TOKEN: (530, "5.7.0"),
    R.UNKNOWN_TOKEN: (535, "5.7.8"),
    R.EXPIRED_TOKEN: (535, "5.7.8"),
    R.FORBIDDEN: (550, "5.7.1"),
    R.WRONG_PASSWORD: (535, "5.7.8"),
    R.SECOND_FACTOR_NEEDED: (534, "5.7.9"),  # RFC 4954 §6: a stronger mechanism is needed
    R.WRONG_CODE: (535, "5.7.8"),
    R.LIMIT_EXCEEDED: (451, "4.7.1"),
    R.ACCOUNT_LOCKED: (535, "5.7.1"),
    R.ACCOUNT_SUSPENDED: (550, "5.7.1"),
    R.ACCOUNT_DEACTIVATED: (550, "5.2.1"),
    R.GUESTS_REFUSED: (550, "5.7.1"),
    R.UNSUPPORTED_LOGIN: (504, "5.5.4"),
    # size and quota
    R.TOO_LARGE: (552, "5.3.4"),
    R.OVER_QUOTA: (552, "5.2.2"),
    # vault
    R.VAULT_CLOSED: (554, "5.7.0"),
    R.BOX_DAMAGED: (554, "5.3.0"),
}
for _foreign in Reason:  # what belongs to other doors can hardly come to this one
    CODES.setdefault(_foreign, (554, "5.0.0"))

UNREADY: Final[dict[Unready, tuple[int, str]]] = {
    Unready.BUSY: (451, "4.3.2"),
    Unready.DISK_FULL: (452, "4.3.1"),
    Unready.DISK_FAULT: (451, "4.3.0"),
    Unready.DATABASE_AWAY: (451, "4.3.0"),
    Unready.STOPPING: (421, "4.3.2"),
    Unready.TIMEOUT: (451, "4.4.5"),
    Unready.GREYLISTED: (451, "4.7.1"),
    Unready.DNS_AWAY: (451, "4.4.3"),
    Unready.NOT_YET_OPENED: (450, "4.2.1"),
    Unready.CALLS_AWAY: (451, "4.3.0"),
}


def refusal(error: Refused) -> Reply:
    """The reply to what we will not do."""
    code, enhanced = CODES[error.reason]
    return reply(code, enhanced, error.public_text)


def unavailability(error: Unavailable) -> Reply:
    """The reply to what we cannot do now."""
    code, enhanced = UNREADY[error.reason]
    text = f"Try again later: {error.reason.value.replace('_', ' ')}"
    return reply(code, enhanced, text, close=code == 421)
