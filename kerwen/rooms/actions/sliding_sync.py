"""Simplified sliding sync (MSC4186): the rooms in a client's windows, and what is new in them.

An answer is a function of the state that the client's `pos` names (what it was sent), of its
place on the feed, and of the request. It makes a new state only when the set of rooms changes or
what they are wanted with. The order is register, read, wait, as in classic sync; both share the
watch of the account, the newest events in memory, and the renderings of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson

from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SYNC_TIMEOUT_MAX_MS
from kerwen.keys.store.key_counts import KeyCounts
from kerwen.rooms.actions import sliding_sync_extensions as extensions
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.sliding_sync_connections import Connection, Connections, Turn
from kerwen.rooms.actions.sliding_sync_facts import RoomFacts
from kerwen.rooms.actions.sliding_sync_look import Looking
from kerwen.rooms.actions.sliding_sync_round import Asked, Look
from kerwen.rooms.actions.sliding_sync_shelf import Shelves
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.sliding_state import Pos, State, read_pos
from kerwen.storage.database import Change, Database
from kerwen.storage.feed import Feed
from kerwen.storage.wake import LINGER_MS, WakeIndex, Watch

NOTHING_KNOWN = 2**63 - 1  # as a watch's base

__all__ = ["Asked", "SlidingSync"]


class SlidingSync:
    """Answers sliding syncs; `stop` ends all that wait."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        wake: WakeIndex,
        recent: Recent,
        typing: Typing,
        key_counts: KeyCounts,
        clock: Clock,
    ) -> None:
        self._db = db
        self._feed = feed
        self._wake = wake
        self._typing = typing
        self._key_counts = key_counts
        self._clock = clock
        self._facts = RoomFacts(recent)
        self._shelves = Shelves(db, wake, self._facts)
        self._look = Looking(db, recent, typing, self._facts, self._shelves, clock)
        self.connections = Connections(db, clock)
        self._stopping = False
        self.parked = 0

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed; after `Recent` and before whoever wakes."""
        self._facts.follow(pos, changes)
        self._shelves.follow(pos, changes)

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._stopping = True
        self._wake.wake_all()

    async def tidy(self) -> None:
        """Forgets what nobody uses; called by a timer."""
        self._shelves.sweep()
        await self.connections.sweep()

    async def __call__(self, asked: Asked) -> bytes:
        """The answer's JSON."""
        pos = read_pos(asked.pos) if asked.pos else None
        if (
            pos is not None
            and pos.token.pos > self._feed.settled
            and not await self._feed.until(pos.token.pos)
        ):
            raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
        conn = self.connections.open(asked.device_no, asked.wish.conn_id)
        base = State()
        if pos is not None:
            base = await self.connections.state(conn, pos.generation)
            conn.sent.came_back(pos)
        watch = self._wake.get(asked.user_no)
        fresh = watch is None
        if watch is None:
            watch = self._wake.open(asked.user_no, (), self._feed.settled)
            watch.base = NOTHING_KNOWN  # until its rooms are read, memory proves nothing
        watch.parked += 1  # from here on nobody sweeps it away
        try:
            if fresh:
                await self._begin(watch, asked)
            self._wake.add_device(watch, asked.device_no)
            await self._acknowledge(asked, watch)
            return await self._in_turn(asked, conn, pos, base, watch)
        finally:
            watch.parked -= 1
            watch.expires_ms = self._clock() + LINGER_MS

    async def _begin(self, watch: Watch, asked: Asked) -> None:
        """Reads what a new watch must know."""
        try:
            await self._shelves.of(watch, asked.user_id)
        except BaseException:
            self._wake.close(watch)
            raise
        watch.base = watch.last = self._feed.settled
        watch.wake()  # another poll of the account may have parked meanwhile

    async def _in_turn(
        self, asked: Asked, conn: Connection, pos: Pos | None, base: State, watch: Watch
    ) -> bytes:
        """The answer; a request with the same position that still waits is ended."""
        name = asked.pos or ""
        before, turn = conn.turns.get(name), Turn()
        if before is not None:
            before.end()
        conn.turns[name] = turn
        try:
            return await self._answer(asked, conn, pos, base, watch, turn)
        finally:
            if conn.turns.get(name) is turn:
                del conn.turns[name]

    async def _acknowledge(self, asked: Asked, watch: Watch) -> None:
        wish = asked.wish.to_device
        if wish is None or not wish.since:
            return
        try:
            since = feed_token.decode(wish.since)
        except Refused:
            raise Refused(Reason.INVALID_PARAM, "Unknown since of to_device") from None
        await extensions.acknowledge(self._db, watch, asked.device_no, since)

    # --- waiting ----------------------------------------------------------------------------

    async def _answer(
        self,
        asked: Asked,
        conn: Connection,
        pos: Pos | None,
        base: State,
        watch: Watch,
        turn: Turn,
    ) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(asked.timeout_ms, SYNC_TIMEOUT_MAX_MS) / 1000
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            watch.waiters.append(waiter)
            turn.waiter = waiter
            try:
                if turn.over:  # the client asked again: this answer must not move anything
                    return _nothing(asked)
                upto = self._feed.settled
                soft = self._typing.count
                look = None
                if not self._is_calm(asked, conn, pos, watch, soft):
                    following = FeedToken(upto, 0, self._typing.origin, soft)
                    look = await self._look(asked, conn, pos, base, watch, following)
                    if pos is not None and not look.news and not look.next.changed:
                        _note_calm(conn, pos.generation, asked, look)
                left = deadline - loop.time()
                ready = pos is None or (look is not None and look.news)
                closed = self._wake.get(asked.user_no) is not watch  # nobody would wake us
                if ready or left <= 0 or self._stopping or closed:
                    return await self._close(asked, conn, pos, base, look, turn, upto, soft)
                await self._park(waiter, left)
            finally:
                waiter.cancel()
                if waiter in watch.waiters:
                    watch.waiters.remove(waiter)

    def _is_calm(
        self, asked: Asked, conn: Connection, pos: Pos | None, watch: Watch, soft: int
    ) -> bool:
        """Whether nothing can have come: then there is no need to look."""
        return (
            pos is not None
            and conn.calm == (pos.generation, asked.key)
            and watch.base <= pos.token.pos
            and watch.last <= pos.token.pos
            and (pos.token.soft_origin, pos.token.soft) == (self._typing.origin, soft)
        )

    async def _park(self, waiter: asyncio.Future[None], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, _ring, waiter)
        self.parked += 1
        try:
            await waiter
        finally:
            self.parked -= 1
            timer.cancel()

    async def _close(
        self,
        asked: Asked,
        conn: Connection,
        pos: Pos | None,
        base: State,
        look: Look | None,
        turn: Turn,
        upto: int,
        soft: int,
    ) -> bytes:
        generation = pos.generation if pos is not None else 0
        following = FeedToken(upto, 0, self._typing.origin, soft)
        rooms, more, lists = list[bytes](), list[bytes](), conn.lists
        if look is not None:
            following, lists, more = look.following, look.lists, look.extensions
            for room_id, body in look.rooms:
                rooms += (orjson.dumps(room_id), b":", body, b",")
            if look.next.changed or pos is None:
                kept = await self.connections.keep(conn, generation, base, look.next.made(), turn)
                if kept is None:
                    return _nothing(asked)
                generation = kept
            _note_calm(conn, generation, asked, look)
            conn.sent.told(Pos(generation, following), look.members)
        more = await self._with_counts(asked, more)
        parts = [b'{"pos":"%b",' % str(Pos(generation, following)).encode()]
        if asked.wish.txn_id is not None:
            parts.append(b'"txn_id":%b,' % orjson.dumps(asked.wish.txn_id))
        parts += (b'"lists":{%b},"rooms":{' % lists, *rooms[:-1])
        parts.append(b'},"extensions":{%b}}' % b",".join(more))
        return b"".join(parts)  # once: an answer may be large

    async def _with_counts(self, asked: Asked, found: list[bytes]) -> list[bytes]:
        """MSC3884: the counts of keys go with every answer."""
        if not asked.wish.e2ee:
            return found
        counts = await self._key_counts.of(asked.device_no)
        lists = [part for part in found if part.startswith(b'"device_lists"')]
        rest = [part for part in found if not part.startswith(b'"device_lists"')]
        return [*rest, b'"e2ee":{%b}' % b",".join([*lists, counts])]


def _nothing(asked: Asked) -> bytes:
    """An answer that leaves the client where it is."""
    pos = (asked.pos or "").encode()
    return b'{"pos":"%b","lists":{},"rooms":{},"extensions":{}}' % pos


def _note_calm(conn: Connection, generation: int, asked: Asked, look: Look) -> None:
    conn.calm = (generation, asked.key)
    conn.lists, conn.sizes, conn.shelf = look.lists, look.sizes, look.shelf


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
