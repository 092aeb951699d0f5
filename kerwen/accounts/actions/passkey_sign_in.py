"""Signs in by a passkey alone: it stands for both factors, and opens the vault through its PRF.

A passkey without a PRF is a second factor only: a session by it could read no mail (design §5).
Challenges are signed with a key of this process and good for five minutes; one that led to a
sign-in is good no more.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from kerwen.accounts import passkey
from kerwen.accounts.actions.check_factor import CheckFactor
from kerwen.accounts.actions.prove import check_may_enter
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.second_factor import Shown
from kerwen.accounts.store import accounts, factors
from kerwen.accounts.store.accounts import Account
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

LIFE_MS: Final = 5 * 60_000
_USED_MAX: Final = 20_000
_TIME_BYTES, _NONCE_BYTES, _MAC_BYTES = 8, 16, 16


class Challenges:
    """Makes challenges and knows its own again; keeps none but those that were used."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._used: OrderedDict[bytes, int] = OrderedDict()

    def draw(self, now: int) -> bytes:
        """A new challenge."""
        said = now.to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_NONCE_BYTES)
        return said + self._mac(said)

    def fresh(self, challenge: bytes, now: int) -> bool:
        """Whether it is one of ours, not too old and not used."""
        said, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
        if len(said) != _TIME_BYTES + _NONCE_BYTES:
            return False
        if not hmac.compare_digest(mac, self._mac(said)):
            return False
        made = int.from_bytes(said[:_TIME_BYTES], "big")
        return made <= now < made + LIFE_MS and challenge not in self._used

    def use(self, challenge: bytes, now: int) -> bool:
        """Uses it up; false if somebody did so a moment ago."""
        if challenge in self._used:
            return False
        while self._used and (
            len(self._used) >= _USED_MAX or next(iter(self._used.values())) <= now - LIFE_MS
        ):
            self._used.popitem(last=False)
        self._used[challenge] = now
        return True

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, "sha256")[:_MAC_BYTES]


class PasskeySignIn:
    """For the page of the log-in."""

    def __init__(
        self, db: Database, vaults: Vaults, second: CheckFactor, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._vaults = vaults
        self._second = second
        self._clock = clock
        self._challenges = Challenges()

    def begin(self) -> dict[str, Any]:
        """What `navigator.credentials.get` is given: any passkey of ours that the person has."""
        challenge = self._challenges.draw(self._clock())
        return passkey.request_options(self._second.party, challenge, [], verified=True)

    async def finish(
        self, credential: Mapping[str, Any], prf: str | None
    ) -> tuple[Account, Secret]:
        """Who signs in, and what opens the vault.

        `Refused`: WRONG_CODE, also where the passkey has no PRF; ACCOUNT_LOCKED.
        """
        now = self._clock()
        challenge = _challenge_of(credential)
        if not self._challenges.fresh(challenge, now):
            raise Refused(Reason.WRONG_CODE, "It took too long: please try again")
        named = passkey.credential_id_of(credential)
        async with self._db.read() as snap:
            factor = await factors.by_credential(snap, named)
            account = await accounts.by_no(snap, factor.account_no) if factor else None
        if factor is None or account is None or not account.active:
            raise Refused(Reason.WRONG_CODE, "This passkey is not known here")
        key = passkey.vault_key(prf)
        if key is None or not factor.opens_vault:
            raise Refused(
                Reason.WRONG_CODE,
                "This passkey cannot open the account alone: sign in by password, and use it then",
            )
        shown = Shown(credential=credential, challenge=challenge)
        await self._second.use_passkey(factor, shown, verified=True)
        if not self._challenges.use(challenge, now):
            raise Refused(Reason.WRONG_CODE, "This answer was used before")
        check_may_enter(account)
        secret: Secret = (SlotKind.PASSKEY, str(factor.factor_no), key)
        await self._try(account.account_no, secret)
        return account, secret

    async def _try(self, account_no: int, secret: Secret) -> None:
        try:
            async with self._db.read() as snap:
                (await self._vaults.unlock(snap, account_no, *secret)).close()
        except Refused as refusal:
            if refusal.reason is not Reason.VAULT_CLOSED:
                raise
            raise Refused(Reason.WRONG_CODE, "The passkey does not open the account") from None


def _challenge_of(credential: Mapping[str, Any]) -> bytes:
    """The challenge that an answer says it is for; the answer itself is checked after."""
    try:
        data = json.loads(passkey.unb64(credential["response"]["clientDataJSON"]))
        return passkey.unb64(data["challenge"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Refused(Reason.WRONG_CODE, "The passkey's answer is not right") from None
