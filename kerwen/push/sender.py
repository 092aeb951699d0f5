"""Sends what waits for pushers, each in its order, with more and more time between failures.

A pusher whose turn it is is claimed in the database until its requests must be over, so of
several workers one sends; when a worker dies, the claim ends by itself. What was sent is deleted
after the gateway's answer: after a crash it is sent once more (gateways know an event by its id).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import orjson

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Unavailable
from kerwen.push import store
from kerwen.push.gateway import Gateways, Outcome
from kerwen.push.notification import device_of, of_badge, of_event, wait_ms
from kerwen.push.store import Due, Push
from kerwen.rooms.store import members, receipts
from kerwen.storage.database import Database, Retry, Snap, retrying

_log = logging.getLogger(__name__)

CLAIM_MS: Final = 60_000
_LOOK_S: Final = 5.0  # how often is looked at what another worker may have left
_SWEEP_MS: Final = 3_600_000

Count = Callable[[Iterable[int]], Awaitable[dict[int, int]]]
"""How many events accounts have not read."""


class Ready(msgspec.Struct):
    """An event that is still to be told; `place` is (pos, n)."""

    place: tuple[int, int]
    event_id: str
    room_id: str
    tweaks: dict[str, Any]


class Turn(msgspec.Struct):
    """A claimed pusher and what it has to tell.

    `unread` is its account's count; `done` are places that need no telling any more, and
    everything before `before` is too old to be told.
    """

    due: Due
    unread: int
    ready: list[Ready]
    done: list[tuple[int, int]]
    before: int


class PushSender:
    """The worker that sends."""

    def __init__(self, db: Database, gateways: Gateways, count: Count, clock: Clock) -> None:
        self._db = db
        self._gateways = gateways
        self._count = count
        self._clock = clock
        self._news = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._held: dict[store.Key, Due] = {}
        self._swept_ms = 0
        self.sent = 0

    def awake(self) -> None:
        """Somebody has something to send."""
        self._news.set()

    async def run(self) -> None:
        """Works until cancelled; then gives back what was not sent."""
        try:
            while True:
                self._news.clear()
                try:
                    wait_s = await self._start_due()
                except (Unavailable, Retry) as error:
                    _log.warning("pushes wait: %r", error)
                    wait_s = _LOOK_S
                try:
                    async with asyncio.timeout(wait_s):
                        await self._news.wait()
                except TimeoutError:
                    pass
        finally:
            await asyncio.shield(self._stop())

    async def step(self) -> int:
        """Everything that is due now, to its end; how many pushers had a turn (for tests)."""
        turns = await self._claim(limits.PUSHES_AT_ONCE)
        await asyncio.gather(*(self._take(turn) for turn in turns))
        return len(turns)

    async def _start_due(self) -> float:
        """Starts turns while there is room; the time until the next may be due."""
        await self._sweep()
        free = limits.PUSHES_AT_ONCE - len(self._running)
        if free <= 0:
            return _LOOK_S
        turns = await self._claim(free)
        for turn in turns:
            task = asyncio.create_task(self._take(turn))
            self._running.add(task)
            task.add_done_callback(self._ended)
        if len(turns) == free:
            return _LOOK_S  # whoever ends makes us look again
        async with self._db.read(single=True) as snap:
            due = await store.next_due(snap)
        if due is None:
            return _LOOK_S
        return min(max((due - self._clock()) / 1000, 0.01), _LOOK_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a push broke", exc_info=error)

    async def _stop(self) -> None:
        held = list(self._held.values())  # before each ends and forgets its own
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if held:
            try:
                async with self._db.write() as tx:
                    for due in held:
                        await store.release(tx, due, self._clock())
            except (Unavailable, Retry) as error:
                _log.warning("pushes could not be given back: %r", error)

    async def _sweep(self) -> None:
        now = self._clock()
        if now - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = now
            async with self._db.write() as tx:
                await store.sweep_pushes(tx, now - limits.PUSH_LIFE_MS)

    # --- claiming -------------------------------------------------------------------------

    async def _claim(self, count: int) -> list[Turn]:
        """Turns of pushers that are due."""
        now = self._clock()
        async with self._db.read(single=True) as snap:
            due_ms = await store.next_due(snap)
        if due_ms is None or due_ms > now:
            return []
        async with self._db.write() as tx:
            claimed = await store.claim(tx, now, now + CLAIM_MS, count)
        for due in claimed:
            self._held[due.key] = due
        accounts = {due.account_no for due in claimed}
        unread = await self._count(accounts)
        async with self._db.read() as snap:
            waiting = await store.waiting(snap, accounts, limits.PUSHES_WAITING_MAX)
            turns = []
            for due in claimed:
                turn = Turn(due, unread[due.account_no], [], [], 0)
                await self._look(snap, turn, waiting.get(due.key, []), now)
                turns.append(turn)
        return turns

    async def _look(self, snap: Snap, turn: Turn, pushes: Sequence[Push], now_ms: int) -> None:
        """What of the waiting events is still news to the person."""
        if len(pushes) == limits.PUSHES_WAITING_MAX:
            turn.before = pushes[0].pos
        for push in pushes:
            place = (push.pos, push.n)
            event = await store.event_at(snap, push.room_no, push.seq)
            if event is None or push.at_ms < now_ms - limits.PUSH_LIFE_MS:
                turn.done.append(place)
                continue
            event_id, redacted_by, thread, room_id = event
            if redacted_by is not None or await _was_read(snap, push, thread):
                turn.done.append(place)
                continue
            turn.ready.append(Ready(place, event_id, room_id, orjson.loads(push.tweaks)))

    # --- sending --------------------------------------------------------------------------

    async def _take(self, turn: Turn) -> None:
        try:
            await self._send(turn)
        finally:
            self._held.pop(turn.due.key, None)

    async def _send(self, turn: Turn) -> None:
        """One request for each event, in order, then the count alone if it is another one."""
        due = turn.due
        badge = due.badge
        for ready in turn.ready:
            device = _device(due, ready.tweaks)
            body = of_event(ready.event_id, ready.room_id, turn.unread, device)
            outcome = await self._push(due, device, body)
            if not outcome.done or outcome.rejected:
                await self._stumble(turn, badge, outcome)
                return
            badge = turn.unread
            turn.done.append(ready.place)
        if max(badge, 0) != turn.unread and (due.badge_due or due.failures):
            device = _device(due, {})
            outcome = await self._push(due, device, of_badge(turn.unread, device))
            if not outcome.done or outcome.rejected:
                await self._stumble(turn, badge, outcome)
                return
            badge = turn.unread
        await self._finish(turn, badge, 0, 0)

    async def _push(self, due: Due, device: dict[str, Any], body: dict[str, Any]) -> Outcome:
        url = orjson.loads(due.body)["data"]["url"]
        outcome = await self._gateways.push(url, due.pushkey, body)
        self.sent += outcome.done
        return outcome

    async def _stumble(self, turn: Turn, badge: int, outcome: Outcome) -> None:
        """The gateway did not take it, or not any more."""
        due = turn.due
        if outcome.rejected:
            await retrying(lambda: self._drop(due))
            return
        failures = due.failures + 1
        await self._finish(turn, badge, failures, wait_ms(failures, outcome.wait_ms))

    async def _finish(self, turn: Turn, badge: int, failures: int, again_after_ms: int) -> None:
        again_ms = self._clock() + again_after_ms

        async def write() -> None:
            async with self._db.write() as tx:
                await store.finish(
                    tx,
                    turn.due,
                    done=turn.done,
                    before=turn.before,
                    again_ms=again_ms,
                    failures=failures,
                    badge=badge,
                    badge_told=not failures,
                )

        await retrying(write)

    async def _drop(self, due: Due) -> None:
        async with self._db.write() as tx:
            await store.drop_pusher(tx, due)
        _log.info("a gateway rejected a pusher", extra={"app": due.app_id})


def _device(due: Due, tweaks: dict[str, Any]) -> dict[str, Any]:
    data = orjson.loads(due.body)["data"]
    return device_of(due.app_id, due.pushkey, due.set_ms, data, tweaks)


async def _was_read(snap: Snap, push: Push, thread: str | None) -> bool:
    """Whether the person has read the event meanwhile; an invite is read by an answer to it."""
    member = await members.member(snap, push.room_no, push.account_no)
    if member is None or member.membership not in ("join", "invite"):
        return True
    if member.membership == "invite":
        return member.seq != push.seq
    if thread is None:
        return member.read_seq >= push.seq
    reads = await receipts.thread_reads(snap, push.room_no, push.account_no)
    return max(reads.get(thread, 0), reads.get("", 0)) >= push.seq
