"""All mailboxes of an account at one moment: what JMAP sees, where IMAP sees one mailbox.

An Email is a message wherever it lies: in several mailboxes if it was copied. What has \\Deleted is
seen by IMAP only (RFC 8621 §4.1.1), so it is left out here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Final

import msgspec

from kerwen.mail.actions import keywords
from kerwen.mail.actions.mailboxes import Mailboxes
from kerwen.mail.actions.views import SHOWN, View, Views
from kerwen.mail.flags import System
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.segment import DELETED, SEEN
from kerwen.storage.database import Database

_KEPT_MESSAGES: Final = 500_000  # of all accounts
_MAILBOX: Final = 32  # what a mailbox costs, in messages: empty accounts are not free
_DRAFT: Final = int(System.DRAFT)
_NAMED: Final = (
    (int(System.SEEN), "$seen"),
    (int(System.ANSWERED), "$answered"),
    (int(System.FLAGGED), "$flagged"),
    (_DRAFT, "$draft"),
)
_UNREAD: Final = bytes(0 if value & (DELETED | SEEN | _DRAFT) else 1 for value in range(256))
JUNK: Final = frozenset({"junk", "trash"})


class Lying(msgspec.Struct, frozen=True, gc=False):
    """Where an Email lies, and how."""

    no: int
    mailboxes: tuple[int, ...]
    flags: int  # \\Seen if all copies have it, others if one has
    bits: int  # keywords
    date: int  # seconds
    thread: int
    size: int
    at: tuple[tuple[View, int], ...]  # each copy: its view and place


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What a Mailbox tells of its Emails."""

    emails: int
    unread: int
    threads: int
    unread_threads: int


class AccountView:
    """An account's mailboxes. `head`: its MODSEQ then. Never changes."""

    __slots__ = (
        "_counts", "account", "keywords", "mailboxes", "orders", "sorted", "subscribed", "views",
    )  # fmt: skip

    def __init__(
        self,
        account: Account,
        mailboxes: list[Mailbox],
        views: dict[int, View],
        known: list[str],
        subscribed: set[str],
        orders: dict[int, int],
    ) -> None:
        self.account = account
        self.mailboxes = {one.mailbox_no: one for one in mailboxes}
        self.views = views  # of mailboxes that are not empty
        self.keywords = known
        self.subscribed = subscribed
        self.orders = orders
        self.sorted: dict[object, Sequence[int]] = {}  # results of queries, kept by who made them
        self._counts: dict[int, Counts] | None = None

    @property
    def head(self) -> int:
        """The account's MODSEQ."""
        return self.account.modseq

    def shown(self, view: View) -> Iterator[int]:
        """The places of a view that JMAP sees."""
        places: Iterable[int] = range(len(view))
        if view.mailbox.deleted:
            return compress(places, view.flags.translate(SHOWN))
        return iter(places)

    def find(self, no: int) -> Lying | None:
        """An Email by its number; None: there is none."""
        at: list[tuple[View, int]] = []
        for view in self.views.values():
            for place in view.places_of(no):
                if not view.flags[place] & DELETED:
                    at.append((view, place))
        return _lying(no, at) if at else None

    def find_all(self, nos: Iterable[int]) -> dict[int, Lying]:
        """Those of these Emails that are there."""
        wanted = list(dict.fromkeys(nos))
        met: dict[int, list[tuple[View, int]]] = {}
        for view in self.views.values():
            flags = view.flags
            for no, place in view.places_of_all(wanted):
                if flags[place] & DELETED:
                    continue
                if no in met:
                    met[no].append((view, place))
                else:
                    met[no] = [(view, place)]
        return {no: _lying(no, met[no]) for no in wanted if no in met}

    def of_threads(self, wanted: set[int]) -> dict[int, list[tuple[int, int]]]:
        """(date, number) of the Emails of threads, eldest first, each once."""
        met: dict[int, dict[int, int]] = {}
        for view in self.views.values():
            threads = view.threads
            nos, dates, flags = view.nos, view.dates, view.flags
            for place in view.places_of_threads(wanted):
                if not flags[place] & DELETED:
                    own = met.setdefault(threads[place], {})
                    no = nos[place]
                    own[no] = max(own.get(no, 0), dates[place])
        return {
            thread: sorted((date, no) for no, date in own.items()) for thread, own in met.items()
        }

    def names_of(self, one: Lying) -> dict[str, bool]:
        """JMAP's keywords of an Email."""
        found = {name: True for bit, name in _NAMED if one.flags & bit}
        if one.bits:
            for name in keywords.names(self.keywords, one.bits):
                found[name.lower()] = True
        return found

    def keyword_bit(self, name: str) -> tuple[int, int]:
        """(system flag, keyword bit) that a JMAP keyword means; (0, 0): nobody has it."""
        small = name.lower()
        for bit, known in _NAMED:
            if known == small:
                return bit, 0
        for place, known in enumerate(self.keywords):
            if known.lower() == small:
                return 0, 1 << place
        return 0, 0

    def counts(self) -> dict[int, Counts]:
        """The counts of every mailbox. # RFC 8621 §2"""
        if self._counts is None:
            self._counts = self._counted()
        return self._counts

    def _counted(self) -> dict[int, Counts]:
        unread_in: dict[int, set[int]] = {}
        everywhere: set[int] = set()  # threads with something unread; those in Trash apart
        trash: set[int] = set()
        for number, view in self.views.items():
            own = set(compress(view.threads, view.flags.translate(_UNREAD)))
            unread_in[number] = own
            if view.mailbox.special == "trash":
                trash |= own
            else:
                everywhere |= own
        found = {}
        for number, mailbox in self.mailboxes.items():
            known = self.views.get(number)
            if known is None:
                found[number] = Counts(0, 0, 0, 0)
                continue
            threads: set[int] = set(known.threads)
            if mailbox.deleted:
                threads = set(compress(known.threads, known.flags.translate(SHOWN)))
            unread = trash if mailbox.special == "trash" else everywhere
            found[number] = Counts(
                len(known) - mailbox.deleted,
                known.flags.translate(_UNREAD).count(1),
                len(threads),
                len(threads & unread),
            )
        return found


