"""Signs in to mail: proves who asks, and opens the vault for as long as the session lasts.

By password, app password or access token. Sessions of one account share the open vault. A password
that was proved of late costs no Argon2id again (`kerwen/accounts/proven.py`).
"""

# design.md §5

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from kerwen.accounts.address import localpart_named
from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.store import accounts, factors, tokens
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.tokens import slot_key
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.unlock import Lease, OpenVaults, Unlocked
from kerwen.storage.database import Change, Database, Kind, Snap
from kerwen.storage.feed import Feed
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret, Vaults

log = logging.getLogger(__name__)

_USED_STEP_MS: Final = 3_600_000  # an app password's last use is written down this often


class ProvePassword(Protocol):
    """The check of an account's password."""

    async def password(self, localpart: str | None, password: str) -> tuple[Account, PasswordKeys]:
        """`Refused(WRONG_PASSWORD)`, SECOND_FACTOR_NEEDED, ACCOUNT_LOCKED."""


class AppEntry(Protocol):
    """Whose an app password is."""

    @property
    def account(self) -> Account:
        """The account."""

    @property
    def secret(self) -> Secret:
        """What opens the vault."""


class CheckAppPassword(Protocol):
    """The check of app passwords."""

    async def check(self, localpart: str, password: str) -> AppEntry | None:
        """None where this is no app password of theirs."""


class TokenCaller(Protocol):
    """Whose an access token is."""

    @property
    def account_no(self) -> int:
        """Its account."""

    @property
    def token_no(self) -> int:
        """Its number."""

    @property
    def locked(self) -> bool:
        """Whether the account is locked."""


class Tokens(Protocol):
    """The check of access tokens."""

    async def caller(self, token: str) -> TokenCaller:
        """`Refused(UNKNOWN_TOKEN)`, EXPIRED_TOKEN."""


class Proved(msgspec.Struct, frozen=True):
    """Who showed which secret."""

    account: Account
    secret: tuple[str, str]  # kind and reference
    proof_hash: bytes  # of a password; a changed one has another


class SignedIn:
    """Somebody who signed in; `close` when the session ends. `ended`: it may not go on."""

    __slots__ = ("_owner", "account_no", "lease", "localpart", "on_end", "proof_hash", "secret")

    def __init__(
        self, owner: SignIn, account: Account, lease: Lease, secret: tuple[str, str], proof: bytes
    ) -> None:
        self._owner = owner
        self.account_no = account.account_no
        self.localpart = account.localpart
        self.lease = lease
        self.secret = secret
        self.proof_hash = proof  # of the password that was shown; a changed one has another
        self.on_end: Callable[[], None] | None = None

    @property
    def unlocked(self) -> Unlocked:
        """The open vault."""
        return self.lease.unlocked

    @property
    def address(self) -> str:
        """The account's mail address."""
        return self._owner.address_of(self.localpart)

    def close(self) -> None:
        """The session ends; the last one closes the vault."""
        self._owner.signed_out(self)
        self.lease.close()


