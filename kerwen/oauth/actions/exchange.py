"""The token endpoint: codes and refresh tokens become tokens (RFC 6749 §4.1.3, §6, RFC 8628 §3.4).

The tokens are those of every other log-in: bound to a device, hashes on disk, soft logout.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from kerwen.accounts.actions.open_session import OpenSession, Session, TokenPair
from kerwen.accounts.actions.prove import check_may_enter
from kerwen.accounts.actions.refresh import Refresh
from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.actions.vaults import Vaults, hand_on
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import accounts, devices, tokens
from kerwen.accounts.tokens import slot_key, token_hash
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.ask_for_device import INTERVAL_MS, slot_key_of
from kerwen.oauth.authorisation import verifies
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.store import clients, grants
from kerwen.oauth.store.clients import Client
from kerwen.oauth.store.grants import ASKED, DENIED, Ask, Code
from kerwen.storage.database import Database, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

_INTERVAL_MAX_MS = 60_000
_POLL_GRACE_MS = 1_000  # the line makes one wait shorter and the next one longer


@dataclass(frozen=True, slots=True)
class Granted:
    """Tokens with their scope."""

    session: Session
    scope: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What a new session needs and a transaction cannot draw."""

    pair: TokenPair
    device_no: int
    address: str


class Exchange:
    """Every refusal of a code is the same `invalid_grant`, and a code is good for one try."""

    def __init__(
        self,
        db: Database,
        domain: str,
        sessions: OpenSession,
        refresh: Refresh,
        remove_devices: RemoveDevices,
        vaults: Vaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._sessions = sessions
        self._refresh = refresh
        self._remove = remove_devices
        self._vaults = vaults
        self._clock = clock

    async def by_code(
        self, client_id: str, code: str, redirect_uri: str, verifier: str, address: str
    ) -> Granted:
        """An authorisation code; `OAuthRefused(invalid_grant)`. A code that comes twice ends what
        it gave (RFC 6749 §4.1.2)."""
        drawn = await self._draw(address)
        async with self._db.write() as tx:
            held = await grants.hold_code(tx, token_hash(code))
            client = await clients.by_no(tx, held.client_no) if held else None
            granted = None
            if held is not None and client is not None:
                good = client.client_id == client_id and self._is_good(held, redirect_uri, verifier)
                granted = await self._by_code(tx, held, client, code, drawn) if good else None
            if held is not None and granted is None:
                await self._spoil(tx, held)
        if granted is None:
            raise OAuthRefused("invalid_grant", "The code is not valid")
        return granted

    def _is_good(self, held: Code, redirect_uri: str, verifier: str) -> bool:
        return (
            not held.device_no
            and held.expires_ms > self._clock()
            and hmac.compare_digest(held.redirect_uri.encode(), redirect_uri.encode())
            and verifies(verifier, held.challenge)
        )

    async def _by_code(
        self, tx: Tx, held: Code, client: Client, code: str, drawn: _Drawn
    ) -> Granted | None:
        shown: Secret = (SlotKind.CODE, grants.code_ref(held.code_no), slot_key(code))
        opened = await self._open(tx, held, client, shown, drawn)
        if opened is not None:
            await self._vaults.drop_slot(tx, held.account_no, *shown[:2])
            await grants.spend_code(tx, held.code_no, opened[0])
        return opened[1] if opened else None

    async def _spoil(self, tx: Tx, held: Code) -> None:
        if held.device_no:
            await self._remove.run(tx, held.account_no, [held.device_no])
        await grants.drop_codes(tx, [held.code_no])
        await self._vaults.drop_slot(
            tx, held.account_no, SlotKind.CODE, grants.code_ref(held.code_no)
        )

    async def by_device_code(self, client_id: str, device_code: str, address: str) -> Granted:
        """A device asks whether it may. `OAuthRefused`: authorization_pending, slow_down,
        access_denied, expired_token, invalid_grant."""
        drawn = await self._draw(address)
        async with self._db.write() as tx:
            ask = await grants.hold_ask(tx, token_hash(device_code))
            client = await clients.by_no(tx, ask.client_no) if ask else None
            if ask is None or client is None or client.client_id != client_id:
                raise OAuthRefused("invalid_grant", "The device code is not valid")
            why = await self._not_yet(tx, ask)
            opened = None
            if not why:
                key = slot_key_of(ask, device_code)
                shown: Secret = (SlotKind.CODE, grants.device_ref(ask.code_no), key)
                opened = await self._open(tx, ask, client, shown, drawn)
                await grants.drop_asks(tx, [ask.code_no])
                await self._vaults.drop_slot(tx, ask.account_no, *shown[:2])
        if opened is None:
            raise OAuthRefused(why or "access_denied")
        return opened[1]

    async def _not_yet(self, tx: Tx, ask: Ask) -> str:
        """Why a device gets no tokens now; "" where it does."""
        now = self._clock()
        if ask.expires_ms <= now:
            return "expired_token"
        if ask.state == DENIED:
            return "access_denied"
        if ask.state != ASKED:
            return ""
        hasty = now - ask.polled_ms < ask.interval_ms - _POLL_GRACE_MS
        interval = min(ask.interval_ms + (INTERVAL_MS if hasty else 0), _INTERVAL_MAX_MS)
        await grants.polled(tx, ask.code_no, interval, now)
        return "slow_down" if hasty else "authorization_pending"

    async def by_refresh_token(self, client_id: str, token: str, address: str) -> Granted:
        """A refresh token; `OAuthRefused(invalid_grant)`, `Refused(ACCOUNT_LOCKED)`. One that was
        replaced and comes again ends the session (CS #refresh-token-grant)."""
        hashed = token_hash(token)
        async with self._db.read() as snap:
            found = await tokens.refresh_token(snap, hashed)
            spent = await grants.spent_by(snap, hashed) if found is None else None
            session = await grants.session(snap, found.device_no) if found else None
            client = await clients.by_no(snap, session[0]) if session else None
        if spent is not None:
            async with self._db.write() as tx:
                await self._remove.run(tx, spent[0], [spent[1]])
        if session is None or client is None or client.client_id != client_id:
            raise OAuthRefused("invalid_grant", "The refresh token is not valid")
        try:
            return Granted(await self._refresh.run(token, address), session[1])
        except Refused as refusal:
            if refusal.reason in (Reason.UNKNOWN_TOKEN, Reason.EXPIRED_TOKEN):
                raise OAuthRefused("invalid_grant", "The refresh token is not valid") from None
            raise

    async def revoke(self, token: str) -> None:
        """Ends the session of an access or refresh token (RFC 7009); one that nobody knows has
        ended already. Whoever holds a token may end it, whatever client they say they are."""
        hashed = token_hash(token)
        async with self._db.read() as snap:
            held = await tokens.holder(snap, hashed) or await tokens.refresh_token(snap, hashed)
        if held is not None:
            async with self._db.write() as tx:
                await self._remove.run(tx, held.account_no, [held.device_no])

    async def _draw(self, address: str) -> _Drawn:
        pair = await self._sessions.draw(refreshable=True)
        return _Drawn(pair, await self._sessions.fresh_device_no(), address)

    async def _open(
        self, tx: Tx, grant: Code | Ask, client: Client, shown: Secret, drawn: _Drawn
    ) -> tuple[int, Granted] | None:
        """Device and tokens of a grant; None where the account is closed or locked."""
        account = await accounts.lock(tx, grant.account_no)
        if account is None or account.locked:
            return None
        check_may_enter(account)
        metadata = client.metadata
        session = await self._sessions.open(
            tx,
            account.account_no,
            user_id_of(account.localpart, self._domain),
            drawn.device_no,
            grant.device_id,
            (metadata.name or metadata.host)[: limits.DEVICE_NAME_MAX],
            drawn.address,
            drawn.pair,
        )
        device = await devices.one(tx, account.account_no, grant.device_id)
        assert device is not None, "it was opened in this transaction"
        await grants.add_session(tx, device.device_no, client.client_no, grant.scope)
        await hand_on(self._vaults, tx, account.account_no, shown, drawn.pair.secrets())
        return device.device_no, Granted(session, grant.scope)
