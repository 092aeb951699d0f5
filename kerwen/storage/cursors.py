"""Followers of the feed that outlive a worker: push, federation, search, application services.

Each is cut into parts by a hash of the subject; a part is leased to one worker at a time, by the
database's clock. The deed comes first, then the cursor is saved: at least once, so deeds are
idempotent (key: position and index). A save by an old owner changes no row, and it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import orjson

from kerwen.base.errors import Unavailable
from kerwen.storage.database import Change, Database, Kind, Retry, Tx
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

_log = logging.getLogger(__name__)

PARTS = 16
LEASE_MS = 10_000
RENEW_S = 3.0
_LOOK_S = 1.0
_REST_S = 60.0  # the same for one that is alone: the feed tells it all that it looks for
_GATHER_S = 0.05  # what comes together is looked at together
_BATCH = 500
_LAZY = 1_000  # positions without a deed, after which a cursor is saved all the same
_MIX = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1

_ENSURE = sql(
    "insert into feed_cursor (name, part, pos, epoch) values (:name, :part, :start, 0)"
    " on conflict (name, part) do nothing"
)
_TAKE = sql(
    "update feed_cursor set owner = :owner, lease_until = {now_ms} + :lease_ms,"
    " epoch = epoch + 1 where name = :name and part = :part"
    " and (lease_until is null or lease_until < {now_ms}) returning pos, epoch"
)
_SEIZE = sql(
    "update feed_cursor set owner = :owner, lease_until = {now_ms} + :lease_ms,"
    " epoch = epoch + 1 where name = :name and part = :part returning pos, epoch"
)
_RENEW = sql(
    "update feed_cursor set lease_until = {now_ms} + :lease_ms"
    " where name = :name and part = :part and epoch = :epoch"
)
_SAVE = sql(
    "update feed_cursor set pos = :at where name = :name and part = :part and epoch = :epoch"
)
_RELEASE = sql(
    "update feed_cursor set owner = null, lease_until = null"
    " where name = :name and part = :part and epoch = :epoch"
)
_KNOWN = sql("select count(*) from feed_cursor where name = :name")
_ROWS = sql(
    "select pos, items from feed where pos > :since and pos <= :upto order by pos limit :top"
)

Item = tuple[int, int, Change]
"""(position, index within it, change)."""


class LeaseLost(Exception):
    """Another worker has the part now: stop at once."""


def part_of(subject: int, parts: int = PARTS) -> int:
    """The part that a subject belongs to."""
    return ((subject * _MIX & _MASK) >> 32) % parts


@dataclass(slots=True)
class Lease:
    """A part that is ours until the lease ends."""

    name: str
    part: int
    pos: int
    epoch: int
    saved: int


async def take_lease(
    tx: Tx, name: str, part: int, owner: str, *, alone: bool = False
) -> Lease | None:
    """Takes a part whose lease has ended or was given back; `alone`: whosever it was."""
    statement = _SEIZE if alone else _TAKE
    row = await tx.one(statement, name=name, part=part, owner=owner, lease_ms=LEASE_MS)
    return Lease(name, part, row[0], row[1], row[0]) if row else None


async def ensure_cursor(tx: Tx, name: str, start: int) -> bool:
    """A follower of one part, from `start` on; false if it is known already."""
    return await tx.run(_ENSURE, name=name, part=0, start=start) > 0


async def release_lease(tx: Tx, lease: Lease) -> None:
    """Gives a part back, so that another worker need not wait."""
    await tx.run(_RELEASE, name=lease.name, part=lease.part, epoch=lease.epoch)


async def renew_lease(tx: Tx, lease: Lease) -> None:
    """Keeps a part; `LeaseLost` if it is another's."""
    if not await tx.run(
        _RENEW, name=lease.name, part=lease.part, epoch=lease.epoch, lease_ms=LEASE_MS
    ):
        raise LeaseLost(lease.name, lease.part)


async def save_cursor(tx: Tx, lease: Lease, pos: int) -> None:
    """Says that everything of the part up to `pos` is done; `LeaseLost` if it is another's."""
    if not await tx.run(_SAVE, name=lease.name, part=lease.part, epoch=lease.epoch, at=pos):
        raise LeaseLost(lease.name, lease.part)


@dataclass(slots=True)
class Batch:
    """What a part has to do. A deed with rows of its own saves the cursor in their transaction."""

    lease: Lease
    upto: int
    items: list[Item] = field(default_factory=list)
    saved: bool = False
    idle: bool = False  # nothing was done that must not be done again: the cursor may be saved late

    async def save(self, tx: Tx) -> None:
        """Saves the cursor within the deed's own transaction."""
        await save_cursor(tx, self.lease, self.upto)
        self.saved = True


Deed = Callable[[Batch], Awaitable[None]]