class SignIn:
    """Makes and watches over sessions of mail."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        domain: str,
        prove: ProvePassword,
        apps: CheckAppPassword,
        access: Tokens,
        vaults: Vaults,
        open_vaults: OpenVaults,
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._prove = prove
        self._apps = apps
        self._access = access
        self._vaults = vaults
        self._open = open_vaults
        self._clock = clock
        self._sessions: dict[int, set[SignedIn]] = {}
        self._used: dict[str, int] = {}
        self._doubted: set[int] = set()  # accounts in which something changed
        self.opened: Callable[[Unlocked], Awaitable[object]] | None = None
        """What is done when a vault was opened, before its owner sees anything."""
        self.doubt: Callable[[], None] | None = None  # told when `check_doubted` has work
        feed.follow(self._follow, Kind.ACCOUNT)

    def __len__(self) -> int:
        return sum(map(len, self._sessions.values()))

    async def by_password(self, name: str, password: str) -> SignedIn:
        """By name or address, and password or app password. `Refused`: WRONG_PASSWORD,
        SECOND_FACTOR_NEEDED (an app password is), ACCOUNT_LOCKED, LIMIT_EXCEEDED (too many
        sessions), VAULT_CLOSED."""
        account, secret, proof = await self._proof_of(name, password)
        return await self._enter(account, secret, proof)

    async def check_password(self, name: str, password: str) -> Proved:
        """Who shows this password or app password; opens nothing (SMTP). `Refused`:
        WRONG_PASSWORD, SECOND_FACTOR_NEEDED, ACCOUNT_LOCKED."""
        account, secret, proof = await self._proof_of(name, password)
        return Proved(account, (str(secret[0]), secret[1]), proof)

    async def _proof_of(self, name: str, password: str) -> tuple[Account, Secret, bytes]:
        localpart = self.localpart_of(name)
        entry = await self._apps.check(localpart, password) if localpart is not None else None
        if entry is None:
            account, keys = await self._prove.password(localpart, password)
            proof = hashlib.sha256(keys.proof).digest()
            return account, (SlotKind.PASSWORD, "", keys.slot), proof
        if entry.account.locked:
            raise Refused(Reason.ACCOUNT_LOCKED, "This account has been locked")
        await self._note_use(entry.secret[1])
        return entry.account, entry.secret, b""

    async def by_token(self, name: str | None, token: str) -> SignedIn:
        """By access token; a name that is not its owner's is refused."""
        account, secret = await self._owner_of(name, token)
        return await self._enter(account, secret, b"")

    async def check_token(self, name: str | None, token: str) -> Proved:
        """Whose access token this is; opens nothing (SMTP). `Refused`: UNKNOWN_TOKEN,
        EXPIRED_TOKEN, ACCOUNT_LOCKED."""
        account, secret = await self._owner_of(name, token)
        return Proved(account, (str(secret[0]), secret[1]), b"")

    async def holds(self, proved: Proved, *, write: bool = False) -> bool:
        """Whether what was shown still proves who shows it; `write`: and may do more than read."""
        async with self._db.read() as snap:
            good = await self._good(snap, proved.account.account_no)
            account = await accounts.by_no(snap, proved.account.account_no)
        if good is None or account is None or (write and account.suspended):
            return False
        return good(proved.secret, proved.proof_hash)

    async def _owner_of(self, name: str | None, token: str) -> tuple[Account, Secret]:
        caller = await self._access.caller(token)
        if caller.locked:
            raise Refused(Reason.ACCOUNT_LOCKED, "This account has been locked")
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, caller.account_no)
        named = self.localpart_of(name) if name else None
        if account is None or not account.active or (name and named != account.localpart):
            raise Refused(Reason.UNKNOWN_TOKEN, "This is not a token of this account")
        return account, (SlotKind.TOKEN, str(caller.token_no), slot_key(token))

    def localpart_of(self, name: str) -> str | None:
        """The local part of `name`, `name@domain` or `@name:domain`; None: not one of ours."""
        local, at, domain = name.rpartition("@")
        if at and local:
            if domain.lower() != self._domain.partition(":")[0].lower():
                return None
            name = local
        return localpart_named(name, self._domain)

    async def _enter(self, account: Account, secret: Secret, proof: bytes) -> SignedIn:
        lease = await self._open.open(account.account_no, *secret)
        others = self._sessions.setdefault(account.account_no, set())
        if len(others) >= limits.IMAP_CONNECTIONS_PER_ACCOUNT:
            lease.close()
            raise Refused(Reason.LIMIT_EXCEEDED, "Too many sessions of this account")
        signed = SignedIn(self, account, lease, (str(secret[0]), secret[1]), proof)
        others.add(signed)
        if self.opened is not None:
            try:
                await self.opened(lease.unlocked)
            except Exception:
                log.exception("what is done at sign-in broke")
        return signed

    def signed_out(self, signed: SignedIn) -> None:
        """A session ended."""
        others = self._sessions.get(signed.account_no)
        if others is None:
            return
        others.discard(signed)
        if not others:
            del self._sessions[signed.account_no]

    async def _note_use(self, ref: str) -> None:
        now = self._clock()
        if now - self._used.get(ref, 0) < _USED_STEP_MS:
            return
        if len(self._used) > 10_000:
            self._used.clear()
        self._used[ref] = now
        async with self._db.write() as tx:
            await tokens.use_app_password(tx, int(ref), now)

    # --- accounts change

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, account_no, _ in changes:
            if kind == Kind.ACCOUNT and account_no in self._sessions:
                self._doubted.add(account_no)
            elif kind == Kind.JUMP:
                self._doubted.update(self._sessions)
        if self._doubted and self.doubt is not None:
            self.doubt()

    async def still(self, account_no: int, secret: tuple[str, str], proof_hash: bytes) -> bool:
        """Whether a secret still lets in."""
        async with self._db.read() as snap:
            good = await self._good(snap, account_no)
        return good is not None and good(secret, proof_hash)

    async def may_write(self, signed: SignedIn) -> bool:
        """Whether somebody who is signed in may do more than read."""
        async with self._db.read(single=True) as snap:
            account = await accounts.by_no(snap, signed.account_no)
        return account is not None and account.active and not account.suspended

    def address_of(self, localpart: str) -> str:
        """The mail address of an account here."""
        return f"{localpart}@{self._domain.partition(':')[0].lower()}"

    def is_doubted(self, account_no: int) -> bool:
        """Whether something changed in an account, and its sessions were not looked at yet."""
        return account_no in self._doubted

    async def check_doubted(self) -> None:
        """Ends the sessions whose account was locked or closed, or whose password, app password
        or token is no longer one, or no longer enough."""
        while self._doubted:
            account_no = self._doubted.pop()
            async with self._db.read() as snap:
                ended = await self._ended(snap, account_no)
            for signed in ended:
                if signed.on_end is not None:
                    signed.on_end()

    async def _ended(self, snap: Snap, account_no: int) -> list[SignedIn]:
        sessions = list(self._sessions.get(account_no, ()))
        good = await self._good(snap, account_no)
        if good is None:
            return sessions
        return [one for one in sessions if not good(one.secret, one.proof_hash)]

    async def _good(
        self, snap: Snap, account_no: int
    ) -> Callable[[tuple[str, str], bytes], bool] | None:
        """What tells whether a secret is still one of an account's; None: nobody may come in."""
        account = await accounts.by_no(snap, account_no)
        if account is None or not account.active or account.locked:
            return None
        slots = set(await self._vaults.slots(snap, account_no))
        kept = await accounts.password(snap, account_no)
        proof = kept.proof_hash if kept is not None else b""
        more = await factors.stands(snap, account_no)  # the password alone is not enough

        def good(secret: tuple[str, str], proof_hash: bytes) -> bool:
            if secret[0] == SlotKind.PASSWORD and (more or proof_hash != proof):
                return False
            return secret in slots

        return good
