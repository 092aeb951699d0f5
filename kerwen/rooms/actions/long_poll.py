"""Register, read, wait: how `/sync` and sliding sync answer as soon as there is news.

A request stands in the watch of its account before it reads, so a change between reading and
waiting has already rung: no wake-up is lost. Thousands wait at once, so one that waits holds
little: a future in its watch, and a place in a timer that all share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from kerwen.base.clock import Clock
from kerwen.storage.feed import Feed
from kerwen.storage.wake import LINGER_MS, WakeIndex, Watch

_NOTHING_KNOWN = 2**63 - 1  # as a watch's base
_EXACT_S = 5.0  # so long or less is waited for by a timer of one's own


class Poll(Protocol):
    """A request that may wait."""

    async def look(self) -> bool:
        """Reads what there is; whether to answer now. Keeps what it found."""
        ...


class LongPolls:
    """Requests of one kind that wait. `parked`: how many do."""

    def __init__(self, feed: Feed, wake: WakeIndex, clock: Clock) -> None:
        self._feed = feed
        self._wake = wake
        self._clock = clock
        self._due: dict[int, set[asyncio.Future[None]]] = {}  # second of the loop's time → waiters
        self._stopping = False
        self.parked = 0

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._stopping = True
        self._wake.wake_all()

    async def enter(self, account_no: int, begin: Callable[[Watch], Awaitable[object]]) -> Watch:
        """The watch of an account; `leave` it afterwards. `begin` reads what a new one must
        know."""
        watch = self._wake.get(account_no)
        if watch is not None:
            watch.parked += 1  # from here on nobody sweeps it away
            return watch
        watch = self._wake.open(account_no, (), self._feed.settled)
        watch.base = _NOTHING_KNOWN  # until its rooms are read, memory proves nothing
        watch.parked += 1
        try:
            await begin(watch)
        except BaseException:
            self._wake.close(watch)
            self.leave(watch)
            raise
        watch.base = watch.last = self._feed.settled
        watch.wake()  # another poll of the account may have parked meanwhile
        return watch

    def leave(self, watch: Watch) -> None:
        """The request is answered, or its client gone."""
        watch.parked -= 1
        watch.expires_ms = self._clock() + LINGER_MS

    async def wait(self, watch: Watch, poll: Poll, timeout_ms: int) -> None:
        """Looks until there is something to answer, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            watch.waiters.append(waiter)
            due: set[asyncio.Future[None]] | None = None
            timer: asyncio.TimerHandle | None = None
            try:
                ready = await poll.look()
                left = deadline - loop.time()
                closed = self._wake.get(watch.account_no) is not watch  # nobody would wake us
                if ready or left <= 0 or self._stopping or closed:
                    return
                if left > _EXACT_S:
                    due = self._join(loop, waiter, int(deadline))
                else:
                    timer = loop.call_later(left, _ring, waiter)
                self.parked += 1
                try:
                    await waiter
                finally:
                    self.parked -= 1
            finally:
                if due is not None:
                    due.discard(waiter)
                if timer is not None:
                    timer.cancel()
                waiter.cancel()
                if waiter in watch.waiters:
                    watch.waiters.remove(waiter)

    def _join(
        self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None], second: int
    ) -> set[asyncio.Future[None]]:
        """Puts a waiter among those that are rung in the same second."""
        due = self._due.get(second)
        if due is None:
            due = self._due[second] = set()
            loop.call_at(second, self._ring_all, second)
        due.add(waiter)
        return due

    def _ring_all(self, second: int) -> None:
        for waiter in self._due.pop(second, ()):
            _ring(waiter)


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