class CursorFollower:
    """One worker's share of a follower: takes parts, does deeds, saves cursors. With `kinds` only
    those wake it; what else is in the feed it passes over when it looks next.

    `alone`: there is no other worker on this database, so what was held belonged to one that is
    dead: all parts are taken at once, leases are not renewed, and while nothing happens it rests.
    """

    def __init__(
        self,
        db: Database,
        feed: Feed,
        name: str,
        owner: str,
        deed: Deed,
        parts: int = PARTS,
        kinds: Sequence[Kind] = (),
        *,
        alone: bool = False,
    ) -> None:
        self.name = name
        self._db = db
        self._feed = feed
        self._owner = owner
        self._deed = deed
        self._parts = parts
        self._alone = alone
        self._held: dict[int, Lease] = {}
        self._renewed_at = float("-inf")
        self._news = asyncio.Event()
        feed.follow(lambda _pos, _changes: self._news.set(), *kinds)

    async def run(self, start: Callable[[], Awaitable[int]]) -> None:
        """Works until cancelled. `start` rebuilds a follower that has no cursors (new, or too
        long away) and says from which position it then follows."""
        try:
            await self._ensure(start)
            while True:
                self._news.clear()
                try:
                    while await self.step():
                        pass
                except (Unavailable, Retry) as error:
                    _log.warning("follower %s waits: %r", self.name, error)
                    await asyncio.sleep(_LOOK_S)
                    self._news.set()  # what it could not do is done again
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REST_S if self._alone else _LOOK_S):
                        await self._news.wait()
                        await asyncio.sleep(_GATHER_S)
        finally:
            await asyncio.shield(self.release())

    async def _ensure(self, start: Callable[[], Awaitable[int]]) -> None:
        async with self._db.read() as snap:
            row = await snap.one(_KNOWN, name=self.name)
        if row is not None and row[0] >= self._parts:
            return
        begin = await start()
        async with self._db.write() as tx:
            for part in range(self._parts):
                await tx.run(_ENSURE, name=self.name, part=part, start=begin)

    async def step(self) -> bool:
        """Takes and renews leases, then does what is settled and not done; whether more is left
        (a step does a bounded number of positions)."""
        if self._alone:
            if len(self._held) < self._parts:
                await self._take_and_renew()
        elif (now := asyncio.get_running_loop().time()) - self._renewed_at >= RENEW_S:
            await self._take_and_renew()
            self._renewed_at = now
        upto = self._feed.settled
        behind = {lease.pos for lease in self._held.values() if lease.pos < upto}
        for since in sorted(behind):  # most often all parts stand at one position
            await self._work_from(since, upto)
        return any(lease.pos < upto for lease in self._held.values())

    async def _take_and_renew(self) -> None:
        async with self._db.write() as tx:
            for part in range(self._parts):
                held = self._held.get(part)
                try:
                    if held is not None:
                        await renew_lease(tx, held)
                        continue
                except LeaseLost:
                    del self._held[part]
                lease = await take_lease(tx, self.name, part, self._owner, alone=self._alone)
                if lease is not None:
                    self._held[part] = lease

    async def _work_from(self, since: int, upto: int) -> None:
        async with self._db.read() as snap:
            rows = await snap.all(_ROWS, since=since, upto=upto, top=_BATCH)
        end = rows[-1][0] if len(rows) == _BATCH else upto
        leases = [lease for lease in self._held.values() if lease.pos == since]
        batches = {lease.part: Batch(lease, end) for lease in leases}
        for pos, items in rows:
            for index, (kind, subject, ref) in enumerate(orjson.loads(items)):
                batch = batches.get(part_of(subject, self._parts))
                if batch is not None:
                    batch.items.append((pos, index, (kind, subject, ref)))
        for batch in batches.values():
            await self._do(batch)

    async def _do(self, batch: Batch) -> None:
        lease = batch.lease
        try:
            if batch.items:
                await self._deed(batch)
            done = batch.items and not batch.idle
            if not batch.saved and (done or batch.upto - lease.saved >= _LAZY):
                async with self._db.write() as tx:
                    await batch.save(tx)
        except LeaseLost:
            self._held.pop(lease.part, None)
            return
        lease.pos = batch.upto
        if batch.saved:
            lease.saved = batch.upto

    async def release(self) -> None:
        """Saves and gives back all parts, so that another worker need not wait."""
        held, self._held = list(self._held.values()), {}
        if not held:
            return
        try:
            async with self._db.write() as tx:
                for lease in held:
                    await tx.run(
                        _SAVE, name=lease.name, part=lease.part, epoch=lease.epoch, at=lease.pos
                    )
                    await tx.run(_RELEASE, name=lease.name, part=lease.part, epoch=lease.epoch)
        except (Unavailable, Retry) as error:
            _log.warning("follower %s could not give back its parts: %r", self.name, error)
