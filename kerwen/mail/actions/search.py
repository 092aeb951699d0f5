"""Searches a mailbox: flags and dates in the view, words in the sealed records, and what these
cannot decide on the messages themselves.

A search key becomes two sets of places: those that certainly fit, and those that may. Keys that
cost little are asked first, so that dear ones look at fewer. Only what is left open in the end is
proved, a message at a time, by the predicate of `kerwen.mail.match`.
"""

# RFC 9051 §6.4.4; design.md §5

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Final

from kerwen.base.clock import Clock, now_ms
from kerwen.mail import dates, fields, match, message, transfer, words
from kerwen.mail.actions import keywords
from kerwen.mail.actions.records import LOOSE_TIRING, Records, parts
from kerwen.mail.actions.search_sources import HEADS_PLAIN, Sheet, Source, sources_of
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View
from kerwen.mail.flags import BITS, Flags
from kerwen.mail.match import Candidate, Key, When
from kerwen.mail.message import Part
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import page, tags, uid_ranges
from kerwen.mail.store.tags import Tags
from kerwen.mail.words import Query
from kerwen.storage.database import Database

_DAY_S: Final = 86_400
_LEAF_MAX: Final = 256 * 1024  # a longer part is an attachment, or is read as text
_FIELDS: Final = {
    b"subject": "subject",
    b"from": "sender",
    b"to": "to",
    b"cc": "cc",
    b"bcc": "bcc",
}

Places = set[int]
Found = tuple[Places, Places]
"""Places that fit, and places that may fit."""


class Search:
    """SEARCH over a mailbox's view with its owner's vault open."""

    def __init__(self, db: Database, records: Records, tags: Tags, clock: Clock = now_ms) -> None:
        self._db = db
        self._records = records
        self._tags = tags
        self._clock = clock

    async def run(
        self, unlocked: Unlocked, view: View, key: Key, among: Places | None = None
    ) -> list[int]:
        """The places in the view (sequence numbers less one) of what fits, in order; of some
        places (`among`), or of all."""
        if not len(view):
            return []
        account_no = unlocked.account_no
        async with self._db.read() as snap:
            known = await boxes.keywords(snap, account_no)
        work = _Work(self, unlocked, view, known)
        fit, may = await work.ask(key, set(range(len(view.uids))) if among is None else among)
        if may:
            fit |= await self._proved(unlocked, view, known, key, sorted(may))
        return sorted(fit)

    async def _proved(
        self, unlocked: Unlocked, view: View, known: Sequence[str], key: Key, may: list[int]
    ) -> Places:
        """Those that fit by what the messages themselves say. What is damaged does not."""
        ask = match.predicate(key, self._clock())
        needle = _needle(key)
        nos = view.nos
        fit: Places = set()
        sizes = view.sizes
        for some in parts((place, sizes[place]) for place in may):
            wanted = [nos[place] for place in some]
            raws = await self._records.messages(unlocked, wanted)
            asked = []
            for place in some:
                raw = raws.get(nos[place])
                if not isinstance(raw, bytes):
                    continue
                root = message.scan(raw)
                if needle is not None and needle(raw, root):
                    fit.add(place)
                    continue
                one = self._candidate(unlocked.account_no, view, known, place)
                one.message = raw
                one.header = raw[: root.body]
                one.sent_day = _sent_day(root)
                asked.append((place, one))
            fit.update(await asyncio.to_thread(_ask_all, ask, asked))
        return fit

    def _candidate(
        self, account_no: int, view: View, known: Sequence[str], place: int
    ) -> Candidate:
        one = view[place]
        return Candidate(
            place + 1,
            one.uid,
            Flags(one.flags, tuple(keywords.names(known, one.keywords))),
            one.date * 1000,
            one.size,
            one.modseq,
            one.saved * 1000,
            self._tags.email_ids(account_no, [one.no])[0],
            tags.thread_id(one.thread),
        )

    async def sources(self, unlocked: Unlocked, view: View) -> list[Source]:
        """The pages and loose messages of a view."""
        async with self._db.read() as snap:
            return await sources_of(snap, self._records, unlocked, view)

    def notice(self, unlocked: Unlocked, sources: Sequence[Source]) -> None:
        """Many small pages, or loose messages, are better made into few: that is asked for."""
        records = self._records
        loose = sum(len(one.everywhere()) for one in sources if not isinstance(one, Sheet))
        small = len(sources) > 16 and len(sources) * page.HELD_MAX > 3 * sum(
            len(one.everywhere()) for one in sources
        )
        if records.tired is not None and (small or loose >= LOOSE_TIRING):
            records.tired(unlocked)

    def message_no(self, account_no: int, email_id: str) -> int | None:
        """The message that an EMAILID names."""
        return self._tags.message_no(account_no, email_id)

    def now_s(self) -> int:
        """The time."""
        return self._clock() // 1000


