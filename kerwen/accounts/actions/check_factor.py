"""Checks a second factor: an authenticator app's code, a passkey, a recovery code.

A TOTP secret is sealed to the account's vault, so it can be read after the password was right
and not before: checks take a secret that opens the vault (docs/second_factor.md). Wrong codes are
counted in the database.
"""

from __future__ import annotations

import secrets
from typing import Any

from kerwen.accounts import passkey, totp
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.passkey import Party
from kerwen.accounts.recovery_codes import code_hash, code_typed
from kerwen.accounts.second_factor import RECOVERY_CODE, FactorKind, Shown, wait_ms
from kerwen.accounts.store import accounts, factors
from kerwen.accounts.store.factors import Factor
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Snap, Tx
from kerwen.vault.seal import Belonging, unseal
from kerwen.vault.store import Secret

_WRONG = "The code is wrong or was used before"
_SHUT = (
    "The password was reset, so codes of the app cannot be checked any more:"
    " use a recovery code or a passkey"
)


def fresh_challenge() -> bytes:
    """What a passkey is to sign; good for one ceremony."""
    return secrets.token_bytes(passkey.CHALLENGE_BYTES)


def belonging(account_no: int, factor_no: int) -> Belonging:
    """What a sealed TOTP secret belongs to."""
    return Belonging(account_no, factor_no, FactorKind.TOTP)


class CheckFactor:
    """For whoever has shown the first factor already."""

    def __init__(self, db: Database, vaults: Vaults, party: Party, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self.party = party
        self._clock = clock

    async def asks(self, account_no: int, challenge: bytes) -> dict[str, Any]:
        """What may be shown: `kinds`, and `passkey`, which `navigator.credentials.get` is given."""
        async with self._db.read() as snap:
            found = await factors.of(snap, account_no)
        kinds = sorted({factor.kind for factor in found})
        asks: dict[str, Any] = {"kinds": [*kinds, RECOVERY_CODE]}
        known = [f.credential_id for f in found if f.credential_id is not None]
        if known:
            asks["passkey"] = passkey.request_options(self.party, challenge, known)
        return asks

    async def needed(self, account_no: int) -> bool:
        """Whether the account has a second factor."""
        async with self._db.read(single=True) as snap:
            return await factors.stands(snap, account_no)

    async def check(self, account_no: int, opens: Secret, shown: Shown) -> None:
        """Uses up what was shown. `opens` opens the vault: the password's slot, or one that was
        made when the password was right.

        `Refused`: WRONG_CODE; LIMIT_EXCEEDED with `retry_after_ms` after too many wrong ones.
        """
        if shown.credential is not None:
            await self._passkey(account_no, shown)
        elif (typed := code_typed(shown.code)) is not None:
            await self._recovery_code(account_no, typed)
        else:
            await self._totp(account_no, opens, shown.code)

    async def _totp(self, account_no: int, opens: Secret, code: str) -> None:
        """One transaction counts and checks, so that many guesses at once gain nothing."""
        now = self._clock()
        async with self._db.write() as tx:
            await accounts.lock(tx, account_no)
            count, until = await factors.failures(tx, account_no)
            waits = until > now
            right = not waits and await self._fits(tx, account_no, opens, code, now)
            if right:
                await factors.forgive(tx, account_no)
            elif not waits:
                until = now + wait_ms(count + 1)
                await factors.failed(tx, account_no, count + 1, until)
        if right:
            return
        if waits:
            extra = {"retry_after_ms": until - now}
            raise Refused(Reason.LIMIT_EXCEEDED, "Too many wrong codes: wait a while", extra=extra)
        raise Refused(Reason.WRONG_CODE, _WRONG)

    async def _fits(self, tx: Tx, account_no: int, opens: Secret, code: str, now: int) -> bool:
        for factor in await factors.of(tx, account_no):
            if factor.kind != FactorKind.TOTP:
                continue
            secret = await self._secret(tx, factor, opens)
            step = totp.proved_step(secret, code, now, factor.counter)
            if step is not None and await factors.use_step(tx, factor.factor_no, step, now):
                return True
        return False

    async def _secret(self, snap: Snap, factor: Factor, opens: Secret) -> bytes:
        account_no = factor.account_no
        try:
            with await self._vaults.unlock(snap, account_no, *opens) as opened:
                private_key = opened.key_of(factor.generation)
                return unseal(private_key, belonging(account_no, factor.factor_no), factor.secret)
        except Refused as refusal:
            if refusal.reason is Reason.VAULT_CLOSED:
                raise Refused(Reason.WRONG_CODE, _SHUT) from None
            raise

    async def _recovery_code(self, account_no: int, code: str) -> None:
        """Nobody guesses 80 bits: these are not counted, and help who must wait."""
        async with self._db.write() as tx:
            right = await factors.use_code(tx, account_no, code_hash(account_no, code))
            if right:
                await factors.forgive(tx, account_no)
                tx.change(Kind.ACCOUNT, account_no)
        if not right:
            raise Refused(Reason.WRONG_CODE, _WRONG)

    async def _passkey(self, account_no: int, shown: Shown) -> None:
        assert shown.credential is not None
        named = passkey.credential_id_of(shown.credential)
        async with self._db.read() as snap:
            factor = await factors.by_credential(snap, named)
        if factor is None or factor.account_no != account_no or not shown.challenge:
            raise Refused(Reason.WRONG_CODE, "This passkey is not known here")
        await self.use_passkey(factor, shown, verified=False)

    async def use_passkey(self, factor: Factor, shown: Shown, *, verified: bool) -> None:
        """Checks a passkey's answer and notes its use; `Refused(WRONG_CODE)`."""
        assert shown.credential is not None
        answer = passkey.answered(
            self.party, shown.challenge, shown.credential, factor.secret, verified=verified
        )
        async with self._db.write() as tx:
            right = await factors.use_passkey(tx, factor.factor_no, answer.counter, self._clock())
        if not right:
            raise Refused(Reason.WRONG_CODE, "This passkey was copied: its count went back")
