"""Logs in: by password, app password or log-in token; makes a session.

# CS #legacy-login
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from kerwen.accounts.actions.app_passwords import AppPasswords
from kerwen.accounts.actions.open_session import (
    OpenSession,
    Session,
    TokenPair,
    check_device_id,
    device_name_of,
)
from kerwen.accounts.actions.prove import Prove, check_may_enter
from kerwen.accounts.actions.vaults import Vaults, hand_on, password_slot
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import accounts, tokens
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.tokens import (
    SECRET_BYTES,
    TokenKind,
    slot_key,
    token_hash,
    token_text,
)
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

LOGIN_TOKEN_LIFE_MS = 120_000
_NO_SLOT = "none"  # no secret has this reference: it opens nothing


@dataclass(frozen=True, slots=True)
class DeviceWanted:
    """The device that a log-in is for."""

    device_id: str | None = None
    name: str | None = None
    refreshable: bool = False
    address: str = ""


class LogIn:
    """Makes sessions for those who prove who they are."""

    def __init__(
        self,
        db: Database,
        domain: str,
        prove: Prove,
        apps: AppPasswords,
        sessions: OpenSession,
        vaults: Vaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._prove = prove
        self._apps = apps
        self._sessions = sessions
        self._vaults = vaults
        self._clock = clock

    async def by_password(
        self, localpart: str | None, password: str, device: DeviceWanted
    ) -> Session:
        """`localpart` None: nobody of ours; `Refused`: as `Prove.password_and_code`."""
        check_device_id(device.device_id)
        entry = await self._apps.check(localpart, password) if localpart is not None else None
        if entry is not None:
            return await self._open(entry.account, entry.secret, device)
        account, keys = await self._prove.password_and_code(localpart, password)
        return await self._open(account, password_slot(keys.slot), device)

    async def by_service(self, account: Account, device: DeviceWanted) -> Session:
        """An application service logs its user in; the vault stays shut."""
        check_device_id(device.device_id)
        return await self._open(account, (SlotKind.CODE, _NO_SLOT, b""), device)

    async def _open(self, account: Account, shown: Secret, device: DeviceWanted) -> Session:
        check_may_enter(account)
        pair = await self._sessions.draw(device.refreshable)
        device_no = await self._sessions.fresh_device_no()
        async with self._db.write() as tx:
            if await accounts.lock(tx, account.account_no) is None:
                raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
            if shown[0] == SlotKind.APP_PASSWORD:
                await tokens.use_app_password(tx, int(shown[1]), self._clock())
            return await self._session(tx, account, shown, device, pair, device_no)

    async def _session(
        self,
        tx: Tx,
        account: Account,
        shown: Secret,
        device: DeviceWanted,
        pair: TokenPair,
        device_no: int,
    ) -> Session:
        account_no = account.account_no
        session = await self._sessions.open(
            tx,
            account_no,
            user_id_of(account.localpart, self._domain),
            device_no,
            check_device_id(device.device_id),
            device_name_of(device.name),
            device.address,
            pair,
        )
        await hand_on(self._vaults, tx, account_no, shown, pair.secrets())
        return session

    async def by_token(self, token: str, device: DeviceWanted) -> Session:
        """Uses up a log-in token (CS #token-based)."""
        check_device_id(device.device_id)
        pair = await self._sessions.draw(device.refreshable)
        device_no = await self._sessions.fresh_device_no()
        async with self._db.write() as tx:
            found = await tokens.take_login(tx, token_hash(token))
            if found is None or found[2] <= self._clock():
                raise Refused(Reason.FORBIDDEN, "The log-in token is not valid")
            token_no, account_no, _ = found
            account = await accounts.lock(tx, account_no)
            if account is None:
                raise Refused(Reason.FORBIDDEN, "The log-in token is not valid")
            check_may_enter(account)
            shown: Secret = (SlotKind.CODE, login_ref(token_no), slot_key(token))
            session = await self._session(tx, account, shown, device, pair, device_no)
            await self._vaults.drop_slot(tx, account_no, SlotKind.CODE, login_ref(token_no))
            return session

    async def give_token(self, account_no: int, password_key: bytes) -> tuple[str, int]:
        """A token for one log-in of another client, and its life in ms (CS #get_login_token)."""
        token = token_text(TokenKind.LOGIN, secrets.token_bytes(SECRET_BYTES))
        token_no = await self._db.take_id("login_token")
        async with self._db.write() as tx:
            await tokens.add_login(
                tx, token_no, token_hash(token), account_no, self._clock() + LOGIN_TOKEN_LIFE_MS
            )
            code: Secret = (SlotKind.CODE, login_ref(token_no), slot_key(token))
            await hand_on(self._vaults, tx, account_no, password_slot(password_key), [code])
        return token, LOGIN_TOKEN_LIFE_MS


def login_ref(token_no: int) -> str:
    """The slot of a log-in token; OAuth codes are slots of the same kind."""
    return f"login-{token_no}"
