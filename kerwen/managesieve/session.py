"""What the commands of ManageSieve mean: an account's scripts, and who may touch them."""

# RFC 5804 §2; RFC 4616 (PLAIN); RFC 7628 (OAUTHBEARER)

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.actions.prove_sender import ProveSender, Sender
from kerwen.mail.actions.scripts import Scripts, checked
from kerwen.mail.sieve.lexer import BadScript
from kerwen.mail.sieve.vocabulary import EXTENSIONS
from kerwen.managesieve.protocol import Answer, Bad, Command, Item, Reader, TooLong, reply, string
from kerwen.net import sasl
from kerwen.net.line_door import LineConnection
from kerwen.net.sasl import Shown

FAILURES_MAX: Final = 3
BAD_MAX: Final = 20  # in a row
_MECHANISMS: Final = {"PLAIN": sasl.plain, "OAUTHBEARER": sasl.oauth_bearer}
_FREE: Final = frozenset({"AUTHENTICATE", "STARTTLS", "LOGOUT", "CAPABILITY", "NOOP"})
_CODES: Final = {
    Reason.NOT_FOUND: b"NONEXISTENT",
    Reason.CONFLICT: b"ALREADYEXISTS",
    Reason.FORBIDDEN: b"ACTIVE",
    Reason.LIMIT_EXCEEDED: b"QUOTA/MAXSCRIPTS",
    Reason.TOO_LARGE: b"QUOTA/MAXSIZE",
}
_SIEVE: Final = " ".join(sorted(EXTENSIONS))


@dataclass(frozen=True, slots=True)
class Deeds:
    """What the door may call."""

    scripts: Scripts
    prove: ProveSender
    spend: Callable[[str], None]
    """Counts a log-in from a network address; `Refused(LIMIT_EXCEEDED)`."""
    proved: Callable[[str], None]
    """Takes that back: the log-in was right."""


