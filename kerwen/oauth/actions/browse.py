"""Signs browsers in to the pages of an account, and out.

The cookie is a secret like a token: the database holds its hash, and it opens the vault.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerwen.accounts.actions.passkey_sign_in import PasskeySignIn
from kerwen.accounts.actions.prove import Prove
from kerwen.accounts.actions.vaults import Vaults, hand_on, password_slot
from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.second_factor import Shown
from kerwen.accounts.store import accounts
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.tokens import SECRET_BYTES, TokenKind, slot_key, token_hash, token_text
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.store import browsers
from kerwen.oauth.store.browsers import Browser
from kerwen.storage.database import Database
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

LIFE_MS = 12 * 3_600_000
SECOND_LIFE_MS = 10 * 60_000  # how long the second factor is waited for


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The new cookie. With `second_due` it is good for the page of the second factor only."""

    cookie: str
    second_due: bool


class Browse:
    """Sign-in, the second step, sign-out."""

    def __init__(
        self,
        db: Database,
        prove: Prove,
        vaults: Vaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._prove = prove
        self._vaults = vaults
        self._clock = clock
        self.passkeys = PasskeySignIn(db, vaults, prove.second, clock)

    async def sign_in(
        self, localpart: str | None, password: str, second_done: bool = False
    ) -> SignedIn:
        """`localpart` None: nobody of ours; `Refused(WRONG_PASSWORD)`, `ACCOUNT_LOCKED`.

        `second_done`: the browser was signed in whole a moment ago.
        """
        first = await self._prove.first_factor(localpart, password)
        second_due = first.second and not second_done
        return await self._enter(first.account, password_slot(first.keys.slot), second_due)

    async def sign_in_by_passkey(self, credential: Mapping[str, Any], prf: str | None) -> SignedIn:
        """A passkey that opens the vault stands for both factors; `Refused(WRONG_CODE)`."""
        account, secret = await self.passkeys.finish(credential, prf)
        return await self._enter(account, secret, False)

    async def _enter(self, account: Account, shown: Secret, second_due: bool) -> SignedIn:
        cookie = token_text(TokenKind.BROWSER, secrets.token_bytes(SECRET_BYTES))
        session_no = await self._db.take_id("browser_session")
        life = SECOND_LIFE_MS if second_due else LIFE_MS
        async with self._db.write() as tx:
            account_no = account.account_no
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
            over = (await browsers.of(tx, account_no))[limits.BROWSERS_MAX - 1 :]
            if over:
                await browsers.drop(tx, over)
                refs = [browsers.slot_ref(no) for no in over]
                await self._vaults.drop_slots(tx, account_no, SlotKind.CODE, refs)
            await browsers.add(
                tx, session_no, token_hash(cookie), account_no, self._clock() + life, second_due
            )
            fresh = browser_secret(session_no, cookie)
            await hand_on(self._vaults, tx, account_no, shown, [fresh])
        return SignedIn(cookie, second_due)

    async def find(self, cookie: str) -> Browser | None:
        """Who is signed in with a cookie, also half; None for nobody."""
        if not cookie.startswith(TokenKind.BROWSER.value):
            return None
        async with self._db.read() as snap:
            found = await browsers.find(snap, token_hash(cookie), self._clock())
        return None if found is None or found.locked else found

    async def asks(self, browser: Browser, cookie: str) -> dict[str, Any]:
        """What a browser that is half signed in may show, as `CheckFactor.asks` says it."""
        return await self._prove.second.asks(browser.account_no, passkey_challenge(cookie))

    async def prove_second(self, browser: Browser, cookie: str, shown: Shown) -> None:
        """The second factor of a browser that is half signed in.

        `Refused`: WRONG_CODE; LIMIT_EXCEEDED with `retry_after_ms`. The cookie's slot was made
        when the password was right, so it may open what the check needs.
        """
        opens = browser_secret(browser.session_no, cookie)
        await self._prove.second.check(browser.account_no, opens, shown)
        async with self._db.write() as tx:
            await browsers.proved(tx, browser.session_no, self._clock() + LIFE_MS)

    async def check_password(self, browser: Browser, password: str) -> PasswordKeys:
        """The owner, who is signed in whole, shows the password again before something grave.

        `Refused(WRONG_PASSWORD)`.
        """
        return (await self._prove.first_factor(browser.localpart, password)).keys

    async def sign_out(self, browser: Browser) -> None:
        """The cookie is good for nothing any more."""
        async with self._db.write() as tx:
            await browsers.drop(tx, [browser.session_no])
            await self._vaults.drop_slot(
                tx, browser.account_no, SlotKind.CODE, browsers.slot_ref(browser.session_no)
            )


def passkey_challenge(cookie: str) -> bytes:
    """What a passkey signs for a browser that is half signed in: of its cookie, which nobody
    else knows and which is good for one sign-in of minutes.
    """
    return hashlib.sha256(b"kerwen/1 passkey challenge\0" + cookie.encode()).digest()


def browser_secret(session_no: int, cookie: str) -> Secret:
    """What a browser's cookie opens the vault with."""
    return (SlotKind.CODE, browsers.slot_ref(session_no), slot_key(cookie))
