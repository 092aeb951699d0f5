"""Finds and orders the Emails of an account: flags, dates and sizes in the views, words in the
sealed records by `Search`.
"""

# RFC 8621 §4.4

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, overload

from kerwen.mail import addresses, encoded_words, fields
from kerwen.mail.actions.account_views import AccountView, Lying
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.search import Search
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.jmap.filters import Comparator, Condition, Filter, Operator
from kerwen.mail.store import page
from kerwen.mail.store.record import Head, More
from kerwen.mail.store.segment import DELETED

_AT_ONCE: Final = 2_000
_RESULTS_KEPT: Final = 16  # of one state of an account, each 8 bytes an Email, or 16
_LAZILY_MAX: Final = 5_000  # further on all are found: who was met is remembered only till then
_CARDS: Final = frozenset(("from", "to", "subject", "sentAt"))
MailboxNo = Callable[[str], int | None]
"""The number of a mailbox id; None: there is none."""


class EmailQuery:
    """Email/query and what stands on it."""

    def __init__(self, records: Records, search: Search) -> None:
        self._records = records
        self._search = search

    async def run(
        self,
        unlocked: Unlocked,
        whole: AccountView,
        asked: Filter | None,
        sort: Sequence[Comparator],
        collapse: bool,
        mark: bytes,
        mailbox_no: MailboxNo,
    ) -> Sequence[int]:
        """The numbers of the Emails that fit, in order. `mark` stands for the question: its
        answer is kept as long as nothing changes. Raises `MethodError`."""
        told: Sequence[int]
        kept = whole.sorted.get(mark)
        if kept is not None:
            return kept
        work = _Work(self._records, self._search, unlocked, whole, mailbox_no)
        plain = asked is None or (isinstance(asked, Condition) and asked.is_mailbox)
        by_date = len(sort) == 1 and sort[0].property == "receivedAt"
        if isinstance(asked, Condition) and plain and asked.in_mailbox and by_date:
            told = work.of_mailbox(asked.in_mailbox, sort[0].ascending, collapse)
        else:
            fit = set(work.first) if asked is None else await work.ask(asked, set(work.first))
            found = await work.ordered(fit, sort)
            told = array("Q", found)
            if collapse:
                first = work.first
                told = Collapsed(
                    told, array("q", [first[n][0].threads[first[n][1]] for n in found])
                )
        if len(whole.sorted) >= _RESULTS_KEPT:
            del whole.sorted[next(iter(whole.sorted))]
        whole.sorted[mark] = told
        return told


