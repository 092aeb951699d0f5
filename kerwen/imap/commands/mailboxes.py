"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kerwen.base.errors import Reason, Refused
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.replies import Ending, refusal

if TYPE_CHECKING:
    from kerwen.imap.session import Session

SPECIAL_USES: Final = {
    "sent": b"\\Sent",
    "drafts": b"\\Drafts",
    "junk": b"\\Junk",
    "trash": b"\\Trash",
    "archive": b"\\Archive",
}
"""Special uses as the store names them, and as IMAP does (RFC 6154 §2)."""
_NAMED: Final = {name.decode().lower(): use for use, name in SPECIAL_USES.items()}


async def create(session: Session, command: c.Create) -> Ending:
    """CREATE  # RFC 9051 §6.3.4; RFC 6154 §3"""
    uses = [_NAMED.get(use.lower(), "") for use in command.uses]
    if len(uses) > 1 or "" in uses:
        return Ending("A mailbox cannot have this use", b"USEATTR", "NO")
    special = uses[0] if uses else ""
    try:
        made = await session.deeds.mailboxes.create(session.account_no, command.mailbox, special)
    except Refused as error:
        if special and error.reason is Reason.INVALID_PARAM:
            return refusal(error, b"USEATTR")
        raise
    return Ending("CREATE completed", b"MAILBOXID (F%d)" % made.mailbox_no)  # RFC 8474 §4.1


async def delete(session: Session, command: c.Delete) -> Ending:
    """DELETE  # RFC 9051 §6.3.5"""
    selected = session.selected
    found = await session.deeds.mailboxes.find(session.account_no, command.mailbox)
    await session.deeds.mailboxes.delete(session.account_no, command.mailbox)
    if selected is not None and selected.view.mailbox.mailbox_no == found.mailbox_no:
        session.leave()
        session.line.say(responses.untagged("OK", "The open mailbox is gone", b"CLOSED"))
    return Ending("DELETE completed")


async def rename(session: Session, command: c.Rename) -> Ending:
    """RENAME  # RFC 9051 §6.3.6"""
    await session.deeds.mailboxes.rename(session.account_no, command.old, command.new)
    return Ending("RENAME completed")


async def subscribe(session: Session, command: c.Subscribe) -> Ending:
    """SUBSCRIBE  # RFC 9051 §6.3.7"""
    await session.deeds.mailboxes.subscribe(session.account_no, command.mailbox)
    return Ending("SUBSCRIBE completed")


async def unsubscribe(session: Session, command: c.Unsubscribe) -> Ending:
    """UNSUBSCRIBE  # RFC 9051 §6.3.8"""
    await session.deeds.mailboxes.subscribe(session.account_no, command.mailbox, wanted=False)
    return Ending("UNSUBSCRIBE completed")
