"""The device authorisation grant (RFC 8628): a device shows a code, a person allows it elsewhere.

The vault's slot for it is sealed to a key that only the device code gives, which the server
forgets at once: what lies on disk while the device waits opens nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from kerwen.accounts.actions.vaults import Vaults, hand_on
from kerwen.accounts.store import accounts
from kerwen.accounts.tokens import SECRET_BYTES, TokenKind, token_hash, token_text
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.browse import browser_secret
from kerwen.oauth.client_metadata import DEVICE_GRANT
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.scope import Scope
from kerwen.oauth.store import clients, grants
from kerwen.oauth.store.browsers import Browser
from kerwen.oauth.store.clients import Client
from kerwen.oauth.store.grants import ALLOWED, ASKED, DENIED, Ask
from kerwen.oauth.user_code import fresh_code
from kerwen.storage.database import Database
from kerwen.vault.seal import Belonging, public_of, seal, unseal
from kerwen.vault.slots import SlotKind, key_of_secret

LIFE_MS = 15 * 60_000
INTERVAL_MS = 5_000
_TRIES = 5
_PURPOSE = b"kerwen/1 device code: box of the vault's slot"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the device is told."""

    device_code: str
    user_code: str
    expires_in_ms: int
    interval_ms: int


class AskForDevice:
    """Begins, shows and decides what devices ask for; `exchange.py` gives them their tokens."""

    def __init__(self, db: Database, vaults: Vaults, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self._clock = clock

    async def begin(self, client: Client, scope: Scope) -> Waiting:
        """A device asks; `OAuthRefused(unauthorized_client)`."""
        if DEVICE_GRANT not in client.metadata.grant_types:
            raise OAuthRefused("unauthorized_client", "The client did not register for this grant")
        code = token_text(TokenKind.DEVICE_CODE, secrets.token_bytes(SECRET_BYTES))
        public_key = public_of(device_key(code))
        code_no = await self._db.take_id("oauth_device_code")
        expires_ms = self._clock() + LIFE_MS
        async with self._db.write() as tx:
            for _ in range(_TRIES):
                ask = Ask(
                    code_no,
                    fresh_code(secrets.choice),
                    public_key,
                    client.client_no,
                    scope.device_id,
                    scope.text,
                    expires_ms,
                    INTERVAL_MS,
                )
                if await grants.add_ask(tx, token_hash(code), ask):
                    return Waiting(code, ask.user_code, LIFE_MS, INTERVAL_MS)
        raise AssertionError("five codes of 20^8 were all in use")

    async def look(self, user_code: str) -> tuple[Ask, Client]:
        """What waits behind a code that somebody typed; `Refused(NOT_FOUND)`."""
        async with self._db.read() as snap:
            ask = await grants.ask_typed(snap, user_code)
            client = await clients.by_no(snap, ask.client_no) if ask else None
        if ask is None or client is None or not self._open(ask):
            raise Refused(Reason.NOT_FOUND, "This code is not known, or has ended")
        return ask, client

    async def decide(self, browser: Browser, cookie: str, user_code: str, allow: bool) -> None:
        """The person has read what is asked; `Refused(NOT_FOUND)` where it ended meanwhile."""
        account_no = browser.account_no
        async with self._db.write() as tx:
            ask = await grants.hold_ask_typed(tx, user_code)
            if ask is None or not self._open(ask):
                raise Refused(Reason.NOT_FOUND, "This code is not known, or has ended")
            if not allow:
                await grants.decide(tx, ask.code_no, DENIED, 0, None)
                return
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.FORBIDDEN, "This account is closed")
            key = secrets.token_bytes(32)
            shown = browser_secret(browser.session_no, cookie)
            fresh = (SlotKind.CODE, grants.device_ref(ask.code_no), key)
            await hand_on(self._vaults, tx, account_no, shown, [fresh])
            box = seal(ask.public_key, _belonging(account_no, ask.code_no), key)
            await grants.decide(tx, ask.code_no, ALLOWED, account_no, box)
            await clients.used(tx, ask.client_no, self._clock())

    def _open(self, ask: Ask) -> bool:
        return ask.state == ASKED and ask.expires_ms > self._clock()


def device_key(device_code: str) -> bytes:
    """The private key that a device code gives."""
    return key_of_secret(device_code.encode(errors="replace"), _PURPOSE)


def slot_key_of(ask: Ask, device_code: str) -> bytes:
    """The key of the vault's slot, for whoever holds the device code."""
    assert ask.box is not None, "it was allowed"
    return unseal(device_key(device_code), _belonging(ask.account_no, ask.code_no), ask.box)


def _belonging(account_no: int, code_no: int) -> Belonging:
    return Belonging(account_no, code_no, "oauth device code")
