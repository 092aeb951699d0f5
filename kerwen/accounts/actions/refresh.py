"""Refreshes an access token (CS #refreshing-access-tokens).

The old refresh token lives until the new pair is first used, so a lost answer can be asked for
again. Two processes of one client that refresh at once both get a pair that works.
"""

from __future__ import annotations

from kerwen.accounts.actions.authenticate import RETIRED_LIFE_MS, unknown_token
from kerwen.accounts.actions.open_session import OpenSession, Session, TokenPair
from kerwen.accounts.actions.prove import check_may_enter
from kerwen.accounts.actions.vaults import Vaults, hand_on
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import accounts, devices, tokens
from kerwen.accounts.store.tokens import RefreshToken
from kerwen.accounts.tokens import slot_key, token_hash
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret


class Refresh:
    """Gives a new pair of tokens for a refresh token."""

    def __init__(
        self,
        db: Database,
        domain: str,
        sessions: OpenSession,
        vaults: Vaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._sessions = sessions
        self._vaults = vaults
        self._clock = clock

    async def run(self, refresh_token: str, address: str = "") -> Session:
        """`Refused(UNKNOWN_TOKEN)`; `EXPIRED_TOKEN` where the client may log in again and keep
        its data.
        """
        pair = await self._sessions.draw(refreshable=True)
        hashed = token_hash(refresh_token)
        async with self._db.write() as tx:
            old = await self._hold(tx, hashed, address)
            account = await accounts.by_no(tx, old.account_no)
            if account is None or not account.active:
                raise Refused(Reason.UNKNOWN_TOKEN, "Unknown refresh token")
            check_may_enter(account)
            await self._end_predecessor(tx, old)
            await self._bound(tx, old)
            device = await devices.by_no(tx, old.device_no)
            assert device is not None, "it is held"
            await self._sessions.write(
                tx, old.account_no, old.device_no, pair, retires=old.token_no
            )
            shown: Secret = (SlotKind.REFRESH, str(old.token_no), slot_key(refresh_token))
            await hand_on(self._vaults, tx, old.account_no, shown, pair.secrets())
        return self._answer(account.localpart, device.device_id, pair)

    async def _hold(self, tx: Tx, hashed: bytes, address: str) -> RefreshToken:
        """The token, with its device held so that neither goes meanwhile."""
        now = self._clock()
        found = await tokens.refresh_token(tx, hashed)
        if found is not None:
            held = await devices.seen(tx, found.device_no, now, address)
            # either may have ended while we waited for the device
            found = await tokens.refresh_token(tx, hashed) if held else None
        if found is None:
            raise Refused(await unknown_token(tx, now), "Unknown refresh token")
        if found.expires_ms and found.expires_ms <= now:
            raise Refused(Reason.EXPIRED_TOKEN, "The refresh token has expired")
        return found

    def _answer(self, localpart: str, device_id: str, pair: TokenPair) -> Session:
        return self._sessions.answer(user_id_of(localpart, self._domain), device_id, pair)

    async def _end_predecessor(self, tx: Tx, old: RefreshToken) -> None:
        """The use of a refresh token ends the one that it was given for."""
        if old.retires:
            await tokens.retire(tx, old.retires, self._clock() + RETIRED_LIFE_MS)
            await self._vaults.drop_slot(tx, old.account_no, SlotKind.REFRESH, str(old.retires))
            tx.change(Kind.ACCOUNT, old.account_no)

    async def _bound(self, tx: Tx, old: RefreshToken) -> None:
        """Unused answers to one token are few: the oldest make room."""
        unused = await tokens.successors(tx, old.token_no)
        over = unused[: max(0, len(unused) - limits.REFRESHES_MAX + 1)]
        for token_no in over:
            await tokens.retire(tx, token_no, 1)
            await self._vaults.drop_slot(tx, old.account_no, SlotKind.REFRESH, str(token_no))
