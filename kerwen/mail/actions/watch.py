"""Who waits for an account's mail: IMAP's IDLE and JMAP's push.

    with watches.open(account_no) as watch:      # register
        head = watch.head                        # then read
        ...
        await watch.after(head, timeout_ms)      # then wait

Woken by the hint itself, not by S: MODSEQ is drawn under the account's lock, so whoever reads
committed rows up to a head misses nothing below it (feed.md §8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import Feed


class MailWatch:
    """One session's look at one account. `head`: the greatest MODSEQ that it was told of."""

    __slots__ = ("_of", "_waiters", "account_no", "call", "head", "stopped")

    def __init__(self, of: MailWatches, account_no: int) -> None:
        self._of = of
        self._waiters: list[asyncio.Future[None]] = []
        self.account_no = account_no
        self.call: Callable[[], None] | None = None  # called at each wake: costs no task
        self.head = 0
        self.stopped = False

    async def after(self, known: int, timeout_ms: int) -> bool:
        """Waits until something after a MODSEQ was told; false if it took too long, or the
        server stops."""
        if self.head > known or self.stopped:
            return self.head > known
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await waiter
        except TimeoutError:
            pass
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return self.head > known

    def tell(self, modseq: int) -> None:
        """Something changed."""
        if modseq > self.head:
            self.head = modseq
        self.wake()

    def wake(self) -> None:
        """Ends all waiting."""
        if self.call is not None:
            self.call()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """The session ends."""
        self._of.close(self)

    def __enter__(self) -> MailWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MailWatches:
    """Follows the feed and wakes those whom it concerns; nobody else costs anything."""

    def __init__(self, feed: Feed) -> None:
        self._open: dict[int, list[MailWatch]] = {}
        self._stopped = False
        feed.at_once(Kind.MAIL, self._hint)
        feed.follow(self._jump, Kind.JUMP)

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def open(self, account_no: int) -> MailWatch:
        """Registers; whoever registers before reading misses nothing."""
        watch = MailWatch(self, account_no)
        watch.stopped = self._stopped
        self._open.setdefault(account_no, []).append(watch)
        return watch

    def close(self, watch: MailWatch) -> None:
        """Forgets a watch."""
        others = self._open.get(watch.account_no)
        if others is not None and watch in others:
            others.remove(watch)
            if not others:
                del self._open[watch.account_no]
        watch.wake()

    def stop(self) -> None:
        """Everybody is woken: the server stops."""
        self._stopped = True
        for watch in [watch for some in self._open.values() for watch in some]:
            watch.stopped = True
            watch.wake()

    def _hint(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, account_no, modseq in changes:
            if kind == Kind.MAIL and account_no in self._open:
                for watch in self._open[account_no]:
                    watch.tell(modseq)

    def _jump(self, pos: int, changes: Sequence[Change]) -> None:
        """After a restored backup nothing that was told may be believed."""
        if changes and changes[0][0] == Kind.JUMP:
            for watch in [watch for some in self._open.values() for watch in some]:
                watch.head += 1
                watch.wake()