class _Lazily(Sequence[int]):
    """Results that are found as far as somebody looks."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found = array("Q")

    def _look(self, count: int) -> array[int]:
        """At least so many, if there are."""
        raise NotImplementedError

    def _all(self) -> array[int]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        if isinstance(at, slice) and at.stop is not None and at.stop >= 0 <= (at.start or 0):
            return self._look(at.stop)[at]
        return self._all()[at]

    def __iter__(self) -> Iterator[int]:
        return iter(self._all())


class OfMailbox(_Lazily):
    """The Emails of a mailbox by date, each once; `collapse`: the first of each thread."""

    __slots__ = ("_ascending", "_column", "_rest", "_view")

    def __init__(self, view: View, ascending: bool, collapse: bool) -> None:
        super().__init__()
        self._view = view
        self._ascending = ascending
        self._column = "threads" if collapse else "nos"
        self._rest = self._each()

    def _each(self) -> Iterator[int]:
        view = self._view
        flags = view.flags if view.mailbox.deleted else None
        keys, nos, order = getattr(view, self._column), view.nos, view.by_date
        places: Sequence[int] = range(len(view)) if order is None else order
        seen: set[int] = set()
        for at in places if self._ascending else reversed(places):
            if flags is not None and flags[at] & DELETED:
                continue
            key = keys[at]
            if key not in seen:
                seen.add(key)
                yield nos[at]

    def _look(self, count: int) -> array[int]:
        if count > _LAZILY_MAX:
            return self._all()
        self._found.extend(islice(self._rest, max(count - len(self._found), 0)))
        return self._found

    def _all(self) -> array[int]:
        self._found.extend(self._rest)
        return self._found

    def __len__(self) -> int:
        return self._view.different(self._column)


class Collapsed(_Lazily):
    """The first Email of each thread."""

    __slots__ = ("_at", "_nos", "_seen", "_threads")

    def __init__(self, nos: Sequence[int], threads: Sequence[int]) -> None:
        super().__init__()
        self._nos = nos
        self._threads = threads
        self._seen: set[int] = set()
        self._at = 0

    def _look(self, count: int) -> array[int]:
        if count > _LAZILY_MAX:
            return self._all()
        found, seen, nos, threads = self._found, self._seen, self._nos, self._threads
        at = self._at
        while len(found) < count and at < len(nos):
            thread = threads[at]
            if thread not in seen:
                seen.add(thread)
                found.append(nos[at])
            at += 1
        self._at = at
        return found

    def _all(self) -> array[int]:
        if self._at < len(self._nos):
            firsts: dict[int, int] = dict.fromkeys(self._threads, 0)  # in the order of their first
            firsts.update(zip(reversed(self._threads), reversed(self._nos), strict=True))
            self._found = array("Q", firsts.values())
            self._nos = self._threads = ()
            self._at = 0
            self._seen.clear()
        return self._found


class _Work:
    """One query."""

    def __init__(
        self,
        records: Records,
        search: Search,
        unlocked: Unlocked,
        whole: AccountView,
        mailbox_no: MailboxNo,
    ) -> None:
        self._records = records
        self._search = search
        self._unlocked = unlocked
        self._whole = whole
        self._mailbox_no = mailbox_no
        self._first: dict[int, tuple[View, int]] | None = None
        self._several: dict[int, Lying] = {}

    @property
    def first(self) -> dict[int, tuple[View, int]]:
        """Every Email with one place of it."""
        if self._first is None:
            found: dict[int, tuple[View, int]] = {}
            again: set[int] = set()
            for view in self._whole.views.values():
                nos = view.nos
                for place in self._whole.shown(view):
                    no = nos[place]
                    if no in found:
                        again.add(no)
                    else:
                        found[no] = (view, place)
            self._first = found
            self._several = self._whole.find_all(again)
        return self._first

    def _number(self, mailbox_id: str) -> int:
        number = self._mailbox_no(mailbox_id)
        if number is None:
            raise MethodError("invalidArguments", "There is no such mailbox")
        return number

    def of_mailbox(self, mailbox_id: str, ascending: bool, collapse: bool) -> Sequence[int]:
        """All of a mailbox by date."""
        view = self._whole.views.get(self._number(mailbox_id))
        return array("Q") if view is None else OfMailbox(view, ascending, collapse)

    # --- filters

    async def ask(self, asked: Filter, among: set[int]) -> set[int]:
        """Which of some Emails fit."""
        if isinstance(asked, Condition):
            return await self._condition(asked, among)
        assert isinstance(asked, Operator)
        if asked.operator == "AND":
            for one in sorted(asked.conditions, key=_cost):
                among = await self.ask(one, among)
            return among
        found: set[int] = set()
        for one in asked.conditions:
            found |= await self.ask(one, among - found)
        return found if asked.operator == "OR" else among - found

    async def _condition(self, asked: Condition, among: set[int]) -> set[int]:
        if asked.in_mailbox is not None:
            view = self._whole.views.get(self._number(asked.in_mailbox))
            nos = view.nos if view is not None else ()
            among = among.intersection(
                [nos[at] for at in self._whole.shown(view)] if view is not None else ()
            )
        if asked.not_only_in is not None:
            among = among & self._outside(asked.not_only_in)
        among = self._clear(asked, among)
        for keyword, is_set in asked.keywords:
            having = self._having(keyword, among)
            among = having if is_set else among - having
        for how, keyword in asked.threads:
            among = self._threads(how, keyword, among)
        if asked.has_attachment is not None:
            among = await self._files(among, asked.has_attachment)
        if asked.key is not None and among:
            among = await self._texts(asked, among)
        return among

    def _outside(self, mailboxes: Iterable[str]) -> set[int]:
        """Emails that lie in some mailbox besides these."""
        left_out = {self._number(one) for one in mailboxes}
        found: set[int] = set()
        for number, view in self._whole.views.items():
            if number not in left_out:
                nos = view.nos
                found.update([nos[at] for at in self._whole.shown(view)])
        return found

    def _clear(self, asked: Condition, among: set[int]) -> set[int]:
        first = self.first
        if asked.before is not None:
            edge = -(-asked.before // 1000)
            among = {no for no in among if first[no][0].dates[first[no][1]] < edge}
        if asked.after is not None:
            edge = -(-asked.after // 1000)
            among = {no for no in among if first[no][0].dates[first[no][1]] >= edge}
        if asked.min_size is not None:
            least = asked.min_size
            among = {no for no in among if first[no][0].sizes[first[no][1]] >= least}
        if asked.max_size is not None:
            most = asked.max_size
            among = {no for no in among if first[no][0].sizes[first[no][1]] < most}
        return among

    def _having(self, keyword: str, among: Iterable[int]) -> set[int]:
        """Those that have a keyword."""
        flag, bit = self._whole.keyword_bit(keyword)
        found: set[int] = set()
        if not flag and not bit:
            return found
        first, several = self.first, self._several
        for no in among:
            if (one := several.get(no)) is not None:
                if one.flags & flag or one.bits & bit:
                    found.add(no)
                continue
            view, place = first[no]
            if flag:
                if view.flags[place] & flag:
                    found.add(no)
            elif (column := view.keywords) is not None and column[place] & bit:
                found.add(no)
        return found

    def _thread(self, no: int) -> int:
        view, place = self.first[no]
        return view.threads[place]

    def _threads_with(self, how: str, keyword: str) -> set[int]:
        """Threads of which some, or all, Emails have a keyword."""
        having = self._having(keyword, self.first)
        some = {self._thread(no) for no in having}
        if how == "all":
            some -= {self._thread(no) for no in self.first if no not in having}
        return some

    def _threads(self, how: str, keyword: str, among: set[int]) -> set[int]:
        threads = self._threads_with("all" if how == "all" else "some", keyword)
        return {no for no in among if (self._thread(no) in threads) == (how != "none")}

    async def _files(self, among: set[int], wanted: bool) -> set[int]:
        mores = await self._pieces(among, page.MORE)
        return {no for no, more in mores.items() if bool(more.files) == wanted}

    async def _texts(self, asked: Condition, among: set[int]) -> set[int]:
        assert asked.key is not None
        places: dict[int, set[int]] = {}
        views: dict[int, View] = {}
        first = self.first
        for view in self._whole.views.values():
            views[view.mailbox.mailbox_no] = view
            places[view.mailbox.mailbox_no] = set()
        for no in among:
            view, place = first[no]
            places[view.mailbox.mailbox_no].add(place)
        found: set[int] = set()
        for number, view in views.items():
            if not places[number]:
                continue
            fit = await self._search.run(self._unlocked, view, asked.key, places[number])
            nos = view.nos
            found.update([nos[at] for at in fit])
        return found

    async def _pieces(self, nos: Iterable[int], kind: str) -> dict[int, Any]:
        """A piece of the cards of Emails, as far as they open."""
        wanted = sorted(nos)
        found: dict[int, Any] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            pieces, _ = await self._records.pieces(self._unlocked, some, (kind,))
            own = pieces[kind]
            found.update((no, own[no]) for no in some if no in own)
        return found

    # --- order

    async def ordered(self, fit: set[int], sort: Sequence[Comparator]) -> list[int]:
        """In order; what is equal stands by its number, newest first."""
        found = sorted(fit, reverse=True)
        for one in reversed(sort):
            key = await self._key(one, found)
            found.sort(key=key, reverse=not one.ascending)
        return found

    async def _key(self, by: Comparator, nos: list[int]) -> Callable[[int], Any]:
        first, name = self.first, by.property
        if name in ("receivedAt", "size"):
            columns = {
                id(view): view.dates if name == "receivedAt" else view.sizes
                for view in self._whole.views.values()
            }

            def clear(no: int) -> int:
                view, place = first[no]
                return columns[id(view)][place]

            return clear
        if name == "hasKeyword":
            return self._having(by.keyword, nos).__contains__
        if name in _CARDS:
            return await self._card_key(name, nos)
        threads = self._threads_with("all" if name.startswith("all") else "some", by.keyword)
        return lambda no: self._thread(no) in threads

    async def _card_key(self, name: str, nos: list[int]) -> Callable[[int], Any]:
        kind = page.HEAD if name in ("from", "to") else page.MORE
        told = await self._pieces(nos, kind)
        if kind == page.HEAD:
            field = name.encode()
            shown = {no: _shown(head, field) for no, head in told.items()}
            return lambda no: shown.get(no, "")
        mores: dict[int, More] = told
        if name == "subject":
            subjects = {no: more.subject.casefold() for no, more in mores.items()}
            return lambda no: subjects.get(no, "")
        first = self.first
        sent = {no: more.sent_ms for no, more in mores.items()}

        def moment(no: int) -> int:
            ms = sent.get(no)
            view, place = first[no]
            return view.dates[place] * 1000 if ms is None else ms

        return moment


def _shown(head: Head, name: bytes) -> str:
    """The name of the first address of a field, or the address. # RFC 8621 §4.4.2"""
    value = fields.first(fields.read(head.core), name)
    one = next(iter(addresses.mailboxes(value)), None) if value else None
    if one is None:
        return ""
    told = encoded_words.decode(one.name) if one.name else ""
    return (told or one.address.decode("utf-8", "replace")).casefold()


def _cost(one: Filter) -> int:
    """Cheap conditions first."""
    if isinstance(one, Operator):
        return max(map(_cost, one.conditions), default=0)
    if one.key is not None:
        return 3
    return 2 if one.has_attachment is not None else bool(one.threads)
