"""Views: what lies in a mailbox, in memory, column by column.

All sessions of a mailbox share its view. A view never changes; `current` makes the next one of
the last by reading only what changed since, and gives the same one back when nothing did.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Final

from kerwen.mail.actions.mailboxes import unknown
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import placed
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import DELETED, Placed, Segment
from kerwen.storage.database import Database, Snap

KEPT_MESSAGES_MAX: Final = 1_000_000  # some 60 bytes each
SHOWN: Final = bytes(0 if value & DELETED else 1 for value in range(256))
"""Translates flags: 1 for what has no \\Deleted."""


class View:
    """A mailbox as of one moment: `modseq` is its HIGHESTMODSEQ, `head` the account's counter.

    The columns hold all its messages in the order of UIDs; a place in them is a message's
    sequence number less one.
    """

    __slots__ = ("_columns", "head", "mailbox", "rows")

    def __init__(self, mailbox: Mailbox, head: int, rows: list[Row]) -> None:
        self.mailbox = mailbox
        self.head = head
        self.rows = rows
        self._columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return self.mailbox.messages

    @property
    def modseq(self) -> int:
        """HIGHESTMODSEQ. # RFC 7162 §3.1.2.1"""
        return self.mailbox.modseq

    @property
    def uids(self) -> array[int]:
        """UIDs."""
        return self._column("uids", "I")

    @property
    def nos(self) -> array[int]:
        """Message numbers."""
        return self._column("nos", "Q")

    @property
    def modseqs(self) -> array[int]:
        """MODSEQs."""
        return self._column("modseqs", "Q")

    @property
    def borns(self) -> array[int]:
        """MODSEQs at which the messages came to the account."""
        return self._column("borns", "Q")

    @property
    def sizes(self) -> array[int]:
        """RFC822.SIZEs."""
        return self._column("sizes", "I")

    @property
    def dates(self) -> array[int]:
        """INTERNALDATEs in seconds."""
        return self._column("dates", "q")

    @property
    def saved(self) -> array[int]:
        """SAVEDATEs in seconds."""
        return self._column("saved", "q")

    @property
    def threads(self) -> array[int]:
        """Tags of the threads."""
        return self._column("threads", "q")

    @property
    def index(self) -> dict[int, tuple[int, ...]]:
        """The places of each message by its number; made when first asked for."""
        found: dict[int, tuple[int, ...]] | None = self._columns.get("index")
        if found is None:
            found = {}
            for place, no in enumerate(self.nos):
                found[no] = (*found.get(no, ()), place)
            self._columns["index"] = found
        return found

    @property
    def by_no(self) -> array[int] | None:
        """The places in the order of message numbers; None: they stand in that order."""
        return self._order("by_no", self.nos)

    @property
    def by_date(self) -> array[int] | None:
        """The places in the order of INTERNALDATEs; None: they stand in that order."""
        return self._order("by_date", self.dates)

    def _order(self, name: str, values: array[int]) -> array[int] | None:
        if name not in self._columns:
            told = values.tolist()
            column = None
            if told != sorted(told):
                column = array("I", sorted(range(len(told)), key=told.__getitem__))
            self._columns[name] = column
        found: array[int] | None = self._columns[name]
        return found

    def different(self, name: str) -> int:
        """How many different values stand in a column (`nos`, `threads`), without \\Deleted."""
        mark = f"different {name}"
        if mark not in self._columns:
            values: Iterable[int] = getattr(self, name)
            if self.mailbox.deleted:
                values = compress(values, self.flags.translate(SHOWN))
            self._columns[mark] = len(set(values))
        found: int = self._columns[mark]
        return found

    def places_of(self, no: int) -> Sequence[int]:
        """Where a message stands: at one place mostly; copies may lie side by side."""
        nos, order = self.nos, self.by_no
        if order is None:
            first, last = bisect_left(nos, no), bisect_right(nos, no)
            return range(first, last)
        first = bisect_left(order, no, key=nos.__getitem__)
        last = first
        while last < len(order) and nos[order[last]] == no:
            last += 1
        return order[first:last]

    def places_of_all(self, wanted: Iterable[int]) -> list[tuple[int, int]]:
        """(number, place) of messages, wherever they stand here."""
        nos, found = self.nos, []
        if self.by_no is None:
            count = len(nos)
            for no in wanted:
                at = bisect_left(nos, no)
                while at < count and nos[at] == no:
                    found.append((no, at))
                    at += 1
        else:
            for no in wanted:
                found += [(no, at) for at in self.places_of(no)]
        return found

    def places_of_threads(self, wanted: set[int]) -> list[int]:
        """Where the messages of threads stand. Asked again, it knows them by an index."""
        threads = self.threads
        order: array[int] | None = self._columns.get("by_thread")
        if order is None:
            if not self._columns.setdefault("asked_threads", 0):
                self._columns["asked_threads"] = 1
                return list(compress(range(len(threads)), map(wanted.__contains__, threads)))
            order = array("I", sorted(range(len(threads)), key=threads.__getitem__))
            self._columns["by_thread"] = order
        found: list[int] = []
        for thread in wanted:
            at = bisect_left(order, thread, key=threads.__getitem__)
            while at < len(order) and threads[order[at]] == thread:
                found.append(order[at])
                at += 1
        return found

    @property
    def flags(self) -> bytes:
        """System flags, a byte each."""
        found: bytes | None = self._columns.get("flags")
        if found is None:
            found = self._columns["flags"] = b"".join([row.segment.flags for row in self.rows])
        return found

    @property
    def keywords(self) -> array[int] | None:
        """Bits of keywords; None if no message has any."""
        if "keywords" not in self._columns:
            column: array[int] | None = None
            if any(row.segment.keywords is not None for row in self.rows):
                column = array("Q")
                for row in self.rows:
                    own = row.segment.keywords
                    column.extend(
                        own if own is not None else array("Q", bytes(8 * len(row.segment)))
                    )
            self._columns["keywords"] = column
        found: array[int] | None = self._columns["keywords"]
        return found

    def _column(self, name: str, kind: str) -> array[int]:
        found: array[int] | None = self._columns.get(name)
        if found is None:
            found = array(kind)
            for row in self.rows:
                found.extend(getattr(row.segment, name))
            self._columns[name] = found
        return found

    def place(self, uid: int) -> int | None:
        """Where a UID stands; None if it is not there."""
        uids = self.uids
        at = bisect_left(uids, uid)
        return at if at < len(uids) and uids[at] == uid else None

    def places(self, first: int, last: int) -> range:
        """Where the UIDs from `first` to `last` stand."""
        return range(bisect_left(self.uids, first), bisect_right(self.uids, last))

    def __getitem__(self, place: int) -> Placed:
        at = place
        for row in self.rows:
            if at < len(row.segment):
                return row.segment[at]
            at -= len(row.segment)
        raise IndexError(place)


