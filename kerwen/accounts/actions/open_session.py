"""Opens a session: a device with its access token, and a refresh token if the client knows them.

Numbers and secrets are drawn before the transaction (`draft`), rows are written in it (`open`).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.store import devices, tokens
from kerwen.accounts.tokens import SECRET_BYTES, TokenKind, slot_key, token_hash, token_text
from kerwen.base import ids, limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Retry, Tx
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret

DeviceIdTaken = Callable[[Tx, int, str], Awaitable[bool]]
"""`(tx, account_no, device_id)`: whether a device may not be called so (CS #legacy-login)."""

ACCESS_LIFE_MS = 3_600_000
REFRESH_LIFE_MS = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class Session:
    """What a client is given. `expires_in_ms` None: the access token does not expire."""

    user_id: str
    device_id: str
    access_token: str
    refresh_token: str | None
    expires_in_ms: int | None


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token, and a refresh token (number 0: none), before they are written down."""

    access_no: int
    access: str
    refresh_no: int
    refresh: str | None

    def secrets(self) -> list[Secret]:
        """What opens the vault from now on."""
        found: list[Secret] = [(SlotKind.TOKEN, str(self.access_no), slot_key(self.access))]
        if self.refresh is not None:
            found.append((SlotKind.REFRESH, str(self.refresh_no), slot_key(self.refresh)))
        return found


@dataclass(frozen=True, slots=True)
class Lives:
    """How long tokens live where the client can refresh them."""

    access_ms: int = ACCESS_LIFE_MS
    refresh_ms: int = REFRESH_LIFE_MS


class OpenSession:
    """Used by registration, log-in and refresh."""

    def __init__(
        self,
        db: Database,
        remove_devices: RemoveDevices,
        lives: Lives | None = None,
        device_id_taken: DeviceIdTaken | None = None,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._remove = remove_devices
        self.lives = lives or Lives()
        self._device_id_taken = device_id_taken
        self._clock = clock

    async def draw(self, refreshable: bool) -> TokenPair:
        """Fresh tokens; not inside a transaction."""
        access_no = await self._db.take_id("access_token")
        access = token_text(TokenKind.ACCESS, secrets.token_bytes(SECRET_BYTES))
        if not refreshable:
            return TokenPair(access_no, access, 0, None)
        refresh_no = await self._db.take_id("refresh_token")
        refresh = token_text(TokenKind.REFRESH, secrets.token_bytes(SECRET_BYTES))
        return TokenPair(access_no, access, refresh_no, refresh)

    async def fresh_device_no(self) -> int:
        """A number for a device that may be new; not inside a transaction."""
        return await self._db.take_id("device")

    async def open(
        self,
        tx: Tx,
        account_no: int,
        user_id: str,
        fresh_device_no: int,
        device_id: str | None,
        device_name: str | None,
        address: str,
        pair: TokenPair,
    ) -> Session:
        """Makes or reuses the device; the tokens that it had before end."""
        device_id = device_id or ids.device_id()
        now = self._clock()
        known = await devices.one(tx, account_no, device_id)
        if known is not None:
            device_no = known.device_no
            if not await devices.seen(tx, device_no, now, address):
                raise Retry  # it was deleted a moment ago
            await self._remove.end_tokens(tx, account_no, [device_no])
            tx.change(Kind.ACCOUNT, account_no)
        else:
            device_no = fresh_device_no
            await self._make_room(tx, account_no, device_id)
            if not await devices.add(
                tx, device_no, account_no, device_id, device_name, address, now
            ):
                raise Retry  # another log-in made it a moment ago
        await self.write(tx, account_no, device_no, pair)
        return self.answer(user_id, device_id, pair)

    async def write(
        self, tx: Tx, account_no: int, device_no: int, pair: TokenPair, retires: int = 0
    ) -> None:
        """Writes a pair of tokens down."""
        now = self._clock()
        if pair.refresh is not None:
            await tokens.add_refresh(
                tx,
                pair.refresh_no,
                token_hash(pair.refresh),
                account_no,
                device_no,
                now,
                retires=retires,
                expires_ms=now + self.lives.refresh_ms,
            )
        await tokens.add_access(
            tx,
            pair.access_no,
            token_hash(pair.access),
            account_no,
            device_no,
            now,
            refresh_no=pair.refresh_no,
            retires=retires,
            expires_ms=now + self.lives.access_ms if pair.refresh is not None else 0,
        )

    def answer(self, user_id: str, device_id: str, pair: TokenPair) -> Session:
        """What the client is given."""
        expires_in_ms = self.lives.access_ms if pair.refresh is not None else None
        return Session(user_id, device_id, pair.access, pair.refresh, expires_in_ms)

    async def _make_room(self, tx: Tx, account_no: int, device_id: str) -> None:
        """Devices beyond the limit, those unseen for longest, make room for a new one."""
        if self._device_id_taken and await self._device_id_taken(tx, account_no, device_id):
            raise Refused(Reason.FORBIDDEN, "This device id is a cross-signing key's")
        over = await devices.beyond(tx, account_no, limits.DEVICES_MAX - 1)
        if over:
            await self._remove.run(tx, account_no, over)


def check_device_id(device_id: str | None) -> str | None:
    """A device id that a client may choose; an empty one counts as none."""
    if not device_id:
        return None
    if len(device_id) > limits.DEVICE_ID_MAX or not device_id.isprintable():
        raise Refused(Reason.INVALID_PARAM, "This device id cannot be used")
    return device_id


def device_name_of(name: str | None) -> str | None:
    """A device's display name as it is kept: printable and not too long."""
    if name is None:
        return None
    return "".join(c for c in name if c.isprintable())[: limits.DEVICE_NAME_MAX] or None
