"""Vaults, their slots and epochs in the database; the open vault in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql
from kerwen.vault.epoch import Epoch, epoch_of, opened_key, sealed_key, unseal_with
from kerwen.vault.seal import Belonging, public_of
from kerwen.vault.slots import KEY_BYTES, NONCE_BYTES, SlotKind, unwrap, wrap

EPOCH_KEYS_MAX: Final = 1_024  # opened epochs that an open vault keeps

Secret = tuple[str, str, bytes]
"""What opens a slot: (kind, ref, the 32-byte slot key)."""

_NEWEST = sql(
    "select generation, public_key from vaults where account_no = :account_no"
    " order by generation desc limit 1"
)
_BY_PUBLIC = sql(
    "select generation from vaults where account_no = :account_no and public_key = :public_key"
)
_ADD = sql(
    "insert into vaults (account_no, generation, public_key, created_ms)"
    " values (:account_no, :generation, :public_key, :created_ms)"
)
_SLOTS = sql(
    "select generation, wrapped from vault_slots"
    " where account_no = :account_no and kind = :kind and ref = :ref order by generation"
)
_SET_SLOT = sql(
    "insert into vault_slots (account_no, kind, ref, generation, wrapped)"
    " values (:account_no, :kind, :ref, :generation, :wrapped)"
    " on conflict (account_no, kind, ref, generation) do update set wrapped = excluded.wrapped"
)
_DROP_SLOT = sql(
    "delete from vault_slots where account_no = :account_no and kind = :kind and ref = :ref"
)
_DROP_KIND = sql("delete from vault_slots where account_no = :account_no and kind = :kind")
_DROP_REFS = sql(
    "delete from vault_slots where account_no = :account_no and kind = :kind"
    " and ref {in_texts:refs}"
)
_LIST = sql(
    "select distinct kind, ref from vault_slots where account_no = :account_no order by kind, ref"
)
_ADD_EPOCH = sql(
    "insert into vault_epochs (account_no, epoch_no, generation, started_ms, sealed_key)"
    " values (:account_no, :epoch_no, :generation, :started_ms, :sealed_key)"
)
_EPOCH = sql(
    "select generation, sealed_key from vault_epochs"
    " where account_no = :account_no and epoch_no = :epoch_no"
)
_DROP_ACCOUNT = tuple(
    sql(f"delete from {table} where account_no = :account_no")
    for table in ("vault_slots", "vault_epochs", "vaults")
)


class OpenVault:
    """An account's private keys in memory. Close it, or use it in a `with` block: the keys are
    overwritten then. After that it says `VAULT_CLOSED`.
    """

    __slots__ = ("_epochs", "_keys", "account_no")

    def __init__(self, account_no: int, keys: dict[int, bytearray]) -> None:
        assert keys
        self.account_no = account_no
        self._keys = keys
        self._epochs: OrderedDict[int, bytearray] = OrderedDict()

    @property
    def private_key(self) -> bytes:
        """The newest private key, for a new slot."""
        return bytes(self._keys[max(self.generations)])

    @property
    def generations(self) -> list[int]:
        """Which of the account's vaults are open, oldest first."""
        if not self._keys:
            raise Refused(Reason.VAULT_CLOSED, "The vault is closed")
        return sorted(self._keys)

    def key_of(self, generation: int) -> bytearray:
        """The private key of one generation; `VAULT_CLOSED` if this secret does not open it."""
        found = self._keys.get(generation)
        if found is None:
            raise Refused(Reason.VAULT_CLOSED, "The vault is closed")
        return found

    def knows(self, epoch_no: int) -> bool:
        """Whether `unseal` can open boxes of an epoch without asking the database."""
        return epoch_no in self._epochs

    def learn(self, epoch_no: int, generation: int, box: bytes) -> None:
        """Opens the sealed key of an epoch and keeps it. Says `BOX_DAMAGED`, `VAULT_CLOSED`."""
        self.take(epoch_no, opened_key(self.key_of(generation), self.account_no, epoch_no, box))

    def take(self, epoch_no: int, key: bytes | bytearray) -> None:
        """Keeps the key of an epoch."""
        self._epochs[epoch_no] = bytearray(key)
        if len(self._epochs) > EPOCH_KEYS_MAX:
            _wipe(self._epochs.popitem(last=False)[1])

    def unseal(self, belonging: Belonging, box: bytes) -> bytes:
        """What is in a box whose epoch it knows. Says `BOX_DAMAGED`, `VAULT_CLOSED`."""
        key = self._epochs.get(epoch_of(box))
        if key is None:
            raise Refused(Reason.VAULT_CLOSED, "The vault is closed")
        return unseal_with(key, belonging, box)

    def close(self) -> None:
        """Overwrites the keys."""
        for key in (*self._keys.values(), *self._epochs.values()):
            _wipe(key)
        self._keys.clear()
        self._epochs.clear()

    def __enter__(self) -> OpenVault:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _wipe(key: bytearray) -> None:
    key[:] = bytes(len(key))