def _lying(no: int, at: list[tuple[View, int]]) -> Lying:
    view, place = at[0]
    column = view.keywords
    flags, bits = view.flags[place], column[place] if column is not None else 0
    date = view.dates[place]
    if len(at) == 1:
        numbers: tuple[int, ...] = (view.mailbox.mailbox_no,)
    else:
        seen = SEEN
        for other, there in at:
            own = other.flags[there]
            seen &= own
            flags |= own
            if other.keywords is not None:
                bits |= other.keywords[there]
        flags = flags & ~SEEN | seen
        numbers = tuple(dict.fromkeys(other.mailbox.mailbox_no for other, _ in at))
    return Lying(no, numbers, flags, bits, date, view.threads[place], view.sizes[place], tuple(at))


class AccountViews:
    """The views of accounts that are in use."""

    def __init__(self, db: Database, views: Views, mailboxes: Mailboxes) -> None:
        self._db = db
        self._views = views
        self._mailboxes = mailboxes
        self._kept: OrderedDict[int, AccountView] = OrderedDict()

    async def current(self, account_no: int) -> AccountView:
        """The account as it is now; its mailboxes are made if it has none yet."""
        found = await self._read(account_no)
        if found is None:
            await self._mailboxes.listing(account_no)
            found = await self._read(account_no)
        assert found is not None, "it was made just now"
        return found

    async def _read(self, account_no: int) -> AccountView | None:
        async with self._db.read() as snap:
            account = await boxes.account(snap, account_no)
            if account is None:
                return None
            kept = self._kept.get(account_no)
            if kept is not None and kept.head == account.modseq:
                self._kept.move_to_end(account_no)
                if kept.account != account:  # its quota, perhaps
                    kept.account = account
                return kept
            mailboxes = await boxes.all_of(snap, account_no)
            views = {
                one.mailbox_no: await self._views.of(snap, one, account.modseq, account.forgot)
                for one in mailboxes
                if one.messages
            }
            known = await boxes.keywords(snap, account_no)
            subscribed = set(await boxes.subscriptions(snap, account_no))
            orders = await boxes.orders(snap, account_no)
        made = AccountView(account, mailboxes, views, known, subscribed, orders)
        self._kept[account_no] = made
        self._kept.move_to_end(account_no)
        total = sum(map(_cost, self._kept.values()))
        while total > _KEPT_MESSAGES and len(self._kept) > 1:
            total -= _cost(self._kept.popitem(last=False)[1])
        return made


def _cost(one: AccountView) -> int:
    return one.account.placed + _MAILBOX * len(one.mailboxes)
