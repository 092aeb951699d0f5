"""What the commands of POP3 mean: the messages of INBOX as they were at log-in."""

# RFC 1939; RFC 2449 (CAPA); RFC 2595 (STLS); RFC 5034 (AUTH); RFC 6856 (UTF8)

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.actions.expunge import Expunge
from kerwen.mail.actions.mailboxes import INBOX, Mailboxes
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sign_in import SignedIn, SignIn
from kerwen.mail.actions.views import View, Views
from kerwen.net import sasl
from kerwen.net.line_door import LineConnection
from kerwen.net.sasl import Shown
from kerwen.pop3.protocol import Answer, Command, Item, Reader, err, ok, stuffed, top

FAILURES_MAX: Final = 3
BAD_MAX: Final = 20  # in a row
_MECHANISMS: Final = {"PLAIN": sasl.plain, "OAUTHBEARER": sasl.oauth_bearer}
_EARLY: Final = frozenset({"USER", "PASS", "AUTH", "STLS", "UTF8"})
_ANY: Final = frozenset({"CAPA", "QUIT", "NOOP"})
_AUTH_CODES: Final = frozenset(
    {
        Reason.WRONG_PASSWORD,
        Reason.SECOND_FACTOR_NEEDED,
        Reason.UNKNOWN_TOKEN,
        Reason.EXPIRED_TOKEN,
        Reason.ACCOUNT_LOCKED,
    }
)


@dataclass(frozen=True, slots=True)
class Deeds:
    """What the door may call."""

    sign_in: SignIn
    mailboxes: Mailboxes
    views: Views
    records: Records
    expunge: Expunge
    spend: Callable[[str], None]
    """Counts a log-in from a network address; `Refused(LIMIT_EXCEEDED)`."""
    proved: Callable[[str], None]
    """Takes that back: the log-in was right. Programs look for mail every few minutes."""


