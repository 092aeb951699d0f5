"""What a transaction keeps for its end: late statements, changes to tell, deeds.

In strict mode (tests) it also proves the rules that make the feed right (`feed.md` §4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from kerwen.base import limits
from kerwen.storage.database import Change, Kind
from kerwen.storage.sql import Sql

_log = logging.getLogger(__name__)

ORDERED = frozenset({Kind.EVENT, Kind.ACCOUNT_DATA, Kind.MEMBERSHIP, Kind.MAIL})
"""Kinds whose order within one subject is promised: they need a lock on it before the number."""


class Broken(AssertionError):
    """A rule of writing was broken; only strict mode looks."""


class Ending:
    """The part of a transaction that waits for its end."""

    __slots__ = ("_after", "_changes", "_locked", "_locks_seen", "_strict", "_tail", "pos")

    def __init__(self, strict: bool) -> None:
        self.pos = 0
        self._strict = strict
        self._tail: list[tuple[Sql, dict[str, Any]]] = []
        self._changes: list[Change] = []
        self._after: list[Callable[[], None]] = []
        self._locked: set[tuple[int, int]] | None = None
        self._locks_seen = False

    def at_end(self, sql: Sql, **params: Any) -> None:
        """Runs a statement at the end; it may name `:pos`."""
        assert len(self._tail) < limits.TAIL_STATEMENTS_MAX, "too many statements at the end"
        self._tail.append((sql, params))

    def change(self, kind: int, subject: int, ref: int = 0) -> None:
        """Tells a change on the feed after commit."""
        self._changes.append((int(kind), subject, ref))

    def change_all(self, kind: int, subjects: Iterable[int]) -> None:
        """Tells one kind of change of many subjects."""
        number = int(kind)
        self._changes += [(number, subject, 0) for subject in subjects]

    def after(self, deed: Callable[[], None]) -> None:
        """Runs a deed in the loop after commit and before the change is told."""
        self._after.append(deed)

    def lock(self, kind: int, subject: int) -> None:
        """Notes that the row which orders this subject is locked (by an insert, an update)."""
        if self._locked is None:
            self._locked = set()
        self._locked.add((int(kind), subject))

    def items(self) -> str:
        """The changes as the feed stores them."""
        parts = [f"[{kind},{subject},{ref}]" for kind, subject, ref in self._changes]
        return "[" + ",".join(parts) + "]"

    def run_after(self) -> None:
        """The deeds; one that fails is a bug, told loudly, and stops nothing."""
        for deed in self._after:
            try:
                deed()
            except Exception:
                _log.exception("a deed after commit failed")

    def check_body(self, sql: Sql) -> None:
        """Strict: what the body may run."""
        if sql.uses_pos:
            raise Broken(f":pos is known only at the end (at_end): {sql.text}")
        self._locks_seen = self._locks_seen or sql.locks

    def check_end(self, locks: bool) -> None:
        """Strict: what must be true when the body is over."""
        if not self._changes and any(statement.uses_pos for statement, _ in self._tail):
            raise Broken("a statement with :pos needs a change to tell")
        if not locks or self._locks_seen:
            return
        for kind, subject, _ in self._changes:
            if kind in ORDERED and (self._locked is None or (kind, subject) not in self._locked):
                raise Broken(
                    f"change {kind} of subject {subject} without a lock: select its row"
                    " {for_update} in the body, or note another lock by tx.lock(kind, subject)"
                )
