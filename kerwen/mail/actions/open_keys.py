"""Publishes the OpenPGP keys of accounts that wish it, and says who of a message's people does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerwen.accounts.store import accounts
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.store import open_keys as store
from kerwen.storage.database import Database, retrying

_LOOK_MS: Final = 60_000


class OpenKeys:
    """`domain`: without a port."""

    def __init__(self, db: Database, domain: str, clock: Clock) -> None:
        self._db = db
        self._domain = domain
        self._clock = clock
        self._anybody = False
        self._looked_ms = 0

    async def publish(self, account_no: int, data: bytes) -> bytes:
        """Publishes keys instead of those before; what is published of them. `Refused`:
        INVALID_PARAM, with the reason."""
        from kerwen.mail import openpgp

        localpart = await self._localpart(account_no)
        try:
            keys = openpgp.published(data, f"{localpart}@{self._domain}")
        except openpgp.BadKey as error:
            raise Refused(Reason.INVALID_PARAM, f"This cannot be published: {error}") from None

        async def write() -> None:
            async with self._db.write() as tx:
                name = openpgp.wkd_hash(localpart)
                await store.put(tx, account_no, name, keys, self._clock())

        await retrying(write)
        self._anybody = True
        return keys

    async def remove(self, account_no: int) -> None:
        """Publishes nothing any more. Says `NOT_FOUND`."""

        async def write() -> bool:
            async with self._db.write() as tx:
                return await store.drop(tx, account_no)

        if not await retrying(write):
            raise Refused(Reason.NOT_FOUND, "No key is published")

    async def own(self, account_no: int) -> bytes:
        """What an account publishes. Says `NOT_FOUND`."""
        async with self._db.read() as snap:
            found = await store.own(snap, account_no)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "No key is published")
        return found

    async def find(self, name: str) -> bytes:
        """The keys that WKD asks for by a hash. Says `NOT_FOUND`."""
        async with self._db.read() as snap:
            found = await store.by_hash(snap, name)
            account = await accounts.by_no(snap, found[0]) if found is not None else None
        if found is None or account is None or not account.active:
            raise Refused(Reason.NOT_FOUND, "No key is published")
        return found[1]

    async def all_publish(self, sender: int, accepted: Sequence[Accepted]) -> bool:
        """Whether the sender and every recipient are accounts here that publish keys. Costs
        nothing where nobody does."""
        now = self._clock()
        if not self._anybody and now - self._looked_ms < _LOOK_MS:
            return False
        if any(one.found.elsewhere or not one.found.accounts for one in accepted):
            return False
        people = {sender, *(no for one in accepted for no, _ in one.found.accounts)}
        if not self._anybody:
            self._looked_ms = now
            async with self._db.read(single=True) as snap:
                self._anybody = await store.any_at_all(snap)
            if not self._anybody:
                return False
        async with self._db.read(single=True) as snap:
            return await store.count_among(snap, sorted(people)) == len(people)

    async def _localpart(self, account_no: int) -> str:
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
        if account is None:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        return account.localpart