def _needle(key: Key) -> Callable[[bytes, Part], bool] | None:
    """What need only stand in the bytes of a message's parts: a plain word with its signs, asked
    of body or text, where nothing else is left open. Most hits are proved so, at a tenth of the
    cost of reading all the texts.
    """
    if isinstance(key, match.And):
        dear = [one for one in key.keys if match.needs(one)]
        return _needle(dear[0]) if len(dear) == 1 else None
    if not isinstance(key, match.Body | match.Text):
        return None
    asked = words.query(key.text)
    proof = asked.proof
    if not asked.words or not proof.isascii() or " " in proof:
        return None
    needle = proof.encode()
    in_header = isinstance(key, match.Text)

    def holds(raw: bytes, root: Part) -> bool:
        if in_header and needle in raw[: root.body].lower():
            return True
        return any(needle in data.lower() for data in _leaves(raw, root))

    return holds


def _leaves(raw: bytes, root: Part) -> Iterator[bytes]:
    for part in root.leaves():
        if part.end - part.body <= _LEAF_MAX:
            data = raw[part.body : part.end]
            known = part.encoding in transfer.KNOWN
            yield transfer.decode(data, part.encoding) if known else data


def _sent_day(root: Part) -> int | None:
    value = fields.first(root.fields, b"date")
    date = dates.parse(value) if value else None
    return date.day if date else None


def _ask_all(ask: match.Predicate, asked: list[tuple[int, Candidate]]) -> list[int]:
    return [place for place, one in asked if ask(one)]


