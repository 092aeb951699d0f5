"""Looking into a room without being in it, as it goes on (CS #get-peeking-events)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SYNC_TIMEOUT_MAX_MS, TIMELINE_LIMIT_MAX
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.render import render_all
from kerwen.rooms.actions.visible import visible_events, visible_room
from kerwen.rooms.store import events
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Change, Database, Kind
from kerwen.storage.feed import Feed


class Peek:
    """A follower of the feed: rings for those who wait for a room."""

    def __init__(self, db: Database, feed: Feed, names: Names, clock: Clock) -> None:
        self._db = db
        self._feed = feed
        self._names = names
        self._clock = clock
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._stopping = False

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed; costs nothing while nobody peeks."""
        if not self._waiting:
            return
        for kind, subject, _ in changes:
            if kind in (Kind.EVENT, Kind.JUMP):
                for bell in self._waiting.get(subject, ()):
                    bell.set()

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._stopping = True
        for bells in self._waiting.values():
            for bell in bells:
                bell.set()

    async def __call__(self, who: Who, room_id: str, since: str, timeout_ms: int) -> dict[str, Any]:
        """What is said in a room after a token of `/sync`. Says `FORBIDDEN`."""
        pos = await self._pos(since)
        async with self._db.read() as snap:
            room_no = await self._names.room(snap, room_id)
            number, _ = await visible_room(snap, room_no, who.user_no, who.user_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(timeout_ms, SYNC_TIMEOUT_MAX_MS) / 1000
        while True:
            bell = asyncio.Event()
            bells = self._waiting.setdefault(number, set())
            bells.add(bell)
            try:
                upto = self._feed.settled
                chunk = await self._look(who, number, room_id, pos, upto)
                left = deadline - loop.time()
                if chunk or left <= 0 or self._stopping:
                    end = feed_token.encode(FeedToken(upto))
                    return {"start": since, "end": end, "chunk": chunk}
                try:
                    await asyncio.wait_for(bell.wait(), left)
                except TimeoutError:
                    pass
            finally:
                bells.discard(bell)
                if not bells:
                    self._waiting.pop(number, None)

    async def _pos(self, since: str) -> int:
        try:
            pos = feed_token.decode(since).pos
            if pos <= self._feed.settled or await self._feed.until(pos):
                return pos
        except Refused:
            pass
        raise Refused(Reason.INVALID_PARAM, "from is no token of this server")

    async def _look(self, who: Who, number: int, room_id: str, since: int, upto: int) -> list[Any]:
        async with self._db.read() as snap:
            await visible_room(snap, number, who.user_no, who.user_id)
            found = await events.newest(snap, number, since, upto, TIMELINE_LIMIT_MAX)
            if not found:
                return []
            sight = await visible_events(snap, number, who.user_id)
            seen = [e for e in found if sight.sees(e.seq)]
            shown = await render_all(snap, seen, self._clock(), who.device_no, room_id)
            return [orjson.loads(e) for e in shown]
