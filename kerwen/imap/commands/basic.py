"""CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, NAMESPACE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerwen.imap.capabilities import ENABLED_BY_NAME, capabilities
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.stages import Stage
from kerwen.imap.replies import Ending

if TYPE_CHECKING:
    from kerwen.imap.session import Session


def capability_line(session: Session) -> bytes:
    """CAPABILITY of a session as it is now."""
    line = session.line
    return responses.capability(
        capabilities(
            logged_in=session.stage is not Stage.GREETED,
            can_tls=line.can_start_tls,
            can_log_in=line.may_log_in,
            compressed=line.compressed,
        )
    )


async def capability(session: Session, command: c.Capability) -> Ending:
    """CAPABILITY  # RFC 9051 §6.1.1"""
    session.line.say(b"* " + capability_line(session) + responses.CRLF)
    return Ending("CAPABILITY completed")


async def noop(session: Session, command: c.Noop | c.Check) -> Ending:
    """NOOP, CHECK: what changed is told before the end.  # RFC 9051 §6.1.2"""
    return Ending("Completed")


async def logout(session: Session, command: c.Logout) -> Ending:
    """LOGOUT  # RFC 9051 §6.1.3"""
    session.line.say(responses.untagged("BYE", "Logging out"))
    return Ending("LOGOUT completed")


async def id_(session: Session, command: c.Id) -> Ending:
    """ID  # RFC 2971"""
    session.line.say(responses.id_({"name": "Kerwen"}))
    return Ending("ID completed")


async def enable(session: Session, command: c.Enable) -> Ending:
    """ENABLE  # RFC 9051 §6.3.1"""
    told = []
    for name in dict.fromkeys(command.capabilities):
        known = ENABLED_BY_NAME.get(name)
        if known is not None:
            told.append(known)
            turn_on(session, known)
    session.line.say(responses.enabled(told))
    return Ending("ENABLE completed")


def turn_on(session: Session, name: str) -> None:
    """Enables one thing for the rest of the session."""
    if name == "QRESYNC":
        session.qresync = session.condstore = True  # RFC 7162 §3.2.3
    elif name == "CONDSTORE":
        session.condstore = True
    else:
        session.utf8 = True
        session.rev2 = session.rev2 or name == "IMAP4rev2"
        session.line.set_utf8()


async def namespace(session: Session, command: c.Namespace) -> Ending:
    """NAMESPACE  # RFC 9051 §6.3.10"""
    session.line.say(responses.namespace())
    return Ending("NAMESPACE completed")
