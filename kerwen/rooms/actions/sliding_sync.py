"""Simplified sliding sync (MSC4186): the rooms in a client's windows, and what is new in them.

An answer is a function of the state that the client's `pos` names (what it was sent), of its
place on the feed, and of the request. It makes a new state only when the set of rooms changes or
what they are wanted with. The order is register, read, wait, as in classic sync; both share the
watch of the account, the newest events in memory, and the renderings of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SYNC_TIMEOUT_MAX_MS
from kerwen.keys.store.key_counts import KeyCounts
from kerwen.rooms.actions import sliding_sync_extensions as extensions
from kerwen.rooms.actions.long_poll import LongPolls
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
from kerwen.storage.wake import WakeIndex, Watch

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
        self._polls = LongPolls(feed, wake, clock)

    @property
    def parked(self) -> int:
        """How many requests wait."""
        return self._polls.parked

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed; after `Recent` and before whoever wakes."""
        self._facts.follow(pos, changes)
        self._shelves.follow(pos, changes)

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._polls.stop()

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
        if pos is not None:
            await self.connections.check(conn, pos.generation)
            conn.sent.came_back(pos)
        watch = await self._polls.enter(
            asked.user_no, lambda watch: self._shelves.of(watch, asked.user_id)
        )
        poll = _Poll(self, asked, conn, pos, watch)
        try:
            self._wake.add_device(watch, asked.device_no)
            await self._acknowledge(asked, watch)
            conn.begin(poll)  # a request with the same position that still waits is ended
            await self._polls.wait(watch, poll, min(asked.timeout_ms, SYNC_TIMEOUT_MAX_MS))
            return _nothing(asked) if poll.over else await self._close(asked, conn, pos, poll)
        finally:
            conn.end(poll)
            self._polls.leave(watch)

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

    async def look(self, poll: _Poll, pos: Pos | None) -> bool:
        """Fills a poll; whether to answer it now."""
        asked, conn, watch = poll.asked, poll.conn, poll.watch
        following = FeedToken(self._feed.settled, 0, self._typing.origin, self._typing.count)
        poll.found, poll.following = None, following
        if self._is_calm(asked, conn, pos, watch, following.soft):
            return False
        base = State()
        if pos is not None:
            base = await self.connections.state(conn, pos.generation)
        found = await self._look(asked, conn, pos, base, watch, following)
        if pos is not None and not found.news and not found.next.changed:
            _note_calm(conn, pos.generation, asked, found)
            return False
        poll.found = found
        return pos is None or found.news

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

    async def _close(self, asked: Asked, conn: Connection, pos: Pos | None, poll: _Poll) -> bytes:
        generation = pos.generation if pos is not None else 0
        following, look = poll.following, poll.found
        rooms, more, lists = list[bytes](), list[bytes](), conn.lists
        if look is not None:
            following, lists, more = look.following, look.lists, look.extensions
            for room_id, body in look.rooms:
                rooms += (orjson.dumps(room_id), b":", body, b",")
            if look.next.changed or pos is None:
                kept = await self.connections.keep(conn, generation, look.next.made(), poll)
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


class _Poll(Turn):
    """A request that looks until something is news. `found`: the last look, if it is to be told;
    `following`: where the client stands after that."""

    __slots__ = ("_pos", "_sync", "asked", "conn", "following", "found")

    def __init__(
        self, sync: SlidingSync, asked: Asked, conn: Connection, pos: Pos | None, watch: Watch
    ) -> None:
        super().__init__(asked.pos or "", watch)
        self._sync = sync
        self._pos = pos
        self.asked = asked
        self.conn = conn
        self.found: Look | None = None
        self.following = FeedToken(0)

    async def look(self) -> bool:
        # where the client asked again, this answer must not move anything
        return self.over or await self._sync.look(self, self._pos)


def _nothing(asked: Asked) -> bytes:
    """An answer that leaves the client where it is."""
    pos = (asked.pos or "").encode()
    return b'{"pos":"%b","lists":{},"rooms":{},"extensions":{}}' % pos


def _note_calm(conn: Connection, generation: int, asked: Asked, look: Look) -> None:
    conn.calm = (generation, asked.key)
    conn.lists, conn.sizes, conn.shelf = look.lists, look.sizes, look.shelf
