"""STARTTLS, LOGIN, AUTHENTICATE, COMPRESS."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from kerwen.base.errors import Reason, Refused
from kerwen.imap.commands.basic import capability_line
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.replies import Ending
from kerwen.mail.actions.sign_in import SignedIn
from kerwen.net import sasl
from kerwen.net.sasl import Shown

if TYPE_CHECKING:
    from kerwen.imap.session import Session

FAILURES_MAX: Final = 3
_FAILED: Final = frozenset(
    {
        Reason.WRONG_PASSWORD,
        Reason.SECOND_FACTOR_NEEDED,
        Reason.UNKNOWN_TOKEN,
        Reason.EXPIRED_TOKEN,
    }
)
_NO_BASE64: Final = Ending("This is no base64", status="BAD")


async def start_tls(session: Session, command: c.StartTls) -> Ending | None:
    """STARTTLS  # RFC 9051 §6.2.1"""
    if not session.line.can_start_tls:
        return Ending("TLS is not to be had here", status="BAD")
    await session.line.start_tls(responses.tagged(command.tag, "OK", "Begin TLS"))
    return None


async def login(session: Session, command: c.Login) -> Ending:
    """LOGIN  # RFC 9051 §6.2.3"""
    return await _enter(session, Shown(command.user, password=command.password))


async def authenticate(session: Session, command: c.Authenticate) -> Ending:
    """AUTHENTICATE  # RFC 9051 §6.2.2"""
    if command.mechanism not in sasl.MECHANISMS:
        return Ending("This mechanism is not supported", b"CANNOT", "NO")
    if not session.line.may_log_in:
        return _private()
    if command.mechanism == "LOGIN":
        return await _login_mechanism(session, command.initial)
    data = command.initial
    if data is None:
        answer = await session.line.ask(b"")
        if answer.data is None:
            return Ending("Cancelled", status="BAD") if answer.cancelled else _NO_BASE64
        data = answer.data
    if command.mechanism == "PLAIN":
        return await _enter(session, sasl.plain(data))
    read = sasl.oauth_bearer if command.mechanism == "OAUTHBEARER" else sasl.xoauth2
    shown = read(data)
    ending = await _enter(session, shown)
    if ending.status != "OK":  # RFC 7628 §3.2.3: the client answers the error once more
        await session.line.ask(base64.b64encode(sasl.OAUTH_FAILED))
    return ending


async def _login_mechanism(session: Session, initial: bytes | None) -> Ending:
    """AUTH=LOGIN: name and password one after the other."""
    said = [] if initial is None else [initial]
    for prompt in (b"Username:", b"Password:")[len(said) :]:
        answer = await session.line.ask(base64.b64encode(prompt))
        if answer.data is None:
            return Ending("Cancelled", status="BAD") if answer.cancelled else _NO_BASE64
        said.append(answer.data)
    user, password = (one.decode("utf-8", "replace") for one in said)
    return await _enter(session, Shown(user, password=password))


def _private() -> Ending:
    return Ending("Passwords are taken under TLS only", b"PRIVACYREQUIRED", "NO")


async def _enter(session: Session, shown: Shown | None) -> Ending:
    if not session.line.may_log_in:
        return _private()
    if shown is None:
        return await _failed(session, Refused(Reason.WRONG_PASSWORD, "These are no credentials"))
    session.deeds.spend(session.line.address)
    try:
        signed = await _proved(session, shown)
    except Refused as refusal:
        if refusal.reason in _FAILED:
            return await _failed(session, refusal)
        raise
    session.enter(signed)
    return Ending("Logged in", capability_line(session))


def _proved(session: Session, shown: Shown) -> Awaitable[SignedIn]:
    sign_in = session.deeds.sign_in
    if shown.token is not None:
        return sign_in.by_token(shown.user, shown.token)
    return sign_in.by_password(shown.user or "", shown.password or "")


async def _failed(session: Session, refusal: Refused) -> Ending:
    """Who guesses waits, and may not guess often."""
    session.failures += 1
    await session.line.failed()
    if session.failures >= FAILURES_MAX:
        session.line.hang_up(responses.untagged("BYE", "Too many failed log-ins"))
    return session.refused(refusal)


async def compress(session: Session, command: c.Compress) -> Ending | None:
    """COMPRESS  # RFC 4978 §3"""
    if command.algorithm != "DEFLATE":
        return Ending("This algorithm is not supported", status="BAD")
    if session.line.compressed:
        return Ending("It is compressed already", b"COMPRESSIONACTIVE", "NO")
    said = responses.tagged(command.tag, "OK", "DEFLATE active")
    if not await session.line.compress(said):
        return Ending("COMPRESS must be the last that is sent", status="BAD")
    return None
