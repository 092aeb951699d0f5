"""The connections of sliding sync: the states that they name, in memory and in the database.

A connection is one `conn_id` of one device. Its client names the state it knows by generation;
that one and the newest are kept, so that a lost answer can be given again. A state is in the
database before the client learns of it, so that any worker, and the next start, finds it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import (
    SLIDING_CONNECTIONS_MAX,
    SLIDING_KEPT,
    SLIDING_KEPT_BYTES,
    SLIDING_LIFE_MS,
    SLIDING_STATE_BYTES,
)
from kerwen.rooms.sliding_state import SentMembers, State, decode_state, encode_state
from kerwen.rooms.store import sliding
from kerwen.storage.database import Database

_DAY_MS = 24 * 3_600_000
_CONNECTION_BYTES = 1_000
_SWEEP_MS = 3_600_000


class Turn:
    """A request that is being answered. `over`: the client asked the same again meanwhile."""

    __slots__ = ("over", "waiter")

    def __init__(self) -> None:
        self.over = False
        self.waiter: asyncio.Future[None] | None = None

    def end(self) -> None:
        """Its answer is nobody's any more."""
        self.over = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Connection:
    """One connection.

    `calm`: the generation and the request (by hash) with which nothing was left to tell but
    news; `lists`, `sizes`: that answer's section, and the sizes in it; `shelf`: the number of
    the shelf it was made of.
    `more`: to-device messages remained.
    """

    __slots__ = (
        "calm",
        "conn_id",
        "device_no",
        "lists",
        "more",
        "seen_ms",
        "sent",
        "shelf",
        "size",
        "sizes",
        "states",
        "turns",
    )

    def __init__(self, device_no: int, conn_id: str) -> None:
        self.device_no = device_no
        self.conn_id = conn_id
        self.sent = SentMembers()
        self.states: dict[int, State] = {}
        self.size = _CONNECTION_BYTES
        self.seen_ms = 0
        self.calm: tuple[int, int] | None = None
        self.lists = b""
        self.sizes: tuple[int, ...] = ()
        self.shelf = 0
        self.more = False
        self.turns: dict[str, Turn] = {}


class Connections:
    """Finds and keeps connections."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._kept: OrderedDict[tuple[int, str], Connection] = OrderedDict()
        self._bytes = 0
        self._swept_ms = 0

    def __len__(self) -> int:
        return len(self._kept)

    def open(self, device_no: int, conn_id: str) -> Connection:
        """A connection, whether there was one or not."""
        key = (device_no, conn_id)
        conn = self._kept.get(key)
        if conn is not None:
            self._kept.move_to_end(key)
            return conn
        conn = self._kept[key] = Connection(device_no, conn_id)
        self._bytes += conn.size
        self._trim(conn)
        return conn

    def _trim(self, used: Connection) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > SLIDING_KEPT or self._bytes > SLIDING_KEPT_BYTES
        ):
            key, conn = next(iter(self._kept.items()))
            if conn is used:
                self._kept.move_to_end(key)
                continue
            del self._kept[key]
            self._bytes -= conn.size

    async def state(self, conn: Connection, generation: int) -> State:
        """A state that was given to this connection; `Refused(UNKNOWN_POSITION)` for others."""
        found = conn.states.get(generation)
        if found is None:
            async with self._db.read() as snap:
                kept = await sliding.state_body(snap, generation, conn.device_no, conn.conn_id)
            if kept is None:
                raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
            body, conn.seen_ms = kept
            found = decode_state(body)
            self._hold(conn, {generation: found}, len(body))
        now_ms = self._clock()
        if now_ms - conn.seen_ms > _DAY_MS:
            conn.seen_ms = now_ms
            async with self._db.write() as tx:
                await sliding.seen(tx, generation, now_ms)
        return found

    async def keep(
        self, conn: Connection, base: int, old: State, new: State, turn: Turn
    ) -> int | None:
        """Keeps a new state that came of `old` (`base` 0: of nothing); its generation.

        None if the turn is over: then nothing is kept.
        """
        body = encode_state(new)
        if len(body) > SLIDING_STATE_BYTES:
            raise Refused(Reason.TOO_LARGE, "The connection holds too much; begin a new one")
        generation = await self._db.take_id("sliding_state")
        if turn.over:
            return None
        conn.seen_ms = self._clock()
        async with self._db.write() as tx:
            await sliding.add_state(
                tx,
                generation,
                conn.device_no,
                conn.conn_id,
                base,
                body,
                conn.seen_ms,
                SLIDING_CONNECTIONS_MAX,
            )
        states = {base: old, generation: new} if base else {generation: new}
        self._hold(conn, states, len(body) * len(states))
        return generation

    def _hold(self, conn: Connection, states: dict[int, State], size: int) -> None:
        conn.states = states
        if self._kept.get((conn.device_no, conn.conn_id)) is conn:
            self._bytes -= conn.size
            # as objects they take more than as bytes
            conn.size = _CONNECTION_BYTES + size * 8 + len(conn.sent) * 8
            self._bytes += conn.size
            self._trim(conn)

    async def sweep(self) -> None:
        """Once an hour: drops connections that nobody used for long."""
        now_ms = self._clock()
        if now_ms - self._swept_ms < _SWEEP_MS:
            return
        self._swept_ms = now_ms
        async with self._db.write() as tx:
            await sliding.sweep(tx, now_ms - SLIDING_LIFE_MS)
