"""APPEND, REPLACE."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kerwen.base.errors import Reason, Refused
from kerwen.imap import flag_names
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses, sequence
from kerwen.imap.protocol.sequence import STAR, SequenceSet
from kerwen.imap.replies import Ending, refusal
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Appended, Item

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_TURN: Final = 16  # messages that are rendered before others have their turn


async def append(session: Session, command: c.Append) -> Ending:
    """APPEND  # RFC 9051 §6.3.12; RFC 3502"""
    done = await _append(session, command.mailbox, command.messages)
    if isinstance(done, Ending):
        return done
    return Ending("APPEND completed", _appenduid(done))


async def _append(
    session: Session,
    mailbox: str,
    messages: Sequence[c.NewMessage],
    instead: tuple[int, int] | None = None,
) -> Appended | Ending:
    items = []
    for at, message in enumerate(messages):
        if at % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        system, keywords = flag_names.tolerated(message.flags)
        date_s = None if message.date_ms is None else message.date_ms // 1000
        items.append(Item(await sealing.made(message.data), system, keywords, date_s))
    try:
        done = await session.deeds.append.run(session.account_no, mailbox, items, instead=instead)
    except Refused as error:
        if error.reason is Reason.UNKNOWN_MAILBOX:
            return refusal(error, b"TRYCREATE")
        raise
    tastes = session.deeds.tastes
    tastes.moved(session.unlocked, done.nos, "", done.special)
    for no, item in zip(done.nos, items, strict=True):
        if item.keywords:
            tastes.flagged(session.unlocked, (no,), item.keywords)
    return done


def _appenduid(done: Appended) -> bytes:
    return b"APPENDUID %d %b" % (done.uidvalidity, sequence.encode(done.uids))


async def replace(session: Session, command: c.Replace) -> Ending:
    """REPLACE: the new message comes as the old one goes.  # RFC 8508 §3"""
    selected = session.mailbox
    if selected.read_only:
        return Ending("The mailbox is open for reading", b"READ-ONLY", "NO")
    view = selected.view
    numbers = SequenceSet(((command.number, command.number),))
    places = session.places_of(numbers, uid=command.uid)
    if not places or (not command.uid and command.number != STAR and command.number > len(view)):
        return Ending("There is no such message", b"NONEXISTENT" if command.uid else b"", "NO")
    instead = (view.mailbox.mailbox_no, view.uids[places[0]])
    done = await _append(session, command.mailbox, (command.message,), instead)
    if isinstance(done, Ending):
        return done
    session.line.say(responses.untagged("OK", "Replacement made", _appenduid(done)))
    return Ending("REPLACE completed")