class Session:
    """One client's conversation."""

    def __init__(self, deeds: Deeds, line: LineConnection[Item]) -> None:
        self._deeds = deeds
        self._line = line
        self.reader = Reader()
        self._sender: Sender | None = None
        self._mechanism = ""  # of an AUTHENTICATE that waits for its answer
        self._failures = 0
        self._bad = 0

    @property
    def is_in(self) -> bool:
        """Whether somebody is logged in."""
        return self._sender is not None

    def greeting(self) -> bytes:
        """The capabilities."""
        return self._capabilities() + reply("OK", "Kerwen is ready")

    def goodbye(self, why: str) -> bytes:
        """The last that is said."""
        return reply("BYE", why)

    def close(self) -> None:
        """The connection is gone."""
        self._sender = None

    async def do(self, item: Item) -> None:
        """Does a command."""
        if isinstance(item, Answer):
            await self._answered(item.data)
        elif isinstance(item, Command):
            self._bad = 0
            await self._command(item)
        elif isinstance(item, TooLong):
            self._line.say(reply("NO", "This is too long", b"QUOTA/MAXSIZE"))
        else:
            self._wrong(item)

    def _wrong(self, item: Bad) -> None:
        self._bad += 1
        if item.fatal or self._bad >= BAD_MAX:
            self._line.hang_up(reply("BYE", item.text))
        else:
            self._line.say(reply("NO", item.text))

    async def _command(self, command: Command) -> None:
        handler = _COMMANDS.get(command.name)
        if handler is None:
            self._wrong(Bad("There is no such command"))
            return
        try:
            if command.name not in _FREE and not await self._may():
                return
            await handler(self, command.arguments)
        except BadScript as bad:
            self._line.say(reply("NO", str(bad)))
        except Refused as refusal:
            code = _CODES.get(refusal.reason, b"")
            self._line.say(reply("NO", refusal.public_text, code))
        except Unavailable:
            self._line.say(reply("NO", "The server cannot do this now", b"TRYLATER"))

    async def _may(self) -> bool:
        """Whether somebody is logged in, and may still go on; says so if not."""
        if self._sender is None:
            self._line.say(reply("NO", "Log in first"))
            return False
        if await self._deeds.prove.still(self._sender):
            return True
        self._line.hang_up(reply("BYE", "The session has ended"))
        return False

    # --- any time

    def _capabilities(self) -> bytes:
        line = self._line
        mechanisms = " ".join(_MECHANISMS) if line.may_log_in and not self.is_in else ""
        told = [
            ("IMPLEMENTATION", "Kerwen"),
            ("VERSION", "1.0"),
            ("SASL", mechanisms),
            ("SIEVE", _SIEVE),
            ("MAXREDIRECTS", str(limits.SIEVE_REDIRECTS_MAX)),
        ]
        if self._sender is not None:
            told.append(("OWNER", self._sender.localpart))
        said = [string(name) + b" " + string(value) for name, value in told]
        if line.can_start_tls:
            said.append(b'"STARTTLS"')
        said.append(b'"UNAUTHENTICATE"')
        return b"\r\n".join(said) + b"\r\n"

    async def _capability(self, arguments: tuple[bytes | int, ...]) -> None:
        self._line.say(self._capabilities() + reply("OK"))

    async def _noop(self, arguments: tuple[bytes | int, ...]) -> None:
        code = b"TAG " + string(_bytes(arguments, 0)) if arguments else b""
        self._line.say(reply("OK", "Done", code))

    async def _logout(self, arguments: tuple[bytes | int, ...]) -> None:
        self._line.hang_up(reply("OK", "Goodbye"))

    async def _start_tls(self, arguments: tuple[bytes | int, ...]) -> None:
        if not self._line.can_start_tls or self.is_in:
            self._line.say(reply("NO", "TLS is not to be had here"))
            return
        await self._line.start_tls(reply("OK", "Begin TLS"))
        self._line.say(self._capabilities() + reply("OK", "TLS is on"))

    # --- who

    async def _authenticate(self, arguments: tuple[bytes | int, ...]) -> None:
        name = _text(arguments, 0).upper()
        if self.is_in:
            self._line.say(reply("NO", "Somebody is logged in already"))
        elif not self._line.may_log_in:
            self._line.say(reply("NO", "Passwords are taken under TLS only", b"ENCRYPT-NEEDED"))
        elif name not in _MECHANISMS:
            self._line.say(reply("NO", "This mechanism is not supported"))
        else:
            self._mechanism = name
            if len(arguments) > 1:
                await self._answered(_text(arguments, 1).encode())
            else:
                self._ask(b"")

    def _ask(self, challenge: bytes) -> None:
        self.reader.asking = True
        self._line.say(string(base64.b64encode(challenge)) + b"\r\n")

    async def _answered(self, data: bytes | None) -> None:
        mechanism, self._mechanism = self._mechanism, ""
        if mechanism == "failed":  # RFC 7628 §3.2.3: the client answers the error once more
            self._line.say(reply("NO", "This token is not good"))
            return
        raw = None
        try:
            raw = base64.b64decode(data, validate=True) if data is not None else None
        except (binascii.Error, ValueError):
            pass
        if raw is None:
            self._line.say(reply("NO", "Cancelled"))
            return
        try:
            shown = _MECHANISMS[mechanism](raw)
            if shown is None:
                raise Refused(Reason.WRONG_PASSWORD, "These are no credentials")
            self._deeds.spend(self._line.address)
            sender = await self._proved(shown)
        except Refused as refusal:
            await self._failed(refusal, mechanism)
            return
        except Unavailable:
            self._line.say(reply("NO", "The server cannot do this now", b"TRYLATER"))
            return
        self._deeds.proved(self._line.address)
        self._sender = sender
        self.reader.early = False
        self._line.say(reply("OK", "Welcome"))

    def _proved(self, shown: Shown) -> Awaitable[Sender]:
        if shown.token is not None:
            return self._deeds.prove.by_token(shown.user or "", shown.token)
        return self._deeds.prove.by_password(shown.user or "", shown.password or "")

    async def _failed(self, refusal: Refused, mechanism: str) -> None:
        """Who guesses waits, and may not guess often."""
        self._failures += 1
        await self._line.failed()
        if self._failures >= FAILURES_MAX:
            self._line.hang_up(reply("BYE", "Too many failed log-ins"))
        elif mechanism == "OAUTHBEARER":
            self._mechanism = "failed"
            self._ask(sasl.OAUTH_FAILED)
        else:
            self._line.say(reply("NO", refusal.public_text))

    async def _unauthenticate(self, arguments: tuple[bytes | int, ...]) -> None:
        self._sender = None
        self.reader.early = True
        self._line.say(reply("OK"))

    # --- scripts

    @property
    def _account_no(self) -> int:
        assert self._sender is not None, "it was asked before"
        return self._sender.account_no

    async def _have_space(self, arguments: tuple[bytes | int, ...]) -> None:
        size = arguments[1] if len(arguments) > 1 else None
        if not isinstance(size, int):
            raise Refused(Reason.INVALID_PARAM, "A name and a size are needed")
        await self._deeds.scripts.have_space(self._account_no, _text(arguments, 0), size)
        self._line.say(reply("OK"))

    async def _put(self, arguments: tuple[bytes | int, ...]) -> None:
        name, source = _text(arguments, 0), _bytes(arguments, 1)
        await self._deeds.scripts.put(self._account_no, name, source)
        self._line.say(reply("OK"))

    async def _check(self, arguments: tuple[bytes | int, ...]) -> None:
        await checked(_bytes(arguments, 0))
        self._line.say(reply("OK"))

    async def _list(self, arguments: tuple[bytes | int, ...]) -> None:
        kept = await self._deeds.scripts.kept(self._account_no)
        for one in kept.scripts:
            active = b" ACTIVE" if one.no == kept.active else b""
            self._line.say(string(one.name) + active + b"\r\n")
        self._line.say(reply("OK"))

    async def _get(self, arguments: tuple[bytes | int, ...]) -> None:
        found = await self._deeds.scripts.get(self._account_no, _text(arguments, 0))
        raw = found.source.encode()
        self._line.say(b"{%d}\r\n%b\r\n" % (len(raw), raw) + reply("OK"))

    async def _set_active(self, arguments: tuple[bytes | int, ...]) -> None:
        name, scripts = _text(arguments, 0), self._deeds.scripts
        number = (await scripts.get(self._account_no, name)).no if name else 0
        await scripts.activate(self._account_no, number)
        self._line.say(reply("OK"))

    async def _delete(self, arguments: tuple[bytes | int, ...]) -> None:
        scripts = self._deeds.scripts
        found = await scripts.get(self._account_no, _text(arguments, 0))
        await scripts.delete(self._account_no, found.no)
        self._line.say(reply("OK"))

    async def _rename(self, arguments: tuple[bytes | int, ...]) -> None:
        old, new = _text(arguments, 0), _text(arguments, 1)
        await self._deeds.scripts.rename(self._account_no, old, new)
        self._line.say(reply("OK"))


def _bytes(arguments: tuple[bytes | int, ...], at: int) -> bytes:
    found = arguments[at] if at < len(arguments) else None
    if not isinstance(found, bytes):
        raise Refused(Reason.INVALID_PARAM, "An argument is missing")
    return found


def _text(arguments: tuple[bytes | int, ...], at: int) -> str:
    try:
        return _bytes(arguments, at).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(Reason.INVALID_PARAM, "This is not UTF-8") from None


Handler = Callable[[Session, tuple[bytes | int, ...]], Awaitable[None]]
_COMMANDS: Final[dict[str, Handler]] = {
    "AUTHENTICATE": Session._authenticate,
    "STARTTLS": Session._start_tls,
    "LOGOUT": Session._logout,
    "CAPABILITY": Session._capability,
    "NOOP": Session._noop,
    "HAVESPACE": Session._have_space,
    "PUTSCRIPT": Session._put,
    "CHECKSCRIPT": Session._check,
    "LISTSCRIPTS": Session._list,
    "SETACTIVE": Session._set_active,
    "GETSCRIPT": Session._get,
    "DELETESCRIPT": Session._delete,
    "RENAMESCRIPT": Session._rename,
    "UNAUTHENTICATE": Session._unauthenticate,
}
