"""Who waits for an upload that was announced: woken by the feed, so also by another worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import Feed


class Arrivals:
    """Waiters by the account that owes the upload."""

    def __init__(self, feed: Feed) -> None:
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._count = 0
        feed.follow(self._told, Kind.ACCOUNT)

    def register(self, account_no: int) -> asyncio.Future[None]:
        """A future that ends at the account's next change; register first, then read again."""
        if self._count >= limits.UPLOAD_WAITERS_MAX:
            raise Unavailable(Unready.BUSY, 2000)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account_no, set()).add(waiter)
        self._count += 1
        waiter.add_done_callback(lambda done: self._forget(account_no, done))
        return waiter

    def _forget(self, account_no: int, waiter: asyncio.Future[None]) -> None:
        self._count -= 1
        waiters = self._waiting.get(account_no)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[account_no]

    def _told(self, _pos: int, changes: Sequence[Change]) -> None:
        if not self._waiting:
            return
        for kind, subject, _ref in changes:
            if kind == Kind.ACCOUNT:
                self._wake(subject)
            elif kind == Kind.JUMP:
                for account_no in list(self._waiting):
                    self._wake(account_no)

    def _wake(self, account_no: int) -> None:
        for waiter in self._waiting.get(account_no, ()):
            if not waiter.done():
                waiter.set_result(None)
