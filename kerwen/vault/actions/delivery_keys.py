"""The delivery keys in use: one an account and epoch, kept in memory only."""

# design.md §5

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Change, Database, Kind, Snap
from kerwen.vault.epoch import Epoch
from kerwen.vault.slots import KEY_BYTES
from kerwen.vault.store import OpenVault, Vaults

ACCOUNTS_MAX: Final = 20_000  # whose delivery keys stay in memory


class DeliveryKeys:
    """Gives each message its account's delivery key. The key's row is on disk before it is used,
    so what was sealed with it can always be opened.
    """

    __slots__ = (
        "_clock", "_db", "_doubted", "_draw", "_epochs", "_generations", "_making", "_vaults",
    )  # fmt: skip

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
        self._generations: dict[int, int] = {}  # of the vault that an epoch's key is sealed to
        self._doubted: set[int] = set()  # accounts in which something changed
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
                    await self._look_again(account_no)
                    found = self._current(account_no) or await self._begin(account_no)
            finally:
                if not lock.locked():
                    self._making.pop(account_no, None)
        found.messages += 1
        return found

    async def can_seal(self, snap: Snap, account_no: int) -> bool:
        """Whether something can be sealed for an account: it has a vault."""
        if account_no in self._epochs:
            return True
        return await self._vaults.public_key(snap, account_no) is not None

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Hears from the feed of accounts that changed: one may have a new vault, or be gone."""
        for kind, account_no, _ in changes:
            if kind == Kind.ACCOUNT and account_no in self._epochs:
                self._doubted.add(account_no)
            elif kind == Kind.JUMP:
                self._doubted.update(self._epochs)

    def teach(self, opened: OpenVault, epoch_no: int) -> bool:
        """Gives an open vault the key of an epoch that is in use, which it could open itself but
        dearly; false if this is none, or of a generation that is shut."""
        found = self._epochs.get(opened.account_no)
        if found is None or found.epoch_no != epoch_no:
            return False
        if self._generations.get(opened.account_no) not in opened.generations:
            return False
        opened.take(epoch_no, found.key)
        return True

    def forget(self, account_no: int) -> None:
        """Ends an account's epoch: it has a new vault, or is gone."""
        self._doubted.discard(account_no)
        self._generations.pop(account_no, None)
        old = self._epochs.pop(account_no, None)
        if old is not None:
            old.wipe()

    def close(self) -> None:
        """Ends all epochs."""
        for account_no in list(self._epochs):
            self.forget(account_no)

    def _current(self, account_no: int) -> Epoch | None:
        found = self._epochs.get(account_no)
        if found is None or found.over(self._clock()) or account_no in self._doubted:
            return None
        self._epochs.move_to_end(account_no)
        return found

    async def _look_again(self, account_no: int) -> None:
        """Whether an epoch's vault is still the newest one."""
        if account_no not in self._doubted:
            return
        self._doubted.discard(account_no)
        async with self._db.read(single=True) as snap:
            newest = await self._vaults.public_key(snap, account_no)
        if newest is None or newest[0] != self._generations.get(account_no):
            self.forget(account_no)

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
        self._generations[account_no] = newest[0]
        while len(self._epochs) > ACCOUNTS_MAX:
            gone, _ = self._epochs.popitem(last=False)
            self._generations.pop(gone, None)
            self._doubted.discard(gone)
        return epoch
