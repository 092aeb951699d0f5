"""LIST, LSUB, STATUS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.imap.commands.mailboxes import SPECIAL_USES
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.commands import StatusItem
from kerwen.imap.replies import Ending
from kerwen.imap.wildcards import matcher
from kerwen.mail.actions.mailboxes import INBOX, Listed
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.segment import Flag

if TYPE_CHECKING:
    from kerwen.imap.session import Session

PATTERNS_MAX: Final = 50
PATTERN_MAX: Final = 1_024
_TURN: Final = 100  # names that are looked at before others have their turn

_COUNTS: Final[dict[StatusItem, Callable[[Mailbox], bytes]]] = {
    StatusItem.MESSAGES: lambda one: b"%d" % one.messages,
    StatusItem.UIDNEXT: lambda one: b"%d" % one.uidnext,
    StatusItem.UIDVALIDITY: lambda one: b"%d" % one.uidvalidity,
    StatusItem.UNSEEN: lambda one: b"%d" % one.unseen,
    StatusItem.DELETED: lambda one: b"%d" % one.deleted,
    StatusItem.SIZE: lambda one: b"%d" % one.bytes,
    StatusItem.RECENT: lambda one: b"0",
    StatusItem.HIGHESTMODSEQ: lambda one: b"%d" % one.modseq,
    StatusItem.APPENDLIMIT: lambda one: b"%d" % limits.MESSAGE_BYTES_MAX,
    StatusItem.MAILBOXID: lambda one: b"(F%d)" % one.mailbox_no,
}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A name of the list: of a mailbox, or one that is only above some or subscribed to."""

    name: str
    mailbox: Mailbox | None
    has_children: bool
    subscribed: bool
    subscribed_below: bool


def entries(listed: Listed) -> Iterator[Entry]:
    """Every name, INBOX first."""
    mailboxes = {one.name: one for one in listed.mailboxes}
    above: set[str] = set()
    above_subscribed: set[str] = set()
    for names, found in ((mailboxes, above), (listed.subscribed, above_subscribed)):
        for name in names:
            while (slash := name.rfind("/")) > 0:
                name = name[:slash]
                found.add(name)
    every = mailboxes.keys() | above | listed.subscribed | above_subscribed
    for name in sorted(every, key=lambda name: (name != INBOX, name)):
        yield Entry(
            name,
            mailboxes.get(name),
            name in above,
            name in listed.subscribed,
            name in above_subscribed,
        )


async def list_(session: Session, command: c.List) -> Ending:
    """LIST  # RFC 9051 §6.3.9"""
    if command.patterns == ("",):
        session.line.say(responses.list_([b"\\Noselect"], b'""'))
        return Ending("LIST completed")
    if len(command.patterns) > PATTERNS_MAX or max(map(len, command.patterns)) > PATTERN_MAX:
        return Ending("Too many patterns", b"LIMIT", "NO")
    listed = await session.deeds.mailboxes.listing(session.account_no)
    matches = _matches(command.reference, command.patterns)
    for number, entry in enumerate(entries(listed)):
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        if not matches(entry.name) or not _wanted(command, entry):
            continue
        session.line.say(_line(session, command, entry))
        if command.return_status and entry.mailbox is not None:
            session.line.say(await _status_line(session, entry.mailbox, command.return_status))
    return Ending("LIST completed")


def _matches(reference: str, patterns: tuple[str, ...]) -> Callable[[str], bool]:
    tests = [matcher(reference + pattern) for pattern in patterns]
    inbox = [matcher((reference + pattern).upper()) for pattern in patterns]

    def matches(name: str) -> bool:
        if name == INBOX and any(test(name) for test in inbox):
            return True
        return any(test(name) for test in tests)

    return matches


def _wanted(command: c.List, entry: Entry) -> bool:
    """Whether the selection options take a name that the pattern takes."""
    if command.subscribed:
        return entry.subscribed or (command.recursive and entry.subscribed_below)
    if entry.mailbox is None:  # a name that is only above others is told where `%` ends
        return entry.has_children and any(one.endswith("%") for one in command.patterns)
    return not command.special_use or entry.mailbox.special in SPECIAL_USES


def _line(session: Session, command: c.List, entry: Entry) -> bytes:
    attributes = [b"\\HasChildren" if entry.has_children else b"\\HasNoChildren"]
    if entry.mailbox is None:
        attributes.append(b"\\NonExistent")
    elif entry.mailbox.special in SPECIAL_USES:
        attributes.append(SPECIAL_USES[entry.mailbox.special])
    if entry.subscribed and (command.subscribed or command.return_subscribed):
        attributes.append(b"\\Subscribed")
    below = command.recursive and entry.subscribed_below
    name = responses.mailbox(entry.name, utf8=session.utf8)
    return responses.list_(attributes, name, child_info=b'"SUBSCRIBED"' if below else b"")


async def lsub(session: Session, command: c.Lsub) -> Ending:
    """LSUB  # RFC 3501 §6.3.9"""
    listed = await session.deeds.mailboxes.listing(session.account_no)
    matches = _matches(command.reference, (command.pattern,))
    for entry in entries(listed):
        above = entry.subscribed_below and command.pattern.endswith("%")
        if matches(entry.name) and (entry.subscribed or above):
            name = responses.mailbox(entry.name, utf8=session.utf8)
            attributes = [] if entry.subscribed else [b"\\Noselect"]
            session.line.say(responses.list_(attributes, name, word=b"LSUB"))
    return Ending("LSUB completed")


async def status(session: Session, command: c.Status) -> Ending:
    """STATUS  # RFC 9051 §6.3.11"""
    found = await session.deeds.mailboxes.find(session.account_no, command.mailbox)
    session.line.say(await _status_line(session, found, command.items))
    if StatusItem.HIGHESTMODSEQ in command.items:
        session.condstore = True  # RFC 7162 §3.1: it tells that the client knows MODSEQs
    return Ending("STATUS completed")


async def _status_line(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...]) -> bytes:
    values = []
    for item in dict.fromkeys(items):
        count = _COUNTS.get(item)
        if count is not None:
            values.append((item, count(mailbox)))
        else:
            values.append((item, await _deleted_bytes(session, mailbox)))
    return responses.status(responses.mailbox(mailbox.name, utf8=session.utf8), values)


async def _deleted_bytes(session: Session, mailbox: Mailbox) -> bytes:
    """DELETED-STORAGE  # RFC 9208 §4.1.4"""
    if not mailbox.deleted:
        return b"0"
    try:
        view = await session.deeds.views.current(session.account_no, mailbox.mailbox_no)
    except Refused:
        return b"0"
    flags, sizes = view.flags, view.sizes
    return b"%d" % sum(size for at, size in enumerate(sizes) if flags[at] & Flag.DELETED)


def status_line(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...]) -> bytes:
    """STATUS of counts that stand in the mailbox's row (for NOTIFY)."""
    values = [(item, _COUNTS[item](mailbox)) for item in items]
    return responses.status(responses.mailbox(mailbox.name, utf8=session.utf8), values)
