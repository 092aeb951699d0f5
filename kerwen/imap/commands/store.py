"""STORE, COPY, MOVE, EXPUNGE, and their forms with UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kerwen.base.errors import Reason, Refused
from kerwen.imap import flag_names
from kerwen.imap.commands.rule import Sync
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses, sequence
from kerwen.imap.replies import Ending, refusal
from kerwen.mail.actions.copy import Copied
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.store import uid_ranges

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_READ_ONLY: Final = Ending("The mailbox is open for reading", b"READ-ONLY", "NO")
NO_SUCH_NUMBER: Final = Ending("There is no message of this number", status="BAD")
_HOW: Final = {
    c.StoreMode.SET: How.SET,
    c.StoreMode.ADD: How.ADD,
    c.StoreMode.REMOVE: How.REMOVE,
}


def uids_at(session: Session, places: Sequence[int]) -> list[int]:
    """The UIDs of messages at these places."""
    uids = session.mailbox.view.uids
    if len(places) == len(uids):
        return uids.tolist()
    return [uids[at] for at in places]


async def store(session: Session, command: c.Store) -> Ending:
    """STORE, UID STORE  # RFC 9051 §6.4.6; RFC 7162 §3.1.3"""
    selected = session.mailbox
    if selected.read_only:
        return _READ_ONLY
    if not command.uid and not session.numbers_fit(command.numbers):
        return NO_SUCH_NUMBER
    if command.unchanged_since is not None:
        session.condstore = True
    system, keywords = flag_names.wanted(command.flags)
    how = Sync.FULL if command.uid else Sync.SAFE
    if command.silent:  # what others did is told all the same (RFC 9051 §6.4.6)
        await session.sync(how)
    before = selected.view
    places = session.places_of(command.numbers, uid=command.uid)
    uids = () if command.silent else uids_at(session, places)
    wanted = Wanted(_HOW[command.mode], system, keywords, command.unchanged_since)
    ranges = uid_ranges.at(before.uids, places)
    done = await session.deeds.store_flags.run(
        session.account_no, before.mailbox.mailbox_no, ranges, wanted
    )
    before = selected.view
    if keywords and done.changed and command.mode is not c.StoreMode.REMOVE:
        nos = [before.nos[at] for uid in done.changed if (at := before.place(uid)) is not None]
        session.deeds.tastes.flagged(session.unlocked, nos, keywords)
    quiet = done.modseq if command.silent else 0
    await session.sync(how, quiet)
    if not command.silent:
        told = () if selected.view is before else done.changed
        _tell_others(session, uids, {*told, *done.modified})
    if not done.modified:
        return Ending("STORE completed")
    numbers = done.modified
    if not command.uid:
        numbers = [at + 1 for uid in numbers if (at := before.place(uid)) is not None]
    return Ending("Some were changed meanwhile", b"MODIFIED " + sequence.encode(numbers))


def _tell_others(session: Session, uids: Sequence[int], told: set[int]) -> None:
    """The flags of messages whose flags were so already: the client wants to hear of each."""
    view = session.mailbox.view
    places = [at for uid in uids if uid not in told and (at := view.place(uid)) is not None]
    session.line.say(session.teller().flags(view, places))


async def copy(session: Session, command: c.Copy) -> Ending:
    """COPY, UID COPY  # RFC 9051 §6.4.7"""
    if not command.uid and not session.numbers_fit(command.numbers):
        return NO_SUCH_NUMBER
    done = await _copy(session, command, move=False)
    if isinstance(done, Ending):
        return done
    return Ending("COPY completed", _copyuid(done))


async def move(session: Session, command: c.Move) -> Ending:
    """MOVE, UID MOVE  # RFC 9051 §6.4.8"""
    if session.mailbox.read_only:
        return _READ_ONLY
    if not command.uid and not session.numbers_fit(command.numbers):
        return NO_SUCH_NUMBER
    done = await _copy(session, command, move=True)
    if isinstance(done, Ending):
        return done
    if done.sources:
        session.line.say(responses.untagged("OK", "Moved", _copyuid(done)))
    code = b"HIGHESTMODSEQ %d" % done.modseq if session.qresync and done.modseq else b""
    return Ending("MOVE completed", code)


async def _copy(session: Session, command: c.Copy | c.Move, *, move: bool) -> Copied | Ending:
    view = session.mailbox.view
    ranges = uid_ranges.at(view.uids, session.places_of(command.numbers, uid=command.uid))
    try:
        target = await session.deeds.mailboxes.find(session.account_no, command.mailbox)
        done = await session.deeds.copy.run(
            session.account_no,
            view.mailbox.mailbox_no,
            ranges,
            target.name,
            move=move,
        )
    except Refused as error:
        if error.reason is Reason.UNKNOWN_MAILBOX:
            return refusal(error, b"TRYCREATE")
        raise
    tastes = session.deeds.tastes
    tastes.moved(session.unlocked, done.nos, view.mailbox.special, target.special)
    return done


def _copyuid(done: Copied) -> bytes:
    if not done.sources:
        return b""
    return b"COPYUID %d %b %b" % (
        done.uidvalidity,
        sequence.encode_in_order(done.sources),
        sequence.encode_in_order(done.targets),
    )


async def expunge(session: Session, command: c.Expunge) -> Ending:
    """EXPUNGE, UID EXPUNGE  # RFC 9051 §6.4.3, §6.4.9"""
    selected = session.mailbox
    if selected.read_only:
        return _READ_ONLY
    uids = uid_ranges.EVERY
    if command.uids is not None:
        uids = uid_ranges.at(selected.view.uids, session.places_of(command.uids, uid=True))
    mailbox_no = selected.view.mailbox.mailbox_no
    done = await session.deeds.expunge.run(session.account_no, mailbox_no, uids)
    code = b"HIGHESTMODSEQ %d" % done.modseq if session.qresync and done.modseq else b""
    return Ending("EXPUNGE completed", code)
