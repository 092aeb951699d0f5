"""IDLE, NOTIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerwen.imap.commands.rule import Sync
from kerwen.imap.notify import Notifier
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.replies import Ending

if TYPE_CHECKING:
    from kerwen.imap.session import Session


async def idle(session: Session, command: c.Idle) -> Ending | None:
    """IDLE  # RFC 9051 §6.3.13"""
    session.line.say(responses.IDLING)
    session.idling = command.tag  # first: whatever happens while we look is told after it
    try:
        await session.sync(Sync.FULL)
    except BaseException:
        session.idling = None
        raise
    session.line.expect_done()
    return None


async def notify(session: Session, command: c.Notify) -> Ending:
    """NOTIFY  # RFC 5465 §3"""
    if not command.groups:
        session.notifier = None
        return Ending("NOTIFY completed")
    made = Notifier.of(command)
    if isinstance(made, Ending):
        return made
    await made.begin(session, with_status=command.status)
    session.notifier = made
    session.line.wake()  # something may have happened since it looked
    return Ending("NOTIFY completed")
