"""What accounts ask of the vault: every secret that stands for its owner carries a slot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Snap, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import OpenVault, Secret

PASSWORD_REF = ""
"""An account has one password."""


def password_slot(key: bytes) -> Secret:
    """The slot of the account's password."""
    return (SlotKind.PASSWORD, PASSWORD_REF, key)


class Vaults(Protocol):
    """The part of `kerwen.vault.store.Vaults` that accounts use."""

    async def create(self, tx: Tx, account_no: int, slots: Iterable[Secret]) -> bytes:
        """Makes the vault of a new account, with a slot for each secret."""

    async def public_key(self, snap: Snap, account_no: int) -> tuple[int, bytes] | None:
        """The newest vault's generation and public key; None: the account has no vault."""

    async def unlock(
        self, snap: Snap, account_no: int, kind: str, ref: str, key: bytes
    ) -> OpenVault:
        """The open vault; `Refused(VAULT_CLOSED)` where the secret opens nothing."""

    async def add_slot(
        self, tx: Tx, account_no: int, opened: OpenVault | bytes, kind: str, ref: str, key: bytes
    ) -> None:
        """Lets one more secret open the vault, or replaces it."""

    async def drop_slot(self, tx: Tx, account_no: int, kind: str, ref: str) -> None:
        """A secret no longer opens the vault."""

    async def drop_slots(
        self, tx: Tx, account_no: int, kind: str, refs: Iterable[str] | None = None
    ) -> None:
        """Those secrets, or all of a kind, no longer open the vault."""

    async def drop_account(self, tx: Tx, account_no: int) -> None:
        """All of an account's vaults are gone."""


async def hand_on(
    vaults: Vaults, tx: Tx, account_no: int, old: Secret, new: Iterable[Secret]
) -> None:
    """Whoever holds `old` may open the vault by `new` too.

    A secret that opens nothing has nothing to hand on: the session works, the vault stays shut.
    """
    try:
        opened = await vaults.unlock(tx, account_no, *old)
    except Refused as refusal:
        if refusal.reason is Reason.VAULT_CLOSED:
            return
        raise
    with opened:
        for secret in new:
            await vaults.add_slot(tx, account_no, opened, *secret)


async def drop_tokens(vaults: Vaults, tx: Tx, account_no: int, kind: str, nos: list[int]) -> None:
    """Tokens no longer open the vault."""
    if nos:
        await vaults.drop_slots(tx, account_no, kind, [str(no) for no in nos])


class NoVaults:
    """A house without mail: nothing is sealed, so there is nothing to open."""

    async def create(self, tx: Tx, account_no: int, slots: Iterable[Secret]) -> bytes:
        """Makes none."""
        return b""

    async def public_key(self, snap: Snap, account_no: int) -> tuple[int, bytes] | None:
        """None is missing."""
        return 0, b""

    async def unlock(
        self, snap: Snap, account_no: int, kind: str, ref: str, key: bytes
    ) -> OpenVault:
        """There is none."""
        raise Refused(Reason.VAULT_CLOSED, "The vault is closed")

    async def add_slot(
        self, tx: Tx, account_no: int, opened: OpenVault | bytes, kind: str, ref: str, key: bytes
    ) -> None:
        """Does nothing."""

    async def drop_slot(self, tx: Tx, account_no: int, kind: str, ref: str) -> None:
        """Does nothing."""

    async def drop_slots(
        self, tx: Tx, account_no: int, kind: str, refs: Iterable[str] | None = None
    ) -> None:
        """Does nothing."""

    async def drop_account(self, tx: Tx, account_no: int) -> None:
        """Does nothing."""
