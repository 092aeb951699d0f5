"""GETQUOTA, GETQUOTAROOT, SETQUOTA; GETMETADATA, SETMETADATA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.replies import Ending

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_ROOT: Final = ""  # an account has one quota; its root has the empty name


async def get_quota(session: Session, command: c.GetQuota) -> Ending:
    """GETQUOTA  # RFC 9208 §4.1.1"""
    if command.root != _ROOT:
        return Ending("There is no such quota root", b"NONEXISTENT", "NO")
    session.line.say(await _quota(session))
    return Ending("GETQUOTA completed")


async def get_quota_root(session: Session, command: c.GetQuotaRoot) -> Ending:
    """GETQUOTAROOT  # RFC 9208 §4.1.2"""
    found = await session.deeds.mailboxes.find(session.account_no, command.mailbox)
    name = responses.mailbox(found.name, utf8=session.utf8)
    session.line.say(responses.quotaroot(name, responses.string(_ROOT.encode())))
    session.line.say(await _quota(session))
    return Ending("GETQUOTAROOT completed")


async def set_quota(session: Session, command: c.SetQuota) -> Ending:
    """SETQUOTA  # RFC 9208 §4.1.3"""
    return Ending("Only an administrator may", b"NOPERM", "NO")


async def _quota(session: Session) -> bytes:
    used, most = await session.deeds.quota(session.account_no)
    return responses.quota(b'""', -(-used // 1024), most // 1024)


# --- METADATA ----------------------------------------------------------------------------------


async def get_metadata(session: Session, command: c.GetMetadata) -> Ending:
    """GETMETADATA  # RFC 5464 §4.2"""
    known = await session.deeds.metadata.read(session.unlocked, command.mailbox)
    if not command.mailbox:
        known = {**session.deeds.server_metadata(), **known}
    wanted = {name: known[name] for name in sorted(known) if _asked(command, name)}
    most = command.size_max
    short = {n: v for n, v in wanted.items() if most is None or len(v) <= most}
    told: list[tuple[str, bytes | None]] = list(short.items())
    if not command.depth:
        told += [(name, None) for name in command.entries if name not in known]
    if told:
        name = responses.mailbox(command.mailbox, utf8=session.utf8)
        session.line.say(responses.metadata(name, told))
    code = b""
    if len(short) < len(wanted):
        code = b"METADATA LONGENTRIES %d" % max(map(len, wanted.values()))
    return Ending("GETMETADATA completed", code)


def _asked(command: c.GetMetadata, name: str) -> bool:
    for entry in command.entries:
        if name == entry:
            return True
        if command.depth and name.startswith(entry + "/"):
            below = name[len(entry) + 1 :]
            if command.depth < 0 or "/" not in below:
                return True
    return False


async def set_metadata(session: Session, command: c.SetMetadata) -> Ending:
    """SETMETADATA  # RFC 5464 §4.3"""
    values = dict(command.entries)
    for name in values:
        if not name.startswith(("/private/", "/shared/")):
            return Ending("Entries begin with /private/ or /shared/", status="BAD")
        if name.startswith("/shared/") and not command.mailbox:
            return Ending("What the server says of itself stays", b"NOPERM", "NO")
    await session.deeds.metadata.write(session.account_no, command.mailbox, values)
    return Ending("SETMETADATA completed")
