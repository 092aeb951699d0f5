"""Saying something later (MSC4140): what a client can no longer say itself when its line breaks.

What is due is said as its owner would say it then: the room decides at that moment. A message
carries a transaction id made of its delay id, so one that was said just before a crash is not
said twice; state that is said again is the same state.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any, Final

import orjson

from kerwen.accounts.store import accounts
from kerwen.base import canonical_json
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.base.limits import EVENT_BYTES_MAX
from kerwen.rooms.actions.render import DELAYED
from kerwen.rooms.actions.send import Send
from kerwen.rooms.store import delayed
from kerwen.rooms.store.delayed import Delayed
from kerwen.rooms.store.users import user_ids
from kerwen.storage.database import Database, retrying

log = logging.getLogger("kerwen.delay")

DELAY_MAX_MS: Final = 24 * 3_600_000
WAITING_MAX: Final = 100  # of one person at a time
_DONE_KEPT_MAX: Final = 1_000  # of one person
_DONE_KEPT_MS: Final = 7 * 24 * 3_600_000
_DONE_SHOWN_MAX: Final = 100
_AT_ONCE: Final = 100
_LOOK_S: Final = 5.0  # other workers' ones are looked for so often
_TIDY_MS: Final = 3_600_000
LIMITS: Final = {"max_delay_ms": DELAY_MAX_MS, "max_scheduled": WAITING_MAX}
ACTIONS: Final = frozenset({"send", "cancel", "restart"})


class Delay:
    """`who` is (user id, user number, device number)."""

    def __init__(self, db: Database, send: Send, clock: Clock) -> None:
        self._db = db
        self._send = send
        self._clock = clock
        self._news = asyncio.Event()
        self._tidied_ms = 0

    async def schedule(
        self,
        who: tuple[str, int, int],
        room_id: str,
        event_type: str,
        content: dict[str, Any],
        delay_ms: int,
        *,
        state_key: str | None = None,
        txn_id: str | None = None,
    ) -> str:
        """The id of the delayed event, the same for a repeated transaction id."""
        if delay_ms <= 0:
            raise Refused(Reason.INVALID_PARAM, "The delay must be positive")
        if delay_ms > DELAY_MAX_MS:
            raise Refused(
                Reason.FORBIDDEN,
                "The delay is too long",
                extra={
                    "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
                    "org.matrix.msc4140.max_delay": DELAY_MAX_MS,
                },
            )
        canonical_json.check(content)
        kept = canonical_json.encode(content)
        if len(kept) > EVENT_BYTES_MAX:
            raise Refused(Reason.TOO_LARGE, "The event is too large")
        _, user_no, device_no = who
        now = self._clock()
        wish = Delayed(
            secrets.token_urlsafe(24),
            user_no,
            device_no,
            room_id,
            event_type,
            state_key,
            kept,
            txn_id,
            delay_ms,
            now,
            now + delay_ms,
        )
        delay_id = await retrying(lambda: self._keep(wish))
        self._news.set()
        return delay_id

    async def _keep(self, wish: Delayed) -> str:
        async with self._db.write() as tx:
            if await accounts.lock(tx, wish.user_no) is None:  # counted one after the other
                raise Refused(Reason.ACCOUNT_DEACTIVATED, "This account has been deactivated")
            if wish.txn_id is not None:
                before = await delayed.asked_before(
                    tx, wish.device_no, wish.room_id, wish.type, wish.txn_id
                )
                if before is not None:
                    return before
            others = await delayed.waiting(tx, wish.user_no, WAITING_MAX)
            if len(others) >= WAITING_MAX:
                left = max(others[0].send_ms - wish.since_ms, 1)
                raise Refused(
                    Reason.LIMIT_EXCEEDED,
                    "The maximum number of delayed events has been reached",
                    extra={"retry_after_ms": left},
                )
            await delayed.add(tx, wish)
            return wish.delay_id

    async def manage(self, user_no: int, delay_id: str, action: str) -> None:
        """Sends now, takes back, or lets the time begin anew.

        Says `NOT_FOUND`, `CONFLICT` where it is finished otherwise, and for `send` whatever the
        room says; then it stays where it was.
        """
        if action not in ACTIONS:
            raise Refused(Reason.INVALID_PARAM, "The action is send, cancel or restart")
        if action == "send":
            await self._send_now(await self.one(user_no, delay_id))
            return
        async with self._db.write() as tx:
            found = _own(await delayed.lock(tx, delay_id), user_no)
            now = self._clock()
            if found.done_ms:
                _check_same(found, action)
            elif action == "cancel":
                await delayed.finish(tx, delay_id, now)
            else:
                await delayed.put_off(tx, delay_id, now, now + found.delay_ms)
        self._news.set()

    async def _send_now(self, found: Delayed) -> None:
        if found.done_ms:
            _check_same(found, "send")
            return
        event_id = await retrying(lambda: self._say(found))
        await self._finish(found, event_id, None)

    async def one(self, user_no: int, delay_id: str) -> Delayed:
        """One's own; says `NOT_FOUND`."""
        async with self._db.read() as snap:
            return _own(await delayed.get(snap, delay_id), user_no)

    async def list(self, user_no: int) -> tuple[list[Delayed], list[Delayed]]:
        """(still to be said, finished lately) of one person."""
        async with self._db.read() as snap:
            return (
                await delayed.waiting(snap, user_no, WAITING_MAX),
                await delayed.done(snap, user_no, _DONE_SHOWN_MAX),
            )

    # --- when the time comes ----------------------------------------------------------------

    async def send_due(self) -> int:
        """Says what is due, in order; how many."""
        async with self._db.read() as snap:
            found = await delayed.due(snap, self._clock(), _AT_ONCE)
        for one in found:
            await self._send_one(one)
        return len(found)

    async def _send_one(self, found: Delayed) -> None:
        event_id, error = None, None
        try:
            await self._check_account(found)
            event_id = await retrying(lambda: self._say(found))
        except Refused as refused:
            error = f"{refused.reason.value}:{refused.public_text}"
        await self._finish(found, event_id, error)

    async def _check_account(self, found: Delayed) -> None:
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, found.user_no)
        if account is None or not account.active:
            raise Refused(Reason.ACCOUNT_DEACTIVATED, "This account has been deactivated")
        if account.locked:
            raise Refused(Reason.ACCOUNT_LOCKED, "This account has been locked")
        if account.suspended:
            raise Refused(Reason.ACCOUNT_SUSPENDED, "This account has been suspended")

    async def _say(self, found: Delayed) -> str:
        async with self._db.read() as snap:
            ids = await user_ids(snap, [found.user_no])
        who = (ids[found.user_no], found.user_no, found.device_no)
        content = orjson.loads(found.content)
        if found.state_key is not None:
            return await self._send.state(who, found.room_id, found.type, found.state_key, content)
        txn_id = DELAYED + found.delay_id
        return await self._send.message(who, found.room_id, found.type, txn_id, content)

    async def _finish(self, found: Delayed, event_id: str | None, error: str | None) -> None:
        async with self._db.write() as tx:
            await delayed.finish(tx, found.delay_id, self._clock(), event_id, error)
            await delayed.forget_beyond(tx, found.user_no, _DONE_KEPT_MAX)

    async def work(self) -> None:
        """The timer: says what is due, and waits for the next or for news."""
        while True:
            self._news.clear()
            try:
                await self.send_due()
                await self._tidy()
                pause_s = await self._pause_s()  # none, if more is due
            except Unavailable as error:
                log.warning("delayed events wait", extra={"why": error.reason.value})
                pause_s = _LOOK_S
            try:
                await asyncio.wait_for(self._news.wait(), pause_s)
            except TimeoutError:
                pass

    async def _pause_s(self) -> float:
        async with self._db.read() as snap:
            following = await delayed.next_due(snap)
        if following is None:
            return _LOOK_S
        return min(_LOOK_S, max(following - self._clock(), 0) / 1000 + 0.001)

    async def _tidy(self) -> None:
        now = self._clock()
        if now - self._tidied_ms < _TIDY_MS:
            return
        self._tidied_ms = now
        async with self._db.write() as tx:
            await delayed.forget_before(tx, now - _DONE_KEPT_MS)


def _own(found: Delayed | None, user_no: int) -> Delayed:
    if found is None or found.user_no != user_no:
        raise Refused(Reason.NOT_FOUND, "There is no such delayed event")
    return found


def _check_same(found: Delayed, action: str) -> None:
    """What is finished may be asked for again; another end is a conflict."""
    said = found.event_id is not None
    if (action == "send" and said) or (action == "cancel" and not said):
        return
    raise Refused(Reason.CONFLICT, "The delayed event was sent" if said else "It was cancelled")
