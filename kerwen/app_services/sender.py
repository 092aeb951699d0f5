"""Hands transactions over, one service each: in order, the same bytes until they are taken.

A transaction is written down before it is sent and deleted when the service answered 200, so a
crash at any moment sends it once more under the same id, and the service knows it by that. A
service that does not answer is tried again after longer and longer times; a request with its own
token shows that it is back, and hurries us. Of several workers the one that holds the lease sends.
"""

# AS #pushing-events

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from kerwen.app_services import store
from kerwen.app_services.actions.gather import END, Gather
from kerwen.app_services.client import ServiceClient
from kerwen.app_services.registration import Service
from kerwen.app_services.store import Place, Standing
from kerwen.app_services.transaction import body_of
from kerwen.base.clock import Clock
from kerwen.base.errors import Unavailable
from kerwen.keys.store import delete_to_device
from kerwen.storage.cursors import (
    RENEW_S,
    Lease,
    LeaseLost,
    ensure_cursor,
    release_lease,
    renew_lease,
    save_cursor,
    take_lease,
)
from kerwen.storage.database import Change, Database, Kind, Retry, Tx
from kerwen.storage.feed import Feed

_log = logging.getLogger(__name__)

RETRY_MS: Final = 1_000
RETRY_MAX_MS: Final = 300_000
HURRY_MS: Final = 1_000  # a sign of life does not make us try more often than this
_LOOK_S: Final = 1.0
_IDLE_S: Final = 60.0  # where nobody else works on the database, the feed tells all
_GATHER_S: Final = 0.01  # what comes together goes together
_LAZY: Final = 1_000  # positions without anything for the service, after which that is saved
_SOFT_MAX: Final = 1_000
_KINDS: Final = frozenset(
    {Kind.EVENT, Kind.RECEIPT, Kind.TO_DEVICE, Kind.KEY_COUNT, Kind.DEVICE_LIST, Kind.JUMP}
)


def wait_ms(failures: int) -> int:
    """How long to wait after so many failures in a row."""
    return min(RETRY_MS << min(failures - 1, 20), RETRY_MAX_MS)


