"""The worker that sends what is in the queue.

It leases messages, several at a time and few for one destination, hands each on, and settles. A
destination that could not be reached is left alone for a while: its messages wait on without being
tried, each as long as its own turn says.
"""

# RFC 5321 §4.5.4, §6.3

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Refused, Unavailable
from kerwen.mail import fields, retry, submission, trace
from kerwen.mail.actions.bring_home import BringHome
from kerwen.mail.actions.hand_on import HandOn
from kerwen.mail.actions.queue import LEASE_MS, Leased, Queue, Result, Verdict
from kerwen.storage.database import Retry

_log = logging.getLogger("kerwen.mail.sender")

_LOOK_S: Final = 60.0  # how often is looked without being called
_DATABASE_S: Final = 5.0
_GOODBYE_S: Final = 2.5  # what is under way when we stop has this long
_AWAY_MAX_MS: Final = 30 * 60_000


class Counts(Protocol):
    """What is counted in memory and must be written now and then."""

    async def flush(self) -> None:
        """Writes what was counted."""


class Away(msgspec.Struct):
    """A destination that could not be reached: until when it is left alone, and why."""

    until_ms: int
    times: int
    said: Result


class MailSender:
    """Sends. `at_once`: messages on their way at a time."""

    def __init__(
        self,
        queue: Queue,
        hand_on: HandOn,
        home: BringHome,
        counts: Sequence[Counts],
        chance: Callable[[], float],
        clock: Clock,
        at_once: int = limits.SMTP_CLIENT_AT_ONCE,
    ) -> None:
        self._queue = queue
        self._hand_on = hand_on
        self._home = home
        self._counts = tuple(counts)
        self._chance = chance
        self._clock = clock
        self._at_once = at_once
        self._running: dict[asyncio.Task[None], int] = {}
        self._away: dict[int, Away] = {}
        self._looked_ms = 0
        self.verdicts: Counter[Verdict] = Counter()
        """Recipients by what became of them, since the start."""
        self.waiting: tuple[int, int, int | None] = (0, 0, None)
        """Messages in the queue, their bytes, and when the oldest came; a minute old at most."""
        queue.asked_again = self._away.clear

    @property
    def running(self) -> int:
        """Messages on their way."""
        return len(self._running)

    @property
    def away(self) -> int:
        """Destinations that are left alone."""
        return len(self._away)

    def oldest_s(self) -> float:
        """How long the oldest message has waited, in seconds."""
        since = self.waiting[2]
        return max(self._clock() - since, 0) / 1000 if since is not None else 0.0

    async def run(self) -> None:
        """Works until cancelled; what is under way then has a moment to end."""
        await self._queue.begin()
        try:
            while True:
                self._queue.news.clear()
                try:
                    await self._start_due()
                    await self._look()
                    wait_s = await self._wait_s()
                except (Unavailable, Retry) as error:
                    _log.warning("the queue waits: %r", error)
                    wait_s = _DATABASE_S
                try:
                    async with asyncio.timeout(wait_s):
                        await self._queue.news.wait()
                except TimeoutError:
                    pass
        finally:
            await asyncio.shield(self._stop())

    async def step(self) -> int:
        """Everything that is due now, to its end; how many turns there were (for tests)."""
        turns = 0
        while await self._start_due() or self._running:
            turns += 1
            await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED)
        return turns

    # --- the loop

    async def _start_due(self) -> int:
        """Starts what is due while there is room; how many."""
        started = 0
        while len(self._running) < self._at_once:
            if sum(self._running.values()) >= limits.SMTP_CLIENT_BYTES_AT_ONCE:
                break
            leased = await self._queue.lease()
            if leased is None:
                break
            task = asyncio.create_task(self._take(leased))
            self._running[task] = leased.size
            task.add_done_callback(self._ended)
            started += 1
        return started

    async def _wait_s(self) -> float:
        due = await self._queue.next_due_ms()
        now = self._clock()
        if due is None:
            return _LOOK_S
        if due <= now:  # there was no room: who ends, calls
            return _LOOK_S if self._running else 1.0
        return min((due - now) / 1000, _LOOK_S)

    async def _look(self) -> None:
        """What is done now and then: numbers for whoever watches, counts to the disk."""
        now = self._clock()
        if now - self._looked_ms < _LOOK_S * 1000:
            return
        self._looked_ms = now
        self._forget_away(now)
        self.waiting = await self._queue.totals()
        for counts in self._counts:
            await counts.flush()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._queue.news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("sending broke", exc_info=error)

    async def _stop(self) -> None:
        if self._running:
            await asyncio.wait(list(self._running), timeout=_GOODBYE_S)
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._hand_on.close()
        try:
            for counts in self._counts:
                await counts.flush()
        except (Unavailable, Retry) as error:
            _log.warning("counts could not be written: %r", error)

    # --- one message

    async def _take(self, leased: Leased) -> None:
        renewing = asyncio.create_task(self._renew(leased))
        try:
            results = await self._attempt(leased)
        except (Unavailable, Retry) as error:
            _log.warning("a message waits: %r", error)
            results = _same(leased, Verdict.DEFERRED, "4.3.0", "we could not read it just now")
        finally:
            renewing.cancel()
        await self._settle(leased, results)
        self._tell(leased, results)

    async def _settle(self, leased: Leased, results: list[Result]) -> None:
        """What became of a message must be written, or it would be sent twice: as often as it
        takes, while the database or the disk is in trouble."""
        while True:
            try:
                await self._queue.settle(leased, results)
                return
            except (Unavailable, Retry) as error:
                _log.warning("what became of a message cannot be written: %r", error)
            await asyncio.sleep(_DATABASE_S)

    async def _renew(self, leased: Leased) -> None:
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            try:
                await self._queue.renew(leased)
            except (Unavailable, Retry) as error:
                _log.warning("a lease could not be renewed: %r", error)

    async def _attempt(self, leased: Leased) -> list[Result]:
        away = self._away.get(leased.destination)
        if away is not None and away.until_ms > self._clock():
            said = away.said
            return _same(leased, said.verdict, said.status, said.answer, said.host)
        try:
            raw = await self._queue.message(leased.queue_no)
        except Refused:
            return _same(leased, Verdict.FAILED, "5.3.0", "the message was damaged while it waited")
        if trace.is_looping(fields.read(raw[: submission.header_end(raw)])):
            return _same(leased, Verdict.FAILED, "5.4.6", "it has been passed on without end")
        if self._home.is_home(leased.domain):
            return await self._home.run(leased, raw)
        try:
            handed = await self._hand_on.run(leased, raw)
        except (OSError, ValueError, AssertionError, RuntimeError):
            _log.exception("bug")
            return _same(leased, Verdict.DEFERRED, "4.3.0", "an error in our server")
        self._note(leased.destination, handed.away)
        return handed.results

    def _note(self, destination: int, said: Result | None) -> None:
        if said is None:
            self._away.pop(destination, None)
            return
        if destination not in self._away and len(self._away) >= limits.AWAY_KNOWN_MAX:
            return
        known = self._away.get(destination)
        times = known.times + 1 if known else 1
        wait_ms = min(retry.wait_ms(times, self._chance()), _AWAY_MAX_MS)
        self._away[destination] = Away(self._clock() + wait_ms, times, said)

    def _forget_away(self, now: int) -> None:
        """Where nobody went for long, it is not known any more how often it was away."""
        old = [to for to, one in self._away.items() if one.until_ms + _AWAY_MAX_MS < now]
        for to in old:
            del self._away[to]

    def _tell(self, leased: Leased, results: list[Result]) -> None:
        """The log has no addresses, and no names of hosts."""
        counts = Counter(one.verdict for one in results)
        self.verdicts.update(counts)
        told = {verdict.value: count for verdict, count in counts.items()}
        status = sorted({one.status for one in results})[:5]
        extra = {"queue": leased.queue_no, "tries": leased.tries + 1, "status": status, **told}
        _log.info("a message had its turn", extra=extra)


def _same(
    leased: Leased, verdict: Verdict, status: str, answer: str | None, host: str | None = None
) -> list[Result]:
    """One result for every recipient."""
    return [Result(number, verdict, status, answer, host) for number in leased.recipients]
