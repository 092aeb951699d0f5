"""What happened to an account's Emails since a state: each in the order of its last change, so that
a client may take it in pieces of any size.

A state is a MODSEQ, `123`. Between two pieces it is `123.456.100`: told were the changes after
MODSEQ 100, up to 123; of what 123 changed, up to number 456 (0: all). What came after 100 is new to
the client until all is told.
"""

# RFC 8620 §5.2, §5.6; RFC 8621 §4.3

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.mail.actions.account_views import AccountView
from kerwen.mail.actions.views import View
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed
from kerwen.storage.database import Database

_STATE: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18})\.([0-9]{1,18}))?")
CREATED: Final = "created"
UPDATED: Final = "updated"
DESTROYED: Final = "destroyed"


class State(msgspec.Struct, frozen=True, gc=False):
    """Up to where somebody was told. `no` 0: all that `modseq` changed. `base`: from where on, if
    there is more to tell."""

    modseq: int
    no: int = 0
    base: int | None = None

    def __str__(self) -> str:
        whole = self.base is None
        return str(self.modseq) if whole else f"{self.modseq}.{self.no}.{self.base}"

    @property
    def before(self) -> int:
        """The last MODSEQ of which all was told."""
        return self.modseq - 1 if self.no else self.modseq

    def knows(self, modseq: int, no: int) -> bool:
        """Whether a change was told."""
        if modseq == self.modseq:
            return not self.no or no <= self.no
        return modseq < self.modseq

    def knew(self, born: int) -> bool:
        """Whether something was there when the client began to ask."""
        return born <= (self.modseq if self.base is None else self.base)


def parse_state(text: str) -> State | None:
    """A state; None: it is none of ours."""
    match = _STATE.fullmatch(text)
    if match is None:
        return None
    return State(int(match[1]), int(match[2] or 0), int(match[3]) if match[3] else None)


class Change(msgspec.Struct, frozen=True, gc=False):
    """What became of one thing. `thread` None: not known."""

    modseq: int
    no: int
    kind: str
    thread: int | None = None


class Changes(msgspec.Struct, frozen=True):
    """All changes after a state, in order."""

    every: list[Change]

    def page(self, since: State, head: int, most: int) -> tuple[list[Change], State, bool]:
        """The first of them, the state after these, and whether there are more."""
        if len(self.every) <= most:
            return self.every, State(head), False
        some, following = self.every[:most], self.every[most]
        last = some[-1]
        whole = following.modseq != last.modseq
        base = since.modseq if since.base is None else since.base
        return some, State(last.modseq, 0 if whole else last.no, base), True


class EmailChanges:
    """Reads what changed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def emails(self, whole: AccountView, since: State) -> Changes | None:
        """Of Emails; None: it is too long ago."""
        if not knows(whole, since):
            return None
        async with self._db.read() as snap:
            rows = await placed.vanished_since(snap, whole.account.account_no, since.before)
        met = _changed(whole, since)
        left: dict[int, tuple[int, int | None]] = {}
        for row in rows:
            if row.modseq > whole.head:
                continue
            for at, no in enumerate(row.nos):
                left[no] = (row.modseq, row.threads[at] if row.threads is not None else None)
        found: list[Change] = []
        for no in met.keys() | left.keys():
            born, modseq, thread = met.get(no, (0, 0, None))
            if no in left:
                modseq = max(modseq, left[no][0])
                thread = thread if thread is not None else left[no][1]
            if since.knows(modseq, no):
                continue
            there = whole.find(no)
            if there is None:
                found.append(Change(modseq, no, DESTROYED, thread))
                continue
            if no not in met:  # it left one mailbox and lies in another
                born = _born(there.at)
            kind = UPDATED if since.knew(born) else CREATED
            found.append(Change(modseq, no, kind, there.thread))
        return Changes(sorted(found, key=_order))

    async def threads(self, whole: AccountView, since: State) -> Changes | None:
        """Of threads: which Emails are in them."""
        changes = await self.emails(whole, since)
        if changes is None:
            return None
        told: dict[int, Change] = {}
        for one in changes.every:
            if one.thread is not None and one.kind != UPDATED:
                told[one.thread] = one
        there = whole.of_threads(set(told))
        found = []
        for thread, one in told.items():
            own = there.get(thread)
            kind = UPDATED
            if own is None:
                kind = DESTROYED
            elif all(_is_new(whole, no, since) for _, no in own):
                kind = CREATED
            found.append(Change(one.modseq, one.no, kind, thread))
        return Changes(sorted(found, key=_order))

    async def mailboxes(self, whole: AccountView, since: State) -> tuple[Changes, bool] | None:
        """Of mailboxes, by their numbers; and whether only counts changed in all that were
        updated."""
        emails = await self.emails(whole, since)
        if emails is None:
            return None
        async with self._db.read() as snap:
            gone = await boxes.gone_since(snap, whole.account.account_no, since.before)
        counted = self._counted(whole, emails.every)
        found: list[Change] = []
        only_counts = True
        for no, one in whole.mailboxes.items():
            last = max(one.changed, one.modseq, counted.get(no, 0))
            if since.knows(last, no):
                continue
            if not since.knew(one.created):
                found.append(Change(last, no, CREATED))
                continue
            only_counts = only_counts and since.knew(one.changed)
            found.append(Change(last, no, UPDATED))
        # what was removed is told at the end: its MODSEQ is not read
        found += [
            Change(whole.head, no, DESTROYED)
            for no in gone
            if no not in whole.mailboxes and not since.knows(whole.head, no)
        ]
        return Changes(sorted(found, key=_order)), only_counts

    def _counted(self, whole: AccountView, emails: Sequence[Change]) -> dict[int, int]:
        """Mailboxes whose unreadThreads may be others: a thread of theirs changed elsewhere."""
        if not emails:
            return {}
        threads = {one.thread for one in emails}
        if None in threads or len(threads) > 1_000:
            return dict.fromkeys(whole.views, whole.head)
        return {
            no: whole.head
            for no, view in whole.views.items()
            if not threads.isdisjoint(view.threads)
        }


def knows(whole: AccountView, since: State) -> bool:
    """Whether it is known what happened after a state."""
    return whole.account.forgot <= since.before and since.modseq <= whole.head


def _order(one: Change) -> tuple[int, int]:
    return one.modseq, one.no


def _changed(whole: AccountView, since: State) -> dict[int, tuple[int, int, int]]:
    """Messages that changed where they lie: (born, MODSEQ, thread)."""
    found: dict[int, tuple[int, int, int]] = {}
    before = since.before
    for view in whole.views.values():
        if view.modseq <= before:
            continue
        modseqs = view.modseqs
        places = [at for at, modseq in enumerate(modseqs) if modseq > before]
        nos, borns, threads = view.nos, view.borns, view.threads
        for at in places:
            no, modseq = nos[at], modseqs[at]
            if no in found:
                modseq = max(modseq, found[no][1])
            found[no] = (borns[at], modseq, threads[at])
    return found


def _born(at: Sequence[tuple[View, int]]) -> int:
    view, place = at[0]
    return view.borns[place]


def _is_new(whole: AccountView, no: int, since: State) -> bool:
    one = whole.find(no)
    return one is not None and not since.knew(_born(one.at))