class ServiceSender:
    """The worker of one service. `follow` must be told by the feed."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        service: Service,
        gather: Gather,
        client: ServiceClient,
        owner: str,
        clock: Clock,
    ) -> None:
        self._db = db
        self._feed = feed
        self._service = service
        self._gather = gather
        self._client = client
        self._owner = owner
        self._clock = clock
        self._name = "as:" + service.id
        self._lease: Lease | None = None
        self._renewed_at = float("-inf")
        self._seen: Place | None = None  # nothing for the service up to here; not saved yet
        self._soft: set[int] = set()
        self._tried_ms = 0
        self._hurry = False
        self._news = asyncio.Event()
        self.taken = 0

    # --- what wakes it ----------------------------------------------------------------------

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed."""
        if any(change[0] in _KINDS for change in changes):
            self._news.set()

    def soft(self, room_no: int) -> None:
        """Somebody began or ceased to type."""
        if self._service.ephemeral and len(self._soft) < _SOFT_MAX:
            self._soft.add(room_no)
            self._news.set()

    def alive(self) -> None:
        """The service spoke to us."""
        if not self._hurry and self._clock() - self._tried_ms >= HURRY_MS:
            self._hurry = True
            self._news.set()

    # --- the work ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until cancelled."""
        if self._service.url is None:
            return  # AS #registration: null, if no traffic is required
        try:
            while True:
                self._news.clear()
                try:
                    wait_s = await self.step()
                except LeaseLost:
                    self._lease, wait_s = None, _LOOK_S
                except (Unavailable, Retry) as error:
                    _log.warning("application service %s waits: %r", self._service.id, error)
                    wait_s = _LOOK_S
                if wait_s:
                    await self._wait(wait_s)
        finally:
            await asyncio.shield(self._release())

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s if self._db.alone else min(wait_s, RENEW_S)):
                await self._news.wait()
                await asyncio.sleep(_GATHER_S)
        except TimeoutError:
            pass

    async def step(self) -> float:
        """One transaction, at most; how long nothing is to be done, in seconds."""
        if not await self._own():
            return _LOOK_S
        async with self._db.read(single=True) as snap:
            standing = await store.standing(snap, self._service.id)
        assert standing is not None, "it was made with the lease"
        if standing.txn_id is None:
            standing = await self._begin(standing)
            if standing is None or standing.txn_id is None:
                return _IDLE_S if self._db.alone else _LOOK_S
        return await self._send(standing, standing.txn_id)

    async def _own(self) -> bool:
        """Whether the lease is ours; takes it if it is free, renews it in time."""
        now = asyncio.get_running_loop().time()
        if self._lease is not None and (self._db.alone or now - self._renewed_at < RENEW_S):
            return True
        async with self._db.write() as tx:
            if self._lease is not None:
                await renew_lease(tx, self._lease)
            else:
                self._lease = await self._take(tx)
        self._renewed_at = now
        return self._lease is not None

    async def _take(self, tx: Tx) -> Lease | None:
        known = await store.standing(tx, self._service.id)
        start = known.done[0] if known is not None else self._feed.settled
        if await ensure_cursor(tx, self._name, start) and known is not None:
            _log.error(
                "application service %s was away for too long: it is told of what comes",
                self._service.id,
            )
            await store.skip_to(tx, self._service.id, (self._feed.settled, END))
        await store.add(tx, self._service.id, start)
        self._seen = None
        return await take_lease(tx, self._name, 0, self._owner, alone=self._db.alone)

    async def _begin(self, standing: Standing) -> Standing | None:
        """Makes the next transaction and writes it down; None where there is nothing to tell."""
        settled = self._feed.settled
        start = max(standing.done, self._seen or (0, 0))
        rooms, self._soft = self._soft, set()
        if start >= (settled, END) and not rooms:
            return None
        found = await self._gather(self._service, start, settled, rooms)
        if found.contents.empty:
            self._seen = found.upto
            if found.upto[0] - standing.done[0] >= _LAZY:
                await self._skip(found.upto)
            if found.upto < (settled, END):
                self._news.set()  # there is more to look at
            return None
        now = self._clock()
        txn_id = f"{now:x}.{standing.txns + 1}"
        body = body_of(
            found.contents,
            ephemeral=self._service.ephemeral,
            encryption=self._service.encryption,
        )
        async with self._db.write() as tx:
            await store.begin(tx, self._service.id, txn_id, found.upto, body, found.fetched)
        async with self._db.read(single=True) as snap:
            return await store.standing(snap, self._service.id)

    async def _skip(self, upto: Place) -> None:
        async with self._db.write() as tx:
            await store.skip_to(tx, self._service.id, upto)
            if self._lease is not None:
                await save_cursor(tx, self._lease, upto[0])

    async def _send(self, standing: Standing, txn_id: str) -> float:
        now = self._clock()
        if now < standing.retry_ms and not self._hurry:
            return (standing.retry_ms - now) / 1000
        self._hurry, self._tried_ms = False, now
        why = await self._client.transaction(self._service, txn_id, standing.body)
        if not why:
            await self._taken(standing, txn_id)
            return 0
        failures = standing.failures + 1
        waits = wait_ms(failures)
        _log.log(
            logging.WARNING if failures == 1 else logging.DEBUG,
            "application service %s did not take a transaction (%s); again in %d s",
            self._service.id,
            why,
            waits // 1000,
        )
        async with self._db.write() as tx:
            await store.fail(tx, self._service.id, txn_id, failures, self._clock() + waits)
        return waits / 1000

    async def _taken(self, standing: Standing, txn_id: str) -> None:
        async with self._db.write() as tx:
            if not await store.done(tx, self._service.id, txn_id, standing.upto):
                raise LeaseLost(self._name, 0)
            for device_no, pos in standing.fetched:
                await delete_to_device(tx, device_no, pos)
            if self._lease is not None:
                await save_cursor(tx, self._lease, standing.upto[0])
        self.taken += 1

    async def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            async with self._db.write() as tx:
                await release_lease(tx, lease)
        except (Unavailable, Retry) as error:
            _log.warning("the lease of %s could not be given back: %r", self._name, error)
