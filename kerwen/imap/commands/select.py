"""SELECT, EXAMINE, CLOSE, UNSELECT."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses, sequence
from kerwen.imap.protocol.sequence import SequenceSet
from kerwen.imap.replies import Ending
from kerwen.mail.actions.views import View
from kerwen.mail.store import uid_ranges

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_UNSEEN = bytes(0 if mask & 1 else 1 for mask in range(256))


async def select(session: Session, command: c.Select) -> Ending:
    """SELECT, EXAMINE  # RFC 9051 §6.3.2, §6.3.3"""
    if command.qresync is not None and not session.qresync:
        return Ending("QRESYNC is not enabled", status="BAD")  # RFC 7162 §3.2.5
    _leave(session)
    session.condstore = session.condstore or command.condstore
    found = await session.deeds.mailboxes.find(session.account_no, command.mailbox)
    view = await session.deeds.views.current(session.account_no, found.mailbox_no)
    session.open(view.mailbox.name, view, read_only=command.read_only)
    await session.learn_keywords(view)
    session.line.say(_opening(session, view, read_only=command.read_only))
    if command.qresync is not None and command.qresync.uidvalidity == found.uidvalidity:
        await _resynchronise(session, view, command.qresync)
    code = b"READ-ONLY" if command.read_only else b"READ-WRITE"
    return Ending("EXAMINE completed" if command.read_only else "SELECT completed", code)


def _leave(session: Session) -> None:
    """RFC 9051 §7.1: CLOSED parts what belongs to the one mailbox from what to the other."""
    if session.selected is not None:
        session.leave()
        session.line.say(responses.untagged("OK", "Closed", b"CLOSED"))


def _opening(session: Session, view: View, *, read_only: bool) -> bytes:
    """What a client is told of the mailbox that it opens."""
    mailbox, flags = view.mailbox, session.flag_names.all()
    kept = b"()" if read_only else b"(%b)" % b" ".join([*flags, b"\\*"])
    name = responses.mailbox(mailbox.name, utf8=session.utf8)
    told = [
        responses.flags(flags),
        responses.untagged("OK", "Flags that are kept", b"PERMANENTFLAGS " + kept),
        responses.exists(len(view)),
    ]
    if session.rev2:
        told.append(responses.list_([], name))
    else:
        told.append(b"* 0 RECENT\r\n")
        unseen = view.flags.translate(_UNSEEN).find(1)
        if unseen >= 0:
            told.append(responses.untagged("OK", "First unseen", b"UNSEEN %d" % (unseen + 1)))
    codes = (
        (b"UIDVALIDITY %d" % mailbox.uidvalidity, "UIDs are valid"),
        (b"UIDNEXT %d" % mailbox.uidnext, "Next UID"),
        (b"HIGHESTMODSEQ %d" % view.modseq, "Newest change"),
        (b"MAILBOXID (F%d)" % mailbox.mailbox_no, "Mailbox id"),
    )
    told += [responses.untagged("OK", text, code) for code, text in codes]
    return b"".join(told)


async def _resynchronise(session: Session, view: View, known: c.Qresync) -> None:
    """What vanished and what changed since the client's MODSEQ.  # RFC 7162 §3.2.5"""
    gone = await vanished_since(session, view, known.modseq, known.known)
    session.line.say(responses.vanished(gone, earlier=True))
    places = [at for at, modseq in enumerate(view.modseqs) if modseq > known.modseq]
    if known.known is not None:
        ranges = sequence.resolved(known.known.ranges, _greatest(view))
        places = [at for at in places if _within(view.uids[at], ranges)]
    session.line.say(session.teller().flags(view, places))


async def vanished_since(
    session: Session, view: View, modseq: int, known: SequenceSet | None
) -> list[int]:
    """UIDs of these that vanished after a MODSEQ.

    Where it is not known singly any more, whatever is not there counts as vanished: the client
    may be told too much, never too little (RFC 7162 §3.2.5.1).
    """
    ranges = (
        sequence.resolved(known.ranges, _greatest(view))
        if known is not None
        else ((1, view.mailbox.uidnext - 1),)
    )
    changes = await session.deeds.changes.mailbox(
        session.account_no, view.mailbox.mailbox_no, modseq
    )
    there = view.uids
    if changes.whole:
        gone = array("I", sorted(set(changes.vanished)))
        places = uid_ranges.places(gone, ranges)
        return [gone[at] for at in places if view.place(gone[at]) is None]
    most = view.mailbox.uidnext
    present = set(there)
    return [
        uid for low, high in ranges for uid in range(low, min(high + 1, most)) if uid not in present
    ]


def _greatest(view: View) -> int:
    return max(view.mailbox.uidnext - 1, 1)


def _within(uid: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= uid <= high for low, high in ranges)


async def close(session: Session, command: c.Close) -> Ending:
    """CLOSE: what is \\Deleted goes, and nobody is told.  # RFC 9051 §6.4.1"""
    selected = session.mailbox
    session.leave()
    if not selected.read_only:
        mailbox_no = selected.view.mailbox.mailbox_no
        await session.deeds.expunge.run(session.account_no, mailbox_no)
    return Ending("CLOSE completed")


async def unselect(session: Session, command: c.Unselect) -> Ending:
    """UNSELECT  # RFC 9051 §6.4.2"""
    session.leave()
    return Ending("UNSELECT completed")
