"""Enrols, lists and removes second factors. Callers have proved that the owner asks.

An enrolment waits in memory until the new factor has proved itself once: a secret that no app
took in locks nobody out.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kerwen.accounts import passkey, recovery_codes, totp
from kerwen.accounts.actions.check_factor import belonging, fresh_challenge
from kerwen.accounts.actions.vaults import Vaults, password_slot
from kerwen.accounts.passkey import Party
from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.second_factor import FactorKind
from kerwen.accounts.store import accounts, factors
from kerwen.accounts.store.factors import Factor
from kerwen.base import ids, limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.seal import public_of, seal
from kerwen.vault.slots import SlotKind

NAME_MAX: Final = 100
ENROLMENT_LIFE_MS: Final = 15 * 60_000


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A factor that has not proved itself yet. `secret`: a TOTP secret, or a challenge."""

    account_no: int
    factor_no: int
    kind: FactorKind
    name: str
    secret: bytes
    slot: bytes
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new factor. `codes`: recovery codes, made with the first factor and shown once."""

    factor_no: int
    codes: list[str] | None
    opens_vault: bool


class Factors:
    """Of one process: who enrols must confirm where they began."""

    def __init__(
        self, db: Database, domain: str, vaults: Vaults, party: Party, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._domain = domain
        self._vaults = vaults
        self._party = party
        self._clock = clock
        self._waiting: OrderedDict[str, Enrolment] = OrderedDict()

    async def all_of(self, account_no: int) -> tuple[list[Factor], int]:
        """An account's factors, and how many recovery codes are left."""
        async with self._db.read() as snap:
            return await factors.of(snap, account_no), await factors.codes_left(snap, account_no)

    async def begin_totp(
        self, account_no: int, name: str, keys: PasswordKeys
    ) -> tuple[str, str, str]:
        """The enrolment, the secret as people type it, and the link for a QR code.

        `Refused(VAULT_CLOSED)` where the password opens no vault to seal the secret to.
        """
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
            opened = await self._vaults.unlock(snap, account_no, *password_slot(keys.slot))
            opened.close()
        secret = secrets.token_bytes(totp.SECRET_BYTES)
        enrolment = await self._wait(account_no, FactorKind.TOTP, name, secret, keys.slot)
        uri = totp.uri(secret, self._domain, account.localpart if account else "")
        return enrolment, totp.secret_text(secret), uri

    async def begin_passkey(
        self, account_no: int, name: str, keys: PasswordKeys
    ) -> tuple[str, dict[str, Any]]:
        """The enrolment, and what `navigator.credentials.create` is given."""
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
            found = await factors.of(snap, account_no)
        challenge = fresh_challenge()
        enrolment = await self._wait(account_no, FactorKind.PASSKEY, name, challenge, keys.slot)
        known = [f.credential_id for f in found if f.credential_id is not None]
        localpart = account.localpart if account else ""
        options = passkey.creation_options(self._party, account_no, localpart, challenge, known)
        return enrolment, options

    async def _wait(
        self, account_no: int, kind: FactorKind, name: str, secret: bytes, slot: bytes
    ) -> str:
        name = "".join(c for c in name if c.isprintable()).strip()
        if not 1 <= len(name) <= NAME_MAX:
            raise Refused(Reason.INVALID_PARAM, f"A name of 1 to {NAME_MAX} characters")
        now = self._clock()
        while self._waiting and (
            len(self._waiting) >= limits.ENROLMENTS_MAX
            or next(iter(self._waiting.values())).expires_ms <= now
        ):
            self._waiting.popitem(last=False)
        factor_no = await self._db.take_id("second_factor")
        enrolment = ids.secret()
        self._waiting[enrolment] = Enrolment(
            account_no, factor_no, kind, name, secret, slot, now + ENROLMENT_LIFE_MS
        )
        return enrolment

    async def confirm_totp(self, account_no: int, enrolment: str, code: str) -> Enrolled:
        """The app works; `Refused`: NOT_FOUND, WRONG_CODE (try again), FORBIDDEN (too many)."""
        waiting = self._waiting_one(account_no, enrolment, FactorKind.TOTP)
        now = self._clock()
        step = totp.proved_step(waiting.secret, code, now, -1)
        if step is None:
            text = "The code is wrong: is the clock of the phone right?"
            raise Refused(Reason.WRONG_CODE, text)
        async with self._db.write() as tx:
            generation, sealed = await self._sealed(tx, waiting)
            factor = _factor(waiting, now, sealed, counter=step, generation=generation)
            codes = await self._add(tx, factor)
        self._waiting.pop(enrolment, None)
        return Enrolled(factor.factor_no, codes, False)

    async def confirm_passkey(
        self, account_no: int, enrolment: str, credential: Mapping[str, Any], prf: str | None
    ) -> Enrolled:
        """The authenticator answered. `prf`: what its PRF gave, if it can; then the passkey opens
        the vault too. `Refused`: NOT_FOUND, WRONG_CODE, CONFLICT (it is enrolled), FORBIDDEN.
        """
        waiting = self._waiting_one(account_no, enrolment, FactorKind.PASSKEY)
        made = passkey.made(self._party, waiting.secret, credential)
        slot_key = passkey.vault_key(prf)
        now = self._clock()
        async with self._db.write() as tx:
            opens = slot_key is not None and await self._open_with(tx, waiting, slot_key)
            factor = _factor(
                waiting,
                now,
                made.key,
                counter=made.counter,
                credential_id=made.credential_id,
                opens_vault=opens,
            )
            codes = await self._add(tx, factor)
        self._waiting.pop(enrolment, None)
        return Enrolled(factor.factor_no, codes, opens)

    def _waiting_one(self, account_no: int, enrolment: str, kind: FactorKind) -> Enrolment:
        found = self._waiting.get(enrolment)
        if found is None or found.account_no != account_no or found.kind is not kind:
            raise Refused(Reason.NOT_FOUND, "This enrolment is unknown")
        if found.expires_ms <= self._clock():
            raise Refused(Reason.NOT_FOUND, "This enrolment took too long")
        return found

    async def _sealed(self, tx: Tx, waiting: Enrolment) -> tuple[int, bytes]:
        account_no = waiting.account_no
        with await self._vaults.unlock(tx, account_no, *password_slot(waiting.slot)) as opened:
            generation = max(opened.generations)
            public_key = public_of(opened.private_key)
        box = seal(public_key, belonging(account_no, waiting.factor_no), waiting.secret)
        return generation, box

    async def _open_with(self, tx: Tx, waiting: Enrolment, slot_key: bytes) -> bool:
        account_no, ref = waiting.account_no, str(waiting.factor_no)
        try:
            opened = await self._vaults.unlock(tx, account_no, *password_slot(waiting.slot))
        except Refused:
            return False  # the account has no vault, or it is shut: a second factor all the same
        with opened:
            await self._vaults.add_slot(tx, account_no, opened, SlotKind.PASSKEY, ref, slot_key)
        return True

    async def _add(self, tx: Tx, factor: Factor) -> list[str] | None:
        account_no = factor.account_no
        if await accounts.lock(tx, account_no) is None:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        others = len(await factors.of(tx, account_no))
        if others >= limits.SECOND_FACTORS_MAX:
            text = f"An account may have {limits.SECOND_FACTORS_MAX} second factors"
            raise Refused(Reason.FORBIDDEN, text)
        if not await factors.add(tx, factor):
            raise Refused(Reason.CONFLICT, "This passkey is enrolled already")
        tx.change(Kind.ACCOUNT, account_no)
        return None if others else await self._new_codes(tx, account_no)

    async def _new_codes(self, tx: Tx, account_no: int) -> list[str]:
        drawn = [
            secrets.token_bytes(recovery_codes.CODE_BYTES) for _ in range(recovery_codes.COUNT)
        ]
        codes = [recovery_codes.code_text(one) for one in drawn]
        hashes = [recovery_codes.code_hash(account_no, code) for code in codes]
        await factors.set_codes(tx, account_no, hashes)
        return codes

    async def renew_codes(self, account_no: int) -> list[str]:
        """New recovery codes; the old ones end. `Refused(NOT_FOUND)` without a second factor."""
        async with self._db.write() as tx:
            await accounts.lock(tx, account_no)
            if not await factors.stands(tx, account_no):
                raise Refused(Reason.NOT_FOUND, "The account has no second factor")
            codes = await self._new_codes(tx, account_no)
            tx.change(Kind.ACCOUNT, account_no)
        return codes

    async def remove(self, account_no: int, factor_no: int) -> None:
        """The last one takes the recovery codes along; `Refused(NOT_FOUND)`."""
        async with self._db.write() as tx:
            await accounts.lock(tx, account_no)
            if not await factors.drop(tx, account_no, factor_no):
                raise Refused(Reason.NOT_FOUND, "There is no such second factor")
            await self._vaults.drop_slot(tx, account_no, SlotKind.PASSKEY, str(factor_no))
            if not await factors.stands(tx, account_no):
                await factors.drop_all(tx, account_no)
            tx.change(Kind.ACCOUNT, account_no)


def _factor(
    waiting: Enrolment,
    now: int,
    secret: bytes,
    *,
    counter: int,
    generation: int = 0,
    credential_id: bytes | None = None,
    opens_vault: bool = False,
) -> Factor:
    return Factor(
        waiting.factor_no,
        waiting.account_no,
        waiting.kind,
        waiting.name,
        now,
        0,
        generation,
        secret,
        credential_id,
        counter,
        opens_vault,
    )