class Vaults:
    """Makes, opens and changes vaults. `draw(n)` gives n random bytes, `clock` milliseconds."""

    __slots__ = ("_clock", "_draw")

    def __init__(self, draw: Callable[[int], bytes], clock: Callable[[], int]) -> None:
        self._draw = draw
        self._clock = clock

    async def create(self, tx: Tx, account_no: int, slots: Iterable[Secret]) -> bytes:
        """A new vault, the newest generation of its account; returns its private key."""
        private_key = self._draw(KEY_BYTES)
        newest = await tx.one(_NEWEST, account_no=account_no)
        generation = newest[0] + 1 if newest else 1
        await tx.run(
            _ADD,
            account_no=account_no,
            generation=generation,
            public_key=public_of(private_key),
            created_ms=self._clock(),
        )
        for kind, ref, key in slots:
            await self._set(tx, account_no, generation, private_key, (kind, ref, key))
        return private_key

    async def add_slot(
        self, tx: Tx, account_no: int, opened: OpenVault | bytes, kind: str, ref: str, key: bytes
    ) -> None:
        """A slot for one more secret: for every generation of an open vault, or for the one
        that a private key belongs to. A slot of the same kind and ref is replaced.
        """
        if isinstance(opened, OpenVault):
            for generation in opened.generations:
                private_key = opened.key_of(generation)
                await self._set(tx, account_no, generation, private_key, (kind, ref, key))
            return
        row = await tx.one(_BY_PUBLIC, account_no=account_no, public_key=public_of(opened))
        if row is None:
            raise Refused(Reason.VAULT_CLOSED, "The vault is closed", why="another vault's key")
        await self._set(tx, account_no, row[0], opened, (kind, ref, key))

    async def copy_slot(self, tx: Tx, account_no: int, old: Secret, new: Secret) -> None:
        """Hands the vault on from one secret to another (a token's refresh); `old` stays.

        An account or a session without a vault has nothing to hand on: nothing happens then.
        """
        if await tx.all(_SLOTS, account_no=account_no, kind=old[0], ref=old[1]):
            with await self.unlock(tx, account_no, *old) as opened:
                await self.add_slot(tx, account_no, opened, *new)

    async def rewrap(self, tx: Tx, account_no: int, old: Secret, new: Secret) -> None:
        """Changes the secret of a slot, as a password change does. Says `VAULT_CLOSED`."""
        with await self.unlock(tx, account_no, *old) as opened:
            if old[:2] != new[:2]:
                await self.drop_slot(tx, account_no, old[0], old[1])
            await self.add_slot(tx, account_no, opened, *new)

    async def drop_slot(self, tx: Tx, account_no: int, kind: str, ref: str) -> None:
        """A secret no longer opens the vault. The private key itself does not change."""
        await tx.run(_DROP_SLOT, account_no=account_no, kind=kind, ref=ref)

    async def drop_slots(
        self, tx: Tx, account_no: int, kind: str, refs: Iterable[str] | None = None
    ) -> None:
        """Drops those slots of a kind, or all of it."""
        if refs is None:
            await tx.run(_DROP_KIND, account_no=account_no, kind=kind)
        else:
            await tx.run(_DROP_REFS, account_no=account_no, kind=kind, refs=list(refs))

    async def drop_account(self, tx: Tx, account_no: int) -> None:
        """All of an account's vaults: what was sealed to them is lost for good."""
        for statement in _DROP_ACCOUNT:
            await tx.run(statement, account_no=account_no)

    async def slots(self, snap: Snap, account_no: int) -> list[tuple[str, str]]:
        """Which secrets open the vault: (kind, ref)."""
        return [(row[0], row[1]) for row in await snap.all(_LIST, account_no=account_no)]

    async def public_key(self, snap: Snap, account_no: int) -> tuple[int, bytes] | None:
        """The newest vault's generation and public key; None: the account has no vault."""
        row = await snap.one(_NEWEST, account_no=account_no)
        return (row[0], bytes(row[1])) if row else None

    async def unlock(
        self, snap: Snap, account_no: int, kind: str, ref: str, key: bytes
    ) -> OpenVault:
        """The open vault. Says `VAULT_CLOSED` where the secret opens none of its generations."""
        rows: list[Row] = await snap.all(_SLOTS, account_no=account_no, kind=kind, ref=ref)
        keys: dict[int, bytearray] = {}
        for generation, wrapped in rows:
            try:
                keys[generation] = unwrap(bytes(wrapped), key, account_no, kind, ref)
            except Refused:
                continue
        if not keys:
            why = "no slot" if not rows else "the slot does not open"
            raise Refused(Reason.VAULT_CLOSED, "The vault cannot be opened", why=why)
        return OpenVault(account_no, keys)

    async def add_recovery(self, tx: Tx, account_no: int, opened: OpenVault, key: bytes) -> None:
        """Makes `key` (the slot key of a recovery key) the one recovery key of the account."""
        await self.drop_slots(tx, account_no, SlotKind.RECOVERY)
        await self.add_slot(tx, account_no, opened, SlotKind.RECOVERY, "", key)

    async def unlock_by_recovery(self, snap: Snap, account_no: int, key: bytes) -> OpenVault:
        """Opens the vault by its recovery key's slot key. Says `VAULT_CLOSED`."""
        return await self.unlock(snap, account_no, SlotKind.RECOVERY, "", key)

    async def add_epoch(self, tx: Tx, epoch: Epoch, generation: int, public_key: bytes) -> None:
        """Keeps an epoch's key, sealed to its account."""
        await tx.run(
            _ADD_EPOCH,
            account_no=epoch.account_no,
            epoch_no=epoch.epoch_no,
            generation=generation,
            started_ms=epoch.started_ms,
            sealed_key=sealed_key(epoch, public_key),
        )

    async def unseal(
        self, snap: Snap, opened: OpenVault, belonging: Belonging, box: bytes
    ) -> bytes:
        """What is in a box. Says `BOX_DAMAGED`, `VAULT_CLOSED`."""
        epoch_no = epoch_of(box)
        if not opened.knows(epoch_no):
            row = await snap.one(_EPOCH, account_no=opened.account_no, epoch_no=epoch_no)
            if row is None:
                raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="no epoch")
            opened.learn(epoch_no, row[0], bytes(row[1]))
        return opened.unseal(belonging, box)

    async def _set(
        self,
        tx: Tx,
        account_no: int,
        generation: int,
        private_key: bytes | bytearray,
        secret: Secret,
    ) -> None:
        kind, ref, key = secret
        await tx.run(
            _SET_SLOT,
            account_no=account_no,
            kind=kind,
            ref=ref,
            generation=generation,
            wrapped=wrap(private_key, key, account_no, kind, ref, self._draw(NONCE_BYTES)),
        )
