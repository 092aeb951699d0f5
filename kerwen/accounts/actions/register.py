"""Registers an account: name, password, vault, first device, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kerwen.accounts.actions.open_session import (
    OpenSession,
    Session,
    check_device_id,
    device_name_of,
)
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.vaults import Vaults, password_slot
from kerwen.accounts.address import localpart_asked_for, user_id_of
from kerwen.accounts.password import check_policy
from kerwen.accounts.store import accounts, invitations
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store import users
from kerwen.storage.database import Database, Kind, Tx
from kerwen.vault.store import Secret

OnRegistered = Callable[[Tx, int, str], Awaitable[None]]
"""`(tx, account_no, user_id)`: adds what another subject keeps of a new account."""

_NAME_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a registration asks for. `localpart` None: any free name."""

    localpart: str | None
    password: str | None
    device_id: str | None = None
    device_name: str | None = None
    refreshable: bool = False
    log_in: bool = True
    invitation: str | None = None  # a registration token to count
    admin: bool = False
    kind: str = "person"
    address: str = ""
    by_service: OnRegistered | None = None  # an application service, which knows the name is good


class Register:
    """`mode` is open, token or closed; the command line may always register."""

    def __init__(
        self,
        db: Database,
        domain: str,
        stretcher: Stretcher,
        sessions: OpenSession,
        vaults: Vaults,
        mode: str,
        *,
        password_min: int = limits.PASSWORD_MIN,
        reserved: Callable[[str], bool] = lambda localpart: False,
        on_registered: Sequence[OnRegistered] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._db = db
        self._domain = domain
        self._stretcher = stretcher
        self._sessions = sessions
        self._vaults = vaults
        self.mode = mode
        self._password_min = password_min
        self._reserved = reserved
        self._others = tuple(on_registered)
        self._clock = clock

    async def check_name(self, asked: str) -> str:
        """The local part that would be given; refuses what is taken, reserved or no name."""
        localpart = localpart_asked_for(asked)
        user_id_of(localpart, self._domain)
        if self._reserved(localpart):
            raise Refused(Reason.EXCLUSIVE, "This name is reserved for an application service")
        async with self._db.read() as snap:
            if await accounts.taken(snap, localpart):
                raise Refused(Reason.USER_IN_USE, "This name is taken")
        return localpart

    def check_password(self, password: str, localpart: str) -> None:
        """`Refused(WEAK_PASSWORD)`."""
        check_policy(password, localpart, self._password_min)

    async def run(self, wanted: Wanted) -> tuple[str, Session | None]:
        """The new user id, and a session if one was asked for.

        `Refused`: INVALID_USERNAME, USER_IN_USE, EXCLUSIVE, WEAK_PASSWORD, and FORBIDDEN where
        the invitation was used up meanwhile.
        """
        localpart = await self._name(wanted)
        device_id = check_device_id(wanted.device_id)
        user_id = user_id_of(localpart, self._domain)
        slots: list[Secret] = []
        kept = None
        if wanted.password is not None:
            self.check_password(wanted.password, localpart)
            keys, kept = await self._stretcher.fresh(wanted.password)
            slots.append(password_slot(keys.slot))
        pair = await self._sessions.draw(wanted.refreshable) if wanted.log_in else None
        if pair is not None:
            slots.extend(pair.secrets())
        fresh_no = await self._db.take_id("user")
        device_no = await self._sessions.fresh_device_no() if pair else 0
        async with self._db.write() as tx:
            account_no = await self._add(tx, user_id, localpart, wanted, fresh_no)
            if kept is not None:
                await accounts.set_password(tx, account_no, kept, self._clock())
            await self._vaults.create(tx, account_no, slots)
            for other in self._others:
                await other(tx, account_no, user_id)
            if wanted.by_service is not None:
                await wanted.by_service(tx, account_no, user_id)
            session = None
            if pair is not None:
                session = await self._sessions.open(
                    tx,
                    account_no,
                    user_id,
                    device_no,
                    device_id,
                    device_name_of(wanted.device_name),
                    wanted.address,
                    pair,
                )
            tx.change(Kind.ACCOUNT, account_no)
        return user_id, session

    async def _name(self, wanted: Wanted) -> str:
        if wanted.localpart is not None and wanted.by_service is not None:
            return wanted.localpart
        if wanted.localpart is not None:
            return await self.check_name(wanted.localpart)
        return "".join(secrets.choice(_NAME_LETTERS) for _ in range(12))

    async def _add(
        self, tx: Tx, user_id: str, localpart: str, wanted: Wanted, fresh_no: int
    ) -> int:
        now = self._clock()
        account_no = await users.add_user(tx, user_id, fresh_no)
        if not await accounts.add(
            tx, account_no, localpart, now, kind=wanted.kind, admin=wanted.admin
        ):
            raise Refused(Reason.USER_IN_USE, "This name is taken")
        if wanted.invitation is not None and not await invitations.use_token(
            tx, wanted.invitation, now
        ):
            raise Refused(Reason.FORBIDDEN, "The registration token is used up")
        return account_no
