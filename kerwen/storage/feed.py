"""The feed: one ordered log of changes, and who follows it in this process.

A position is *settled* when every position up to it is known; only then is it applied, strictly
in order: caches first, then the wake index, then those who wait. SQLite's writer tells positions
in order, so there each settles at once. On PostgreSQL commits of several workers overlap:
`feed_reader.py` reads what nobody told and fills the numbers that nobody used.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.database import Change, Kind

_log = logging.getLogger(__name__)

Follower = Callable[[int, Sequence[Change]], None]
"""Told every settled position with its changes, in order, in the loop; must be quick."""


def settled_at(pos: int, changes: Sequence[Sequence[int]]) -> int:
    """Where the feed stands once a row is applied: a jump leaves the numbers after it unused."""
    if changes and changes[0][0] == Kind.JUMP:
        return changes[0][2] - 1
    return pos


_ANYTHING = 1 << 63  # a bit of every position, tombstones too
_EVERYTHING = -1


def _bits(kinds: Iterable[int]) -> int:
    bits = 0
    for kind in kinds:
        bits |= 1 << kind
    return bits


class Feed:
    """The settled position of this process and its followers.

    `settled`: every position up to it is a committed row, and was applied. `known`: the greatest
    position that a row or a hint has shown, never a client's token.
    """

    def __init__(self) -> None:
        self.settled = 0
        self.known = 0
        self.outward: Callable[[int, Sequence[Change]], None] | None = None  # to other workers
        self.last: Callable[[], Awaitable[int]] | None = None  # the greatest number ever drawn
        self.poke: Callable[[], None] | None = None  # makes the reader look at once
        self._ahead: dict[int, Sequence[Change]] = {}
        self._followers: list[tuple[int, Follower]] = []  # (bits of the kinds, who)
        self._at_once: dict[int, list[Follower]] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._order = itertools.count()
        self._applying = False
        self._closed = False

    def start_at(self, pos: int) -> None:
        """Everything up to `pos` is settled and old: nobody is told."""
        self.settled = self.known = pos

    def follow(self, follower: Follower, *kinds: Kind) -> None:
        """Adds a follower; they are told in the order in which they were added.

        With `kinds` it is told only positions that hold one of them, and jumps: a send has a
        dozen followers, of which most look for what is hardly ever there.
        """
        self._followers.append((_bits((*kinds, Kind.JUMP)) if kinds else _EVERYTHING, follower))

    def at_once(self, kind: int, follower: Follower) -> None:
        """Adds a follower of one kind that need not wait for S (mail sessions): it is told
        positions as they come, perhaps out of order, perhaps twice."""
        self._at_once.setdefault(int(kind), []).append(follower)

    @property
    def has_hole(self) -> bool:
        """True if a position above the next one is known already."""
        return self.known > self.settled

    @property
    def first_ahead(self) -> int:
        """The lowest position that waits above the hole."""
        return min(self._ahead, default=self.known)

    def tell(self, pos: int, changes: Sequence[Change]) -> None:
        """A position of our own is committed: hint it here, and to the other workers."""
        self.hint(pos, changes)
        if self.outward is not None:
            self.outward(pos, changes)

    def hint(self, pos: int, changes: Sequence[Change]) -> None:
        """A position is committed. It is applied when those before it are."""
        if pos <= self.settled:
            return
        if pos > self.known:
            self.known = pos
        if self._at_once:
            self._tell_at_once(pos, changes)
        if pos != self.settled + 1 and len(self._ahead) >= limits.FEED_AHEAD_MAX:
            return  # it will be read when its turn comes
        self._ahead[pos] = changes
        if not self._applying:
            self._advance()
        if self.poke is not None and self.known > self.settled:
            self.poke()

    def _advance(self) -> None:
        self._applying = True  # a follower may tell: what it tells is applied after this one
        try:
            while (found := self._ahead.pop(self.settled + 1, None)) is not None:
                self._apply(self.settled + 1, found)
        finally:
            self._applying = False

    def _apply(self, pos: int, changes: Sequence[Change]) -> None:
        after = settled_at(pos, changes) if changes and changes[0][0] == Kind.JUMP else pos
        if after != pos:
            self.known = max(self.known, after)
            self._ahead = {at: told for at, told in self._ahead.items() if at > after}
        self.settled = after
        told = _bits(change[0] for change in changes) | _ANYTHING
        for kinds, follower in self._followers:
            if not kinds & told:
                continue
            try:
                follower(after, changes)
            except Exception:
                _log.exception("a follower failed at position %d", pos)
        while self._waiting and self._waiting[0][0] <= after:
            waiter = heapq.heappop(self._waiting)[2]
            if not waiter.done():
                waiter.set_result(True)

    def _tell_at_once(self, pos: int, changes: Sequence[Change]) -> None:
        for kind in {change[0] for change in changes} & self._at_once.keys():
            for follower in self._at_once[kind]:
                try:
                    follower(pos, changes)
                except Exception:
                    _log.exception("a follower failed at position %d", pos)

    async def until(self, pos: int, timeout_ms: int = limits.SETTLE_WAIT_MAX_MS) -> bool:
        """Waits until a position is settled here; false if it took too long.

        A token of another worker may be a little ahead of us. `Refused(UNKNOWN_POSITION)` if
        the number was never drawn: then it cannot come from us; `Unavailable` at the end.
        """
        if pos <= self.settled:
            return True
        if self._closed:
            raise Unavailable(Unready.STOPPING)
        if pos > self.known:
            last = await self.last() if self.last is not None else self.known
            if pos > max(last, self.known):
                raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
            if pos <= self.settled:
                return True
        if self._closed:
            raise Unavailable(Unready.STOPPING)
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (pos, next(self._order), waiter))
        if self.poke is not None:
            self.poke()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await waiter
        except TimeoutError:
            return False

    def close(self) -> None:
        """Nothing will settle here any more: those who wait are told."""
        self._closed = True
        for _, _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(Unavailable(Unready.STOPPING))
        self._waiting.clear()
