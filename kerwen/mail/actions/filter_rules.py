"""What accounts have of scripts and vacations, compiled and in memory.

Nearly all accounts have nothing; that is known after one look at the database, until the feed tells
of a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail.actions.scripts import OFF_LOOP, vacation_of
from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.lexer import BadScript
from kerwen.mail.sieve.script import Script
from kerwen.mail.sieve.vacation import Vacation
from kerwen.mail.store import scripts as store
from kerwen.storage.database import Change, Database, Kind
from kerwen.storage.feed import Feed

log = logging.getLogger(__name__)

_INCLUDES_MAX: Final = limits.SIEVE_INCLUDES_MAX


class Rules(msgspec.Struct, frozen=True):
    """What an account's mail goes through. `size`: of the sources, in characters."""

    script: Script | None
    others: dict[str, Script]
    vacation: Vacation
    size: int


class FilterRules:
    """By account. `None`: it has nothing."""

    def __init__(self, db: Database, feed: Feed) -> None:
        self._db = db
        self._known: OrderedDict[int, Rules | None] = OrderedDict()
        self._bytes = 0
        self._changes = 0
        feed.follow(self._follow, Kind.FILTERS)

    def are_known_empty(self, accounts: Iterable[int]) -> bool:
        """Whether it is in memory that none of them has anything: nearly always."""
        known = self._known
        return all(known.get(no, self) is None for no in accounts)

    async def of(self, account_no: int) -> Rules | None:
        """What an account has."""
        if account_no in self._known:
            self._known.move_to_end(account_no)
            return self._known[account_no]
        before = self._changes
        found = await self._load(account_no)
        if before == self._changes:  # else somebody changed something meanwhile: ask again
            self._keep(account_no, found)
        return found

    def _keep(self, account_no: int, found: Rules | None) -> None:
        self._forget(account_no)
        self._known[account_no] = found
        self._bytes += found.size if found is not None else 0
        while (
            len(self._known) > limits.SIEVE_CACHE_MAX or self._bytes > limits.SIEVE_COMPILED_BYTES
        ) and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, account_no: int) -> None:
        gone = self._known.pop(account_no, None)
        if gone is not None:
            self._bytes -= gone.size

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, account_no, _ in changes:
            if kind == Kind.FILTERS:
                self._changes += 1
                self._forget(account_no)
            elif kind == Kind.JUMP:  # nobody knows what happened meanwhile
                self._changes += 1
                self._known.clear()
                self._bytes = 0

    async def _load(self, account_no: int) -> Rules | None:
        async with self._db.read() as snap:
            filters = await store.filters(snap, account_no)
            if filters is None:
                return None
            vacation = vacation_of(filters)
            if not filters.active and not vacation.enabled:
                return None
            every = await store.every(snap, account_no) if filters.active else []
        sources = {one.name: one.source for one in every}
        active = next((one.source for one in every if one.no == filters.active), None)
        size = len(active or "")
        if size > OFF_LOOP:
            script, others = await asyncio.to_thread(_all_compiled, active, sources)
        else:
            script, others = _all_compiled(active, sources)
        size += sum(len(sources[name]) for name in others)
        return Rules(script, others, vacation, size)


def _all_compiled(
    active: str | None, sources: dict[str, str]
) -> tuple[Script | None, dict[str, Script]]:
    script = _compiled(active) if active is not None else None
    return script, _included(script, sources)


def _included(script: Script | None, sources: dict[str, str]) -> dict[str, Script]:
    """The scripts that one includes, and that these include."""
    found: dict[str, Script] = {}
    wanted = list(script.includes) if script is not None else []
    while wanted and len(found) < _INCLUDES_MAX:
        name = wanted.pop()
        if name in found or name not in sources:
            continue
        other = _compiled(sources[name])
        if other is not None:
            found[name] = other
            wanted += other.includes
    return found


def _compiled(source: str) -> Script | None:
    try:
        return check(source)
    except BadScript as bad:  # an older release took what this one does not
        log.warning("a script that is kept is no good", extra={"why": bad.text})
        return None
