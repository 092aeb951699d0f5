"""What happened to a mailbox between two views of it, and how a client is told."""

# RFC 9051 §7.4, §7.5; RFC 7162 §3.2.10

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import msgspec

from kerwen.imap.protocol import responses
from kerwen.mail.actions.views import View
from kerwen.mail.store.segment import Segment


class Differences(msgspec.Struct, gc=False):
    """Places from 0: of what is gone in the old view, of what changed in the new one."""

    gone: list[int]
    gone_uids: list[int]
    changed: list[int]
    added: int  # new messages, all of them at the end


def differences(old: View, new: View, quiet: int = 0) -> Differences:
    """Compares two views of one mailbox; segments that both share cost nothing.

    What changed under the MODSEQ `quiet` need not be told; of whole segments it is left out.
    """
    found = Differences([], [], [], 0)
    before = {row.first_uid: row for row in old.rows}
    after = {row.first_uid: row for row in new.rows}
    last = _last_uid(old)
    at_old = at_new = 0
    for first in sorted(before.keys() | after.keys()):
        was, now = before.get(first), after.get(first)
        if was is not now:
            _compare(
                was.segment if was is not None else _NOTHING,
                now.segment if now is not None else _NOTHING,
                at_old,
                at_new,
                last,
                found,
                quiet,
            )
        at_old += len(was.segment) if was is not None else 0
        at_new += len(now.segment) if now is not None else 0
    return found


_NOTHING = Segment()


def _last_uid(view: View) -> int:
    for row in reversed(view.rows):
        if len(row.segment):
            return int(row.segment.uids[-1])
    return 0


def _compare(
    was: Segment, now: Segment, at_old: int, at_new: int, last: int, found: Differences, quiet: int
) -> None:
    count = len(was)
    if count and not len(now):
        found.gone += range(at_old, at_old + count)
        found.gone_uids += was.uids
        return
    if was.uids == now.uids[:count]:
        modseqs = now.modseqs
        if was.modseqs != modseqs[:count] and not (
            quiet and modseqs == array("Q", (quiet,)) * len(now)
        ):
            found.changed += [
                at_new + at for at, modseq in enumerate(was.modseqs) if modseq != modseqs[at]
            ]
        found.added += len(now) - count
        return
    places = {uid: at for at, uid in enumerate(now.uids)}
    for at, uid in enumerate(was.uids):
        place = places.pop(uid, None)
        if place is None:
            found.gone.append(at_old + at)
            found.gone_uids.append(uid)
        elif was.modseqs[at] != now.modseqs[place]:
            found.changed.append(at_new + place)
    assert all(uid > last for uid in places), "new messages stand behind all others"
    found.added += len(places)


class Teller:
    """How one client wants to be told: with UIDs and MODSEQs, with VANISHED or EXPUNGE."""

    __slots__ = ("modseq", "names", "vanished")

    def __init__(self, names: Callable[[int, int], bytes], *, modseq: bool, vanished: bool) -> None:
        self.names = names  # of flags: (system bits, keyword bits)
        self.modseq = modseq
        self.vanished = vanished

    def expunged(self, found: Differences) -> bytes:
        """What is gone."""
        if not found.gone:
            return b""
        if self.vanished:
            return responses.vanished(found.gone_uids)
        return responses.expunges(found.gone)

    def flags(self, view: View, places: Sequence[int], quiet: int = 0) -> bytes:
        """The flags of these messages. Those that changed under the MODSEQ `quiet` the client set
        itself with .SILENT: it only wants their MODSEQ, if that.  # RFC 7162 §3.1.3
        """
        uids, modseqs, flags, keywords = view.uids, view.modseqs, view.flags, view.keywords
        names, told = self.names, []
        for at in places:
            silent = modseqs[at] == quiet
            if silent and not self.modseq:
                continue
            items = b"UID %d" % uids[at]
            if not silent:
                items += b" FLAGS (%b)" % names(flags[at], keywords[at] if keywords else 0)
            if self.modseq:
                items += b" MODSEQ (%d)" % modseqs[at]
            told.append(b"* %d FETCH (%b)\r\n" % (at + 1, items))
        return b"".join(told)
