"""Finds who asks: access token → account and device.

The cache is changed by what the feed tells of an account, never by time, except that a token's
own end is looked at. A hit costs a SHA-256 and a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import devices, tokens
from kerwen.accounts.store.tokens import Holder
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Change, Database, Kind, Snap, retrying
from kerwen.storage.feed import Feed
from kerwen.vault.slots import SlotKind

C = TypeVar("C", covariant=True)

RETIRED_LIFE_MS = 30_000
"""How long an access token outlives the refresh that replaced it: requests under way."""
RESTORED_MS = 30 * 24 * 3_600_000
"""After a restore, tokens newer than the backup end softly so long: clients keep their keys."""
_SEEN_STEP_MS = 60_000
_SEEN_AT_ONCE = 1_000


async def unknown_token(snap: Snap, now_ms: int) -> Reason:
    """Why a token that is not known is refused (CS #soft-logout)."""
    if await tokens.restored_since(snap, now_ms - RESTORED_MS):
        return Reason.EXPIRED_TOKEN
    return Reason.UNKNOWN_TOKEN


class MakeCaller(Protocol[C]):
    """Makes the door's own noun for who asks."""

    def __call__(
        self,
        *,
        account_no: int,
        user_id: str,
        device_no: int,
        device_id: str,
        token_no: int,
        admin: bool,
        suspended: bool,
        locked: bool,
        oauth: bool,
    ) -> C:
        """Called once for each token that enters the cache."""


class _Entry(Generic[C]):
    __slots__ = ("account_no", "caller", "device_no", "expires_ms", "seen_ms", "stored_ms")

    def __init__(self, caller: C, holder: Holder, now: int) -> None:
        self.caller = caller
        self.account_no = holder.account_no
        self.device_no = holder.device_no
        self.expires_ms = holder.expires_ms
        self.seen_ms = now
        self.stored_ms = 0


class Authenticate(Generic[C]):
    """The authenticator of the doors. `make` is the door's caller type."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        domain: str,
        vaults: Vaults,
        make: MakeCaller[C],
        clock: Clock = now_ms,
        most: int = limits.TOKEN_CACHE_MAX,
    ) -> None:
        self._db = db
        self._domain = domain
        self._vaults = vaults
        self._make = make
        self._clock = clock
        self._most = most
        self._entries: dict[bytes, _Entry[C]] = {}
        self._of_account: dict[int, set[bytes]] = {}
        self._gone: dict[int, int] = {}  # device → last seen, of entries that made room
        self._told = 0  # how often the feed changed the cache: a load under way notices
        feed.follow(self._follow, Kind.ACCOUNT)

    async def caller(self, token: str) -> C:
        """Who asks; `Refused(UNKNOWN_TOKEN)`, or `EXPIRED_TOKEN` where a refresh would help."""
        hashed = sha256(token.encode(errors="replace")).digest()
        entry = self._entries.get(hashed)
        if entry is not None:
            now = self._clock()
            if not entry.expires_ms or now < entry.expires_ms:
                entry.seen_ms = now
                return entry.caller
        return await self._load(hashed)

    async def _load(self, hashed: bytes) -> C:
        told = self._told
        now = self._clock()
        async with self._db.read() as snap:
            holder = await tokens.holder(snap, hashed)
            if holder is None:
                raise Refused(await unknown_token(snap, now), "Unknown access token")
            if holder.expires_ms and now >= holder.expires_ms:
                self._forget(hashed)
                if await tokens.refreshable(snap, holder.device_no, now):
                    raise Refused(Reason.EXPIRED_TOKEN, "The access token has expired")
                raise Refused(Reason.UNKNOWN_TOKEN, "The session has ended")
        if holder.retires:
            await retrying(lambda: self._retire(holder))
            return await self._load(hashed)
        entry = _Entry(self._caller(holder), holder, now)
        if self._told == told:
            self._keep(hashed, entry)
        return entry.caller

    async def _retire(self, holder: Holder) -> None:
        """The first use of a refreshed token ends the old refresh token (CS #refresh)."""
        async with self._db.write() as tx:
            await tokens.retire(tx, holder.retires, self._clock() + RETIRED_LIFE_MS)
            await self._vaults.drop_slot(
                tx, holder.account_no, SlotKind.REFRESH, str(holder.retires)
            )
            tx.change(Kind.ACCOUNT, holder.account_no)

    def _caller(self, holder: Holder) -> C:
        return self._make(
            account_no=holder.account_no,
            user_id=user_id_of(holder.localpart, self._domain),
            device_no=holder.device_no,
            device_id=holder.device_id,
            token_no=holder.token_no,
            admin=holder.admin,
            suspended=holder.suspended,
            locked=holder.locked,
            oauth=holder.oauth,
        )

    def _keep(self, hashed: bytes, entry: _Entry[C]) -> None:
        if len(self._entries) >= self._most:
            self._forget(next(iter(self._entries)))
        self._entries[hashed] = entry
        self._of_account.setdefault(entry.account_no, set()).add(hashed)

    def _forget(self, hashed: bytes) -> None:
        entry = self._entries.pop(hashed, None)
        if entry is None:
            return
        if entry.seen_ms > entry.stored_ms:
            self._gone[entry.device_no] = entry.seen_ms
        others = self._of_account[entry.account_no]
        others.discard(hashed)
        if not others:
            del self._of_account[entry.account_no]

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, subject, _ in changes:
            if kind == Kind.ACCOUNT:
                self._told += 1
                for hashed in list(self._of_account.get(subject, ())):
                    self._forget(hashed)

    async def store_seen(self) -> int:
        """Writes down when devices were last seen; for a timer, every few minutes."""
        times = self._gone
        self._gone = {}
        for entry in self._entries.values():
            if entry.seen_ms - entry.stored_ms >= _SEEN_STEP_MS:
                entry.stored_ms = entry.seen_ms
                times[entry.device_no] = max(entry.seen_ms, times.get(entry.device_no, 0))
        rows = list(times.items())
        for start in range(0, len(rows), _SEEN_AT_ONCE):
            async with self._db.write() as tx:
                await devices.seen_many(tx, rows[start : start + _SEEN_AT_ONCE])
        return len(rows)
