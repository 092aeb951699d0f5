"""Gives authorisation codes: somebody who is signed in allows a client (RFC 6749 §4.1)."""

from __future__ import annotations

import secrets

from kerwen.accounts.actions.vaults import Vaults, hand_on
from kerwen.accounts.store import accounts
from kerwen.accounts.tokens import SECRET_BYTES, TokenKind, slot_key, token_hash, token_text
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.browse import browser_secret
from kerwen.oauth.authorisation import Asked
from kerwen.oauth.store import clients, grants
from kerwen.oauth.store.browsers import Browser
from kerwen.oauth.store.clients import Client
from kerwen.oauth.store.grants import Code
from kerwen.storage.database import Database
from kerwen.vault.slots import SlotKind

CODE_LIFE_MS = 2 * 60_000


class Authorise:
    """A code is bound to client, redirection and PKCE challenge, and carries the vault's slot."""

    def __init__(self, db: Database, vaults: Vaults, clock: Clock = now_ms) -> None:
        self._db = db
        self._vaults = vaults
        self._clock = clock

    async def run(self, browser: Browser, cookie: str, client: Client, asked: Asked) -> str:
        """The code. `Refused(FORBIDDEN)` where the account is closed meanwhile."""
        code = token_text(TokenKind.CODE, secrets.token_bytes(SECRET_BYTES))
        code_no = await self._db.take_id("oauth_code")
        now, account_no = self._clock(), browser.account_no
        row = Code(
            code_no,
            account_no,
            client.client_no,
            asked.scope.device_id,
            asked.scope.text,
            asked.back.redirect_uri,
            asked.challenge,
            now + CODE_LIFE_MS,
        )
        async with self._db.write() as tx:
            if await accounts.lock(tx, account_no) is None:
                raise Refused(Reason.FORBIDDEN, "This account is closed")
            over = (await grants.codes_of(tx, account_no))[limits.OAUTH_CODES_MAX - 1 :]
            if over:
                await grants.drop_codes(tx, over)
                refs = [grants.code_ref(no) for no in over]
                await self._vaults.drop_slots(tx, account_no, SlotKind.CODE, refs)
            await grants.add_code(tx, token_hash(code), row)
            await clients.used(tx, client.client_no, now)
            shown = browser_secret(browser.session_no, cookie)
            fresh = (SlotKind.CODE, grants.code_ref(code_no), slot_key(code))
            await hand_on(self._vaults, tx, account_no, shown, [fresh])
        return code