class Views:
    """The views in use, the last used of them."""

    def __init__(self, db: Database, most: int = KEPT_MESSAGES_MAX) -> None:
        self._db = db
        self._most = most
        self._kept: OrderedDict[tuple[int, int], View] = OrderedDict()
        self._messages = 0

    async def current(self, account_no: int, mailbox_no: int) -> View:
        """The mailbox as it is now. Says `UNKNOWN_MAILBOX`."""
        async with self._db.read() as snap:
            return await self.current_in(snap, account_no, mailbox_no)

    async def current_in(self, snap: Snap, account_no: int, mailbox_no: int) -> View:
        """The mailbox as of a snapshot. Says `UNKNOWN_MAILBOX`."""
        found = await boxes.with_head(snap, account_no, mailbox_no)
        if found is None:
            self._drop((account_no, mailbox_no))
            raise unknown()
        return await self.of(snap, *found)

    async def of(self, snap: Snap, mailbox: Mailbox, head: int, forgot: int) -> View:
        """The view of a mailbox as its row says that it is; all of one snapshot."""
        account_no, mailbox_no = mailbox.account_no, mailbox.mailbox_no
        key = (account_no, mailbox_no)
        kept = self._kept.get(key)
        if kept is not None and kept.modseq == mailbox.modseq:
            self._kept.move_to_end(key)
            if kept.head != head or kept.mailbox != mailbox:
                same = View(mailbox, head, kept.rows)
                same._columns = kept._columns
                self._kept[key] = kept = same
            return kept
        if kept is None or kept.modseq < forgot or kept.modseq > mailbox.modseq:
            rows = await placed.all_of(snap, account_no, mailbox_no)
        else:
            rows = await self._changed(snap, kept, account_no, mailbox_no)
        view = View(mailbox, head, rows)
        self._keep(key, view)
        return view

    async def _changed(self, snap: Snap, kept: View, account_no: int, mailbox_no: int) -> list[Row]:
        rows = {row.first_uid: row for row in kept.rows}
        news = await placed.since(snap, account_no, mailbox_no, kept.modseq)
        fresh = {row.first_uid for row in news}
        rows.update((row.first_uid, row) for row in news)
        gone = set(await placed.vanished(snap, account_no, mailbox_no, kept.modseq))
        if gone:  # a segment that was emptied has no row any more
            for first, row in list(rows.items()):
                if first not in fresh and row.segment.uids[0] in gone:
                    del rows[first]
        return [rows[first] for first in sorted(rows)]

    def changed(self, before: int, mailbox: Mailbox, rows: list[Row]) -> None:
        """Some rows of a mailbox are now so, nothing else changed since HIGHESTMODSEQ `before`:
        whoever wrote them tells it after commit, and nobody has to read them again. The rows are
        the view's from now on; empty ones are gone.
        """
        key = (mailbox.account_no, mailbox.mailbox_no)
        kept = self._kept.get(key)
        if kept is None or kept.modseq != before:
            return
        left = kept.rows[:]
        for row in rows:
            at = bisect_left(left, row.first_uid, key=_first_uid)
            if at < len(left) and left[at].first_uid == row.first_uid:
                left[at] = row
            else:
                left.insert(at, row)
        if not all(len(row.segment) for row in rows):
            left = [row for row in left if len(row.segment)]
        self._keep(key, View(mailbox, mailbox.modseq, left))

    def _keep(self, key: tuple[int, int], view: View) -> None:
        self._drop(key)
        self._kept[key] = view
        self._messages += len(view)
        while self._messages > self._most and len(self._kept) > 1:
            self._messages -= len(self._kept.popitem(last=False)[1])

    def _drop(self, key: tuple[int, int]) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._messages -= len(old)


def _first_uid(row: Row) -> int:
    return row.first_uid


def whole(view: View) -> Segment:
    """All messages of a view as one segment."""
    every = Segment()
    for row in view.rows:
        every.extend(row.segment)
    return every
