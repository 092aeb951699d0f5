"""App passwords: one for each program that cannot log in otherwise, shown once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from kerwen.accounts.actions.vaults import Vaults, hand_on, password_slot
from kerwen.accounts.store import accounts, tokens
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.store.tokens import AppPassword
from kerwen.accounts.tokens import (
    SECRET_BYTES,
    app_password_text,
    app_password_typed,
    slot_key,
    token_hash,
)
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

NAME_MAX = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """Who logs in with an app password, and what opens the vault."""

    account: Account
    secret: Secret


class AppPasswords:
    """Makes, lists, checks and ends app passwords."""

    def __init__(self, db: Database, vaults: Vaults, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self._clock = clock

    async def make(self, account_no: int, name: str, password_key: bytes) -> tuple[int, str]:
        """Number and text of a new one. `password_key` is the slot half of the password."""
        name = "".join(c for c in name if c.isprintable()).strip()
        if not 1 <= len(name) <= NAME_MAX:
            raise Refused(Reason.INVALID_PARAM, f"A name of 1 to {NAME_MAX} characters")
        text = app_password_text(secrets.token_bytes(SECRET_BYTES))
        app_no = await self._db.take_id("app_password")
        async with self._db.write() as tx:
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.NOT_FOUND, "There is no such account")
            if len(await tokens.app_passwords(tx, account_no)) >= limits.APP_PASSWORDS_MAX:
                raise Refused(
                    Reason.FORBIDDEN,
                    f"An account may have {limits.APP_PASSWORDS_MAX} app passwords",
                )
            await tokens.add_app_password(
                tx, app_no, token_hash(text), account_no, name, self._clock()
            )
            new: Secret = (SlotKind.APP_PASSWORD, str(app_no), slot_key(text))
            await hand_on(self._vaults, tx, account_no, password_slot(password_key), [new])
            tx.change(Kind.ACCOUNT, account_no)
        return app_no, text

    async def list(self, account_no: int) -> list[AppPassword]:
        """All of an account's."""
        async with self._db.read() as snap:
            return await tokens.app_passwords(snap, account_no)

    async def end(self, account_no: int, app_no: int) -> None:
        """`Refused(NOT_FOUND)` where the account has none of this number."""
        async with self._db.write() as tx:
            if not await tokens.drop_app_password(tx, account_no, app_no):
                raise Refused(Reason.NOT_FOUND, "There is no such app password")
            await self._vaults.drop_slot(tx, account_no, SlotKind.APP_PASSWORD, str(app_no))
            tx.change(Kind.ACCOUNT, account_no)

    async def check(self, localpart: str, password: str) -> Entry | None:
        """Who logs in (mail's doors); None where this is no app password of theirs."""
        typed = app_password_typed(password)
        if typed is None:
            return None
        async with self._db.read() as snap:
            found = await tokens.app_password(snap, token_hash(typed))
            account = await accounts.by_no(snap, found[1]) if found else None
        if found is None or account is None or account.localpart != localpart:
            return None
        if not account.active:
            return None
        return Entry(account, (SlotKind.APP_PASSWORD, str(found[0]), slot_key(typed)))
