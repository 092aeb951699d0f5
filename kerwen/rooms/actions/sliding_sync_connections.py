"""The connections of sliding sync: the states that they name, in memory and in the database.

A connection is one `conn_id` of one device. Its client names the state it knows by generation;
that one and the newest are kept, so that a lost answer can be given again. Where there are several
workers, a state is in the database before the client learns of it, so that any of them finds it. A
process that is alone writes it behind the answer: who waits for news need not wait for the disk.
What a crash loses of it makes the client begin anew (M_UNKNOWN_POS), which costs it one answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import NamedTuple

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable
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
from kerwen.storage.wake import Watch

log = logging.getLogger("kerwen.rooms")

_BEHIND_MAX = 1_000  # states that wait to be written; more, and an answer waits for the disk
_DAY_MS = 24 * 3_600_000
_CONNECTION_BYTES = 1_000
_SWEEP_MS = 3_600_000


class Turn:
    """A request that is being answered. `over`: the client asked the same again meanwhile."""

    __slots__ = ("name", "over", "watch")

    def __init__(self, name: str, watch: Watch) -> None:
        self.name = name  # the position that the client named
        self.over = False
        self.watch = watch

    def end(self) -> None:
        """Its answer is nobody's any more."""
        self.over = True
        self.watch.wake()


class Connection:
    """One connection.

    `calm`: the generation and the request (by hash) with which nothing was left to tell but
    news; `lists`, `sizes`: that answer's section, and the sizes in it; `shelf`: the number of
    the shelf it was made of.
    `more`: to-device messages remained; `states`: those of it that are kept, by generation, as
    bytes: a client that waits needs none.
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
        self.states: tuple[tuple[int, bytes], ...] = ()
        self.size = _CONNECTION_BYTES
        self.seen_ms = 0
        self.calm: tuple[int, int] | None = None
        self.lists = b""
        self.sizes: tuple[int, ...] = ()
        self.shelf = 0
        self.more = False
        self.turns: tuple[Turn, ...] = ()

    def begin(self, turn: Turn) -> None:
        """A request comes; another one with its position is over."""
        for other in self.turns:
            if other.name == turn.name:
                other.end()
        self.turns = (*(other for other in self.turns if not other.over), turn)

    def end(self, turn: Turn) -> None:
        """A request is answered, or its client gone."""
        self.turns = tuple(other for other in self.turns if other is not turn)


class _Behind(NamedTuple):
    """A state that is to be written."""

    generation: int
    device_no: int
    conn_id: str
    base: int
    body: bytes
    seen_ms: int


class Connections:
    """Finds and keeps connections."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._kept: OrderedDict[tuple[int, str], Connection] = OrderedDict()
        self._bytes = 0
        self._swept_ms = 0
        self._behind: list[_Behind] = []
        self._writer: asyncio.Task[None] | None = None

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

    async def check(self, conn: Connection, generation: int) -> None:
        """`Refused(UNKNOWN_POSITION)` unless a state was given to this very connection."""
        await self._body(conn, generation)
        now_ms = self._clock()
        if now_ms - conn.seen_ms > _DAY_MS:
            conn.seen_ms = now_ms
            async with self._db.write() as tx:
                await sliding.seen(tx, generation, now_ms)

    async def state(self, conn: Connection, generation: int) -> State:
        """A state that was given to this connection; refuses as `check` does."""
        return decode_state(await self._body(conn, generation))

    async def _body(self, conn: Connection, generation: int) -> bytes:
        for number, body in conn.states:
            if number == generation:
                return body
        async with self._db.read() as snap:
            kept = await sliding.state_body(snap, generation, conn.device_no, conn.conn_id)
        if kept is None:
            raise Refused(Reason.UNKNOWN_POSITION, "Unknown position")
        body, conn.seen_ms = kept
        self._hold(conn, ((generation, body),))
        return body

    async def keep(self, conn: Connection, base: int, new: State, turn: Turn) -> int | None:
        """Keeps a new state that came of `base` (0: of nothing); its generation.

        None if the turn is over: then nothing is kept.
        """
        body = encode_state(new)
        if len(body) > SLIDING_STATE_BYTES:
            raise Refused(Reason.TOO_LARGE, "The connection holds too much; begin a new one")
        generation = await self._db.take_id("sliding_state")
        if turn.over:
            return None
        conn.seen_ms = self._clock()
        fresh = _Behind(generation, conn.device_no, conn.conn_id, base, body, conn.seen_ms)
        if self._db.alone and len(self._behind) < _BEHIND_MAX:
            self._behind.append(fresh)
            if self._writer is None:
                self._writer = asyncio.get_running_loop().create_task(self._write_behind())
        else:
            await self._write([fresh])
        before = [state for state in conn.states if state[0] == base]
        self._hold(conn, (*before, (generation, body)))
        return generation

    async def _write(self, states: list[_Behind]) -> None:
        async with self._db.write() as tx:
            for state in states:
                await sliding.add_state(tx, *state, SLIDING_CONNECTIONS_MAX)

    async def _write_behind(self) -> None:
        """Writes what waits, in its order; one transaction for all that came meanwhile."""
        try:
            while self._behind:
                states, self._behind = self._behind, []
                await self._write(states)
        except Unavailable as error:
            log.warning("states of connections not kept", extra={"why": str(error)})
        finally:
            self._writer = None

    async def finish(self) -> None:
        """Waits until all that was to be written is."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def _hold(self, conn: Connection, states: tuple[tuple[int, bytes], ...]) -> None:
        conn.states = states
        if self._kept.get((conn.device_no, conn.conn_id)) is conn:
            self._bytes -= conn.size
            size = sum(len(body) for _, body in states)
            conn.size = _CONNECTION_BYTES + size + len(conn.sent) * 8
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
