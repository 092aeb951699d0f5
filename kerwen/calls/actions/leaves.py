"""Leaves that devices handed over to us (MSC4140, MSC4195): said when the device is gone.

A device that is in a call has its leave scheduled, and hands it over so that it need not put it
off itself every few seconds. We know best when its media is gone.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.calls import store
from kerwen.calls.store import Leave
from kerwen.calls.token import Grant
from kerwen.rooms.actions.delay import Delay
from kerwen.storage.database import Database

log = logging.getLogger("kerwen.calls")

LOOK_S: Final = 0.5
BACK_MS: Final = 2_000  # for a device that comes anew, before its leave is said
COME_MS: Final = 60_000  # for one that has not come yet, or was here before we stopped
TYPES: Final = frozenset(
    {"org.matrix.msc3401.call.member", "org.matrix.msc4143.rtc.member", "m.rtc.member"}
)


@dataclass(slots=True)
class _Device:
    """A device's leaves by id, each with when it is put off next; since when it is away (0: it
    is here), and for how long that is borne."""

    leaves: dict[str, tuple[Leave, int]] = field(default_factory=dict)
    away_ms: int = 0
    patience_ms: int = COME_MS


class Leaves:
    """Keeps them, puts them off, says them."""

    def __init__(self, db: Database, delay: Delay, clock: Clock) -> None:
        self._db = db
        self._delay = delay
        self._clock = clock
        self._devices: dict[tuple[str, str], _Device] = {}
        self._here: dict[tuple[str, str], int] = {}
        self._news = asyncio.Event()

    async def load(self) -> None:
        """At the start: those that were kept when the server stopped."""
        async with self._db.read() as snap:
            kept = await store.everything(snap)
        for leave in kept:
            self._keep(leave)

    async def hand_over(self, user_no: int, grant: Grant, delay_id: str) -> None:
        """Takes a delayed leave over. Says `NOT_FOUND`, `INVALID_PARAM`, `LIMIT_EXCEEDED`."""
        found = await self._delay.one(user_no, delay_id)
        if found.type not in TYPES or found.room_id != grant.room_id or found.done_ms:
            raise Refused(Reason.INVALID_PARAM, "That is no delayed leave of this call")
        device = self._devices.get((grant.call, grant.identity))
        if device is not None and len(device.leaves) >= limits.CALL_LEAVES_MAX:
            raise Refused(Reason.LIMIT_EXCEEDED, "This device has handed over enough")
        leave = Leave(delay_id, user_no, grant.call, grant.identity, found.delay_ms)
        async with self._db.write() as tx:
            await store.add(tx, leave)
        self._keep(leave)

    def _keep(self, leave: Leave) -> None:
        place = (leave.call, leave.identity)
        device = self._devices.get(place)
        if device is None:
            device = self._devices[place] = _Device()
            device.away_ms = 0 if self._here.get(place) else self._clock()
        device.leaves[leave.delay_id] = (leave, 0)
        self._news.set()

    # --- the hall says

    def came(self, call: str, identity: str) -> None:
        """A device is in a call."""
        place = (call, identity)
        self._here[place] = self._here.get(place, 0) + 1
        device = self._devices.get(place)
        if device is not None:
            device.away_ms = 0

    def went(self, call: str, identity: str) -> None:
        """A device is gone, or one of two lines of it."""
        place = (call, identity)
        left = self._here.pop(place, 1) - 1
        if left > 0:
            self._here[place] = left
            return
        device = self._devices.get(place)
        if device is not None:
            device.away_ms, device.patience_ms = self._clock(), BACK_MS

    # --- time

    async def work(self) -> None:
        """The worker."""
        while True:
            if not self._devices:
                self._news.clear()
                await self._news.wait()
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Unavailable as error:
                log.warning("handed-over leaves wait", extra={"why": error.reason.value})

    async def look(self) -> None:
        """Puts off those whose devices are here, says those whose devices are gone."""
        now = self._clock()
        for place, device in list(self._devices.items()):
            gone = device.away_ms and now - device.away_ms >= device.patience_ms
            for delay_id, (leave, due) in list(device.leaves.items()):
                if gone:
                    await self._manage(device, leave, "send")
                elif now >= due and await self._manage(device, leave, "restart"):
                    device.leaves[delay_id] = (leave, now + max(leave.period_ms // 3, 1_000))
            if not device.leaves and self._devices.get(place) is device:
                del self._devices[place]

    async def _manage(self, device: _Device, leave: Leave, action: str) -> bool:
        """Whether the leave is still ours to look after."""
        try:
            await self._delay.manage(leave.user_no, leave.delay_id, action)
            if action == "restart":
                return True
        except Refused as refused:  # its owner took it back or said it, or may not say it now
            log.info("a handed-over leave is over", extra={"why": refused.reason.value})
        device.leaves.pop(leave.delay_id, None)
        async with self._db.write() as tx:
            await store.drop(tx, leave.delay_id)
        return False