class _Work:
    """One search."""

    def __init__(
        self, search: Search, unlocked: Unlocked, view: View, known: Sequence[str]
    ) -> None:
        self._search = search
        self._unlocked = unlocked
        self._view = view
        self._known = known
        self._sources: list[Source] | None = None

    async def ask(self, key: Key, among: Places) -> Found:
        """Which of some places fit, and which may."""
        if not among:
            return set(), set()
        if isinstance(key, match.And):
            return await self._and(key, among)
        if isinstance(key, match.Or):
            fit, may = await self.ask(key.left, among)
            more, perhaps = await self.ask(key.right, among - fit)
            fit = fit | more
            return fit, (may | perhaps) - fit
        if isinstance(key, match.Not):
            fit, may = await self.ask(key.key, among)
            return among - fit - may, may
        if isinstance(key, match.Header | match.Body | match.Text):
            return await self._words(key, among)
        if isinstance(key, match.Day) and key.when is When.SENT:
            return await self._sent(key, among)
        return self._clear(key, among), set()

    async def _and(self, key: match.And, among: Places) -> Found:
        fit, left = among, among
        for inner in sorted(key.keys, key=match.needs):
            yes, may = await self.ask(inner, left)
            fit = fit & yes
            left = yes | may
        return fit, left - fit

    # --- what stands in clear

    def _clear(self, key: Key, among: Places) -> Places:
        view = self._view
        if isinstance(key, match.All):
            return among
        if isinstance(key, match.Numbers):
            return self._numbers(key) & among
        if isinstance(key, match.Flagged):
            return self._flagged(key) & among
        if isinstance(key, match.Id):
            return self._id(key) & among
        if isinstance(key, match.Day):
            column = view.dates if key.when is When.INTERNAL else view.saved
            first = key.day * _DAY_S
            if key.op is match.Op.BEFORE:
                return {at for at in among if column[at] < first}
            if key.op is match.Op.SINCE:
                return {at for at in among if column[at] >= first}
            return {at for at in among if first <= column[at] < first + _DAY_S}
        if isinstance(key, match.Size):
            sizes, size = view.sizes, key.size
            if key.larger:
                return {at for at in among if sizes[at] > size}
            return {at for at in among if sizes[at] < size}
        if isinstance(key, match.Within):
            edge, dates = self._search.now_s() - key.seconds, view.dates
            if key.younger:
                return {at for at in among if dates[at] >= edge}
            return {at for at in among if dates[at] <= edge}
        assert isinstance(key, match.Changed), key
        modseqs, modseq = view.modseqs, key.modseq
        return {at for at in among if modseqs[at] >= modseq}

    def _numbers(self, key: match.Numbers) -> Places:
        if key.uid:
            return set(uid_ranges.places(self._view.uids, key.ranges))
        count = len(self._view.uids)
        found: Places = set()
        for first, last in key.ranges:
            found.update(range(max(first, 1) - 1, min(last, count)))
        return found

    def _flagged(self, key: match.Flagged) -> Places:
        view, every = self._view, range(len(self._view.uids))
        bit = BITS.get(key.flag.lower())
        if bit is not None:
            table = _HAVING[int(bit)] if key.is_set else _LACKING[int(bit)]
            return set(compress(every, view.flags.translate(table)))
        names = [name.lower() for name in self._known]
        wanted = key.flag.lower()
        column = view.keywords
        if wanted not in names or column is None:
            return set() if key.is_set else set(every)
        mask = 1 << names.index(wanted)
        return {at for at in every if bool(column[at] & mask) == key.is_set}

    def _id(self, key: match.Id) -> Places:
        view = self._view
        if key.thread:
            thread = tags.thread_no(key.id)
            return {at for at, own in enumerate(view.threads) if own == thread}
        no = self._search.message_no(self._unlocked.account_no, key.id)
        return {at for at, own in enumerate(view.nos) if own == no}

    # --- what is sealed

    async def _each(
        self, among: Places, ask: Callable[[Source], Found], kinds: Iterable[str]
    ) -> Found:
        """Asks every page and the loose messages that hold any of these places."""
        if self._sources is None:
            self._sources = await self._search.sources(self._unlocked, self._view)
            self._search.notice(self._unlocked, self._sources)
        fit: Places = set()
        may: Places = set()
        hit = [source for source in self._sources if source.holds(among)]
        for at in range(0, len(hit), _SOURCES_AT_ONCE):
            some = hit[at : at + _SOURCES_AT_ONCE]
            await self._load(some, tuple(kinds))
            for source in some:
                yes, perhaps = ask(source)
                fit |= yes
                may |= perhaps
            await asyncio.sleep(0)
        fit &= among
        return fit, (may & among) - fit

    async def _load(self, sources: Sequence[Source], kinds: tuple[str, ...]) -> None:
        async with self._search._db.read() as snap:
            for kind in kinds:
                if kind == HEADS_PLAIN:
                    plain = [s.page_no for s in sources if isinstance(s, Sheet)]
                    read = await self._search._records.plain(snap, self._unlocked, plain, page.HEAD)
                    for source in sources:
                        if isinstance(source, Sheet):
                            source.content[kind] = read.get(source.page_no)
                    continue
                nos = [s.page_no for s in sources if isinstance(s, Sheet) and kind not in s.content]
                if nos:
                    found = await self._search._records.boxes(snap, self._unlocked, nos, kind)
                    for source in sources:
                        if isinstance(source, Sheet) and source.page_no in found:
                            source.content[kind] = found[source.page_no]

    async def _sent(self, key: match.Day, among: Places) -> Found:
        compare = match.predicate(key, 0)
        blank = Candidate(0, 0, Flags(), 0, 0)

        def ask(source: Source) -> Found:
            days = source.sent_days()
            if days is None:
                return set(), source.everywhere()
            fit = set()
            for slot, day in enumerate(days):
                blank.sent_day = day
                if compare(blank):
                    fit.add(slot)
            return source.at(fit), set()

        return await self._each(among, ask, (page.FIND,))

    async def _words(self, key: match.Header | match.Body | match.Text, among: Places) -> Found:
        asked = words.query(key.text)
        if isinstance(key, match.Header):
            field = _FIELDS.get(key.name)
            if field is not None and asked.line:
                return await self._each(
                    among, lambda source: _in_line(source, field, asked), (page.FIND,)
                )
            return await self._header(key, among)
        if isinstance(key, match.Body):
            if not asked.proof:
                return among, set()
            if not asked.words:
                return set(), among
            return await self._each(
                among, lambda source: _in_body(source, asked), (page.FIND, page.WORD)
            )
        if not asked.words:
            return (among, set()) if not asked.proof else (set(), among)
        kinds = (page.FIND, page.WORD, HEADS_PLAIN)
        return await self._each(among, lambda source: _in_text(source, asked), kinds)

    async def _header(self, key: match.Header, among: Places) -> Found:
        """Any other field: those whose message has it by what is known of its header."""
        ask = match.predicate(key, 0)
        blank = Candidate(0, 0, Flags(), 0, 0)

        def decide(source: Source) -> Found:
            fit, may = set(), set()
            heads = source.heads()
            if heads is None:
                return set(), source.everywhere()
            for slot, head in enumerate(heads):
                if head is None or (head.others and key.name in head.others.split(b"\n")):
                    may.add(slot)
                    continue
                blank.header = head.core + head.rest
                if ask(blank):
                    fit.add(slot)
            return source.at(fit), source.at(may)

        return await self._each(among, decide, (page.HEAD,))


_SOURCES_AT_ONCE: Final = 16
_HAVING: Final = {
    bit: bytes(1 if value & bit else 0 for value in range(256)) for bit in (1, 2, 4, 8, 16)
}
_LACKING: Final = {
    bit: bytes(0 if value & bit else 1 for value in range(256)) for bit in (1, 2, 4, 8, 16)
}


def _in_line(source: Source, field: str, asked: Query) -> Found:
    found = source.in_line(field, asked.line)
    if found is None:
        return set(), source.everywhere()
    long = source.at(source.cut(page.LONG[field]))
    if asked.exact:
        return source.at(found), long
    return set(), source.at(found) | long


def _in_body(source: Source, asked: Query) -> Found:
    found = source.in_words(asked)
    if found is None:
        return set(), source.everywhere()
    cut = source.at(source.cut(page.CUT))
    return (source.at(found), cut) if asked.exact else (set(), source.at(found) | cut)


def _in_text(source: Source, asked: Query) -> Found:
    fit, may = _in_body(source, asked)
    for field in page.LONG:
        yes, perhaps = _in_line(source, field, asked)
        fit |= yes
        may |= perhaps
    return fit, may | source.at(source.in_heads(asked))