class Session:
    """One client's conversation."""

    def __init__(self, deeds: Deeds, line: LineConnection[Item]) -> None:
        self._deeds = deeds
        self._line = line
        self.reader = Reader()
        self._signed: SignedIn | None = None
        self._view: View | None = None
        self._deleted: set[int] = set()  # places
        self._user: str | None = None
        self._mechanism = ""  # of an AUTH that waits for its answer
        self._failures = 0
        self._bad = 0

    @property
    def is_in(self) -> bool:
        """Whether somebody is logged in."""
        return self._signed is not None

    def greeting(self) -> bytes:
        """The first line."""
        return ok("Kerwen is ready")

    def goodbye(self, why: str) -> bytes:
        """The last line."""
        return err(why, "SYS/TEMP")

    def close(self) -> None:
        """The connection is gone; without QUIT nothing is deleted (RFC 1939 §3)."""
        self._view = None
        if self._signed is not None:
            self._signed.close()
            self._signed = None

    async def do(self, item: Item) -> None:
        """Does a command."""
        try:
            if isinstance(item, Answer):
                await self._answered(item.data)
            elif isinstance(item, Command):
                await self._command(item)
            else:
                self._line.hang_up(err("This line is too long"))
        except Refused as refusal:
            code = "AUTH" if refusal.reason in _AUTH_CODES else ""
            if refusal.reason is Reason.LIMIT_EXCEEDED:
                code = "SYS/TEMP"
            self._line.say(err(refusal.public_text, code))
        except Unavailable:
            self._line.say(err("The server cannot do this now", "SYS/TEMP"))

    async def _command(self, command: Command) -> None:
        handler = _COMMANDS.get(command.name)
        if handler is None:
            self._wrong("There is no such command")
        elif command.name in _EARLY and self.is_in:
            self._wrong("Somebody is logged in already")
        elif command.name not in _EARLY | _ANY and not self.is_in:
            self._wrong("Log in first")
        else:
            self._bad = 0
            await handler(self, command)

    def _wrong(self, text: str) -> None:
        self._bad += 1
        if self._bad >= BAD_MAX:
            self._line.hang_up(err(text))
        else:
            self._line.say(err(text))

    # --- any time

    async def _capa(self, command: Command) -> None:
        told = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8",
                "EXPIRE NEVER", "IMPLEMENTATION Kerwen"]  # fmt: skip
        if not self.is_in and self._line.may_log_in:
            told += ["USER", "SASL " + " ".join(_MECHANISMS)]
        if self._line.can_start_tls and not self.is_in:
            told.append("STLS")
        lines = "".join(f"{one}\r\n" for one in told)
        self._line.say(ok("This can be done") + lines.encode() + b".\r\n")

    async def _noop(self, command: Command) -> None:
        self._line.say(ok())

    async def _quit(self, command: Command) -> None:
        """# RFC 1939 §6"""
        if self._view is not None and self._deleted and self._signed is not None:
            uids = self._view.uids
            ranges = [(uids[at], uids[at]) for at in sorted(self._deleted)]
            mailbox_no = self._view.mailbox.mailbox_no
            await self._deeds.expunge.run(
                self._signed.account_no, mailbox_no, ranges, only_deleted=False
            )
        self._line.hang_up(ok("Goodbye"))

    # --- who

    def _check_private(self) -> None:
        if not self._line.may_log_in:
            raise Refused(Reason.ENCRYPTION_REQUIRED, "Passwords are taken under TLS only")

    async def _utf8(self, command: Command) -> None:
        self._line.say(ok("Messages are shown as they are anyway"))

    async def _stls(self, command: Command) -> None:
        if not self._line.can_start_tls:
            self._line.say(err("TLS is not to be had here"))
            return
        self._user = None
        await self._line.start_tls(ok("Begin TLS"))

    async def _name(self, command: Command) -> None:
        self._check_private()
        self._user = command.rest.strip().decode("utf-8", "replace")
        self._line.say(ok("And the password?"))

    async def _password(self, command: Command) -> None:
        self._check_private()
        user, self._user = self._user, None
        if user is None:
            self._line.say(err("USER comes first"))
            return
        await self._enter(Shown(user, password=command.rest.decode("utf-8", "replace")))

    async def _auth(self, command: Command) -> None:
        words = command.words
        if not words:  # the old way to ask which there are (RFC 1734)
            listed = "".join(f"{name}\r\n" for name in _MECHANISMS)
            self._line.say(ok() + listed.encode() + b".\r\n")
            return
        self._check_private()
        name = words[0].decode("ascii", "replace").upper()
        if name not in _MECHANISMS:
            self._line.say(err("This mechanism is not supported"))
            return
        self._mechanism = name
        if len(words) > 1:
            await self._answered(b"" if words[1] == b"=" else words[1])
        else:
            self._ask(b"")

    def _ask(self, challenge: bytes) -> None:
        self.reader.asking = True
        self._line.say(b"+ " + base64.b64encode(challenge) + b"\r\n")

    async def _answered(self, data: bytes) -> None:
        mechanism, self._mechanism = self._mechanism, ""
        if mechanism == "failed":  # RFC 7628 §3.2.3: the client answers the error once more
            self._line.say(err("This token is not good", "AUTH"))
            return
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            self._line.say(err("Cancelled" if data == b"*" else "This is no Base64"))
            return
        await self._enter(_MECHANISMS[mechanism](raw), mechanism)

    async def _enter(self, shown: Shown | None, mechanism: str = "") -> None:
        try:
            if shown is None:
                raise Refused(Reason.WRONG_PASSWORD, "These are no credentials")
            self._deeds.spend(self._line.address)
            signed = await self._proved(shown)
        except Refused as refusal:
            if refusal.reason not in _AUTH_CODES:
                raise
            await self._failed(refusal, mechanism)
            return
        self._deeds.proved(self._line.address)
        signed.on_end = self._thrown_out
        try:
            found = await self._deeds.mailboxes.find(signed.account_no, INBOX)
            self._view = await self._deeds.views.current(signed.account_no, found.mailbox_no)
        except BaseException:  # nobody is logged in without the messages
            signed.close()
            raise
        self._signed = signed
        self._line.say(ok(f"{self._count} messages"))

    def _proved(self, shown: Shown) -> Awaitable[SignedIn]:
        sign_in = self._deeds.sign_in
        if shown.token is not None:
            return sign_in.by_token(shown.user, shown.token)
        return sign_in.by_password(shown.user or "", shown.password or "")

    async def _failed(self, refusal: Refused, mechanism: str) -> None:
        """Who guesses waits, and may not guess often."""
        self._failures += 1
        await self._line.failed()
        if self._failures >= FAILURES_MAX:
            self._line.hang_up(err("Too many failed log-ins", "AUTH"))
        elif mechanism == "OAUTHBEARER":
            self._mechanism = "failed"
            self._ask(sasl.OAUTH_FAILED)
        else:
            self._line.say(err(refusal.public_text, "AUTH"))

    def _thrown_out(self) -> None:
        self._line.hang_up(err("The session has ended", "SYS/TEMP"))

    # --- messages

    @property
    def _mail(self) -> View:
        assert self._view is not None, "somebody is logged in"
        return self._view

    @property
    def _count(self) -> int:
        return min(len(self._mail), limits.POP3_MESSAGES_MAX)

    def _places(self) -> Iterator[int]:
        return (at for at in range(self._count) if at not in self._deleted)

    def _place(self, words: list[bytes], count: int = 1) -> int:
        """The message that the first word names. Says `NOT_FOUND`."""
        number = _number(words[0]) if len(words) == count else None
        if number is None:
            raise Refused(Reason.INVALID_PARAM, "Numbers are missing, or these are none")
        at = number - 1
        if not 0 <= at < self._count or at in self._deleted:
            raise Refused(Reason.NOT_FOUND, "There is no such message")
        return at

    async def _stat(self, command: Command) -> None:
        sizes = [self._mail.sizes[at] for at in self._places()]
        self._line.say(ok(f"{len(sizes)} {sum(sizes)}"))

    async def _list(self, command: Command) -> None:
        self._listed(command, lambda at: str(self._mail.sizes[at]))

    async def _uidl(self, command: Command) -> None:
        validity = self._mail.mailbox.uidvalidity
        self._listed(command, lambda at: f"{validity}.{self._mail.uids[at]}")

    def _listed(self, command: Command, shown: Callable[[int], str]) -> None:
        if command.rest.strip():
            at = self._place(command.words)
            self._line.say(ok(f"{at + 1} {shown(at)}"))
            return
        lines = "".join(f"{at + 1} {shown(at)}\r\n" for at in self._places())
        self._line.say(ok("Here they are") + lines.encode() + b".\r\n")

    async def _raw(self, at: int) -> bytes:
        assert self._signed is not None, "somebody is logged in"
        unlocked = self._signed.unlocked
        unlocked.used_s = monotonic()
        return await self._deeds.records.message(unlocked, self._mail.nos[at])

    async def _retr(self, command: Command) -> None:
        raw = await self._raw(self._place(command.words))
        self._line.say(ok(f"{len(raw)} octets") + stuffed(raw))

    async def _top(self, command: Command) -> None:
        words = command.words
        lines = _number(words[1]) if len(words) == 2 else None
        at = self._place(words if lines is not None else [], 2)
        raw = await self._raw(at)
        self._line.say(ok("The beginning") + stuffed(top(raw, lines or 0)))

    async def _dele(self, command: Command) -> None:
        at = self._place(command.words)
        self._deleted.add(at)
        self._line.say(ok(f"{at + 1} goes at QUIT"))

    async def _rset(self, command: Command) -> None:
        self._deleted.clear()
        self._line.say(ok())


def _number(word: bytes) -> int | None:
    return int(word) if word.isdigit() and len(word) < 10 else None


_COMMANDS: Final[dict[str, Callable[[Session, Command], Awaitable[None]]]] = {
    "CAPA": Session._capa,
    "NOOP": Session._noop,
    "QUIT": Session._quit,
    "UTF8": Session._utf8,
    "STLS": Session._stls,
    "USER": Session._name,
    "PASS": Session._password,
    "AUTH": Session._auth,
    "STAT": Session._stat,
    "LIST": Session._list,
    "UIDL": Session._uidl,
    "RETR": Session._retr,
    "TOP": Session._top,
    "DELE": Session._dele,
    "RSET": Session._rset,
}
