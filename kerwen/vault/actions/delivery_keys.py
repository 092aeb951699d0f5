"""The delivery keys in use: one an account and epoch, kept in memory only."""

# design.md §5

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database
from kerwen.vault.epoch import Epoch
from kerwen.vault.slots import KEY_BYTES
from kerwen.vault.store import Vaults

ACCOUNTS_MAX: Final = 20_000  # whose delivery keys stay in memory


class DeliveryKeys:
    """Gives each message its account's delivery key. The key's row is on disk before it is used,
    so what was sealed with it can always be opened.
    """

    __slots__ = ("_clock", "_db", "_draw", "_epochs", "_making", "_vaults")

    def __init__(
        self,
        db: Database,
        vaults: Vaults,
        draw: Callable[[int], bytes],
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._vaults = vaults
        self._draw = draw
        self._clock = clock
        self._epochs: OrderedDict[int, Epoch] = OrderedDict()
        self._making: dict[int, asyncio.Lock] = {}

    async def of(self, account_no: int) -> Epoch:
        """The epoch to seal one message in; ask again for the next message.

        Says `VAULT_CLOSED` if the account has no vault. Never inside a `write` block.
        """
        found = self._current(account_no)
        if found is None:
            lock = self._making.setdefault(account_no, asyncio.Lock())
            try:
                async with lock:
                    found = self._current(account_no) or await self._begin(account_no)
            finally:
                if not lock.locked():
                    self._making.pop(account_no, None)
        found.messages += 1
        return found

    def forget(self, account_no: int) -> None:
        """Ends an account's epoch: it has a new vault, or is gone."""
        old = self._epochs.pop(account_no, None)
        if old is not None:
            old.wipe()

    def close(self) -> None:
        """Ends all epochs."""
        for account_no in list(self._epochs):
            self.forget(account_no)

    def _current(self, account_no: int) -> Epoch | None:
        found = self._epochs.get(account_no)
        if found is None or found.over(self._clock()):
            return None
        self._epochs.move_to_end(account_no)
        return found

    async def _begin(self, account_no: int) -> Epoch:
        epoch_no = await self._db.take_id("vault_epoch")
        epoch = Epoch(epoch_no, account_no, self._clock(), bytearray(self._draw(KEY_BYTES)))
        async with self._db.write() as tx:
            newest = await self._vaults.public_key(tx, account_no)
            if newest is None:
                raise Refused(Reason.VAULT_CLOSED, "The account has no vault")
            await self._vaults.add_epoch(tx, epoch, *newest)
        # an older epoch may still seal a message elsewhere: it is dropped, not wiped
        self._epochs[account_no] = epoch
        while len(self._epochs) > ACCOUNTS_MAX:
            self._epochs.popitem(last=False)
        return epoch
