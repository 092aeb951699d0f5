"""The feed: one ordered log of changes, and who follows it in this process.

A position is *settled* when every position up to it is known; only then is it applied, strictly
in order: caches first, then the wake index. SQLite's writer hands positions in order, so there
each hint settles at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerwen.storage.database import Change, Kind

Follower = Callable[[int, Sequence[Change]], None]
"""Told every settled position with its changes, in order, in the loop; must be quick."""


def settled_at(pos: int, changes: Sequence[Sequence[int]]) -> int:
    """Where the feed stands once a row is applied: a jump leaves the numbers after it unused."""
    if changes and changes[0][0] == Kind.JUMP:
        return changes[0][2] - 1
    return pos


class Feed:
    """The settled position of this process and its followers."""

    def __init__(self) -> None:
        self.settled = 0
        self._ahead: dict[int, Sequence[Change]] = {}
        self._followers: list[Follower] = []

    def start_at(self, pos: int) -> None:
        """Everything up to `pos` is settled and old: nobody is told."""
        self.settled = pos

    def follow(self, follower: Follower) -> None:
        """Adds a follower; they are told in the order in which they were added."""
        self._followers.append(follower)

    def tell(self, pos: int, changes: Sequence[Change]) -> None:
        """A position of our own is committed: hint it here, and to the other workers."""
        self.hint(pos, changes)

    def hint(self, pos: int, changes: Sequence[Change]) -> None:
        """A position is committed. It is applied when those before it are."""
        if pos <= self.settled:
            return
        self._ahead[pos] = changes
        while (found := self._ahead.pop(self.settled + 1, None)) is not None:
            self.settled += 1
            for follower in self._followers:
                follower(self.settled, found)
