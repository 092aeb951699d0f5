"""Accounts of application services: their senders, and the users that they register.

They have no password; whoever holds the service's token acts as them.
"""

# AS #server-admin-style-permissions

from __future__ import annotations

from kerwen.accounts.actions.log_in import DeviceWanted, LogIn
from kerwen.accounts.actions.open_session import Session
from kerwen.accounts.actions.register import Register, Wanted
from kerwen.accounts.address import split_user_id, user_id_of
from kerwen.accounts.store import accounts
from kerwen.app_services import store
from kerwen.app_services.registration import Service, Services, service_localpart
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Tx


class Enrol:
    """Registers and logs in by a service's token."""

    def __init__(
        self, db: Database, services: Services, register: Register, log_in: LogIn, domain: str
    ) -> None:
        self._db = db
        self._services = services
        self._register = register
        self._log_in = log_in
        self._domain = domain

    async def senders(self) -> None:
        """Makes the senders' accounts that are not there yet; at every start. `ValueError` where
        a sender would be somebody else."""
        for service in self._services.all:
            localpart = service.sender_localpart
            async with self._db.read() as snap:
                account = await accounts.by_localpart(snap, localpart)
                owner = await store.service_of(snap, account.account_no) if account else None
            if account is None:
                await self._make(service, localpart, Wanted(None, None, log_in=False))
            elif owner != service.id:
                raise ValueError(
                    f"{service.id}: sender_localpart {localpart!r} is an account already, and not"
                    " this service's"
                )

    async def register(self, token: str | None, wanted: Wanted) -> tuple[str, Session | None]:
        """`m.login.application_service` of `/register`. Says `EXCLUSIVE`, `USER_IN_USE`."""
        service = self._service(token)
        if wanted.localpart is None:
            raise Refused(Reason.MISSING_PARAM, "A username is needed")
        localpart = self._localpart(wanted.localpart)
        self._check_own(service, user_id_of(localpart, self._domain))
        async with self._db.read() as snap:
            if await accounts.taken(snap, localpart):
                raise Refused(Reason.USER_IN_USE, "This name is taken")
        return await self._make(service, localpart, wanted)

    async def log_in(self, token: str | None, named: object, device: DeviceWanted) -> Session:
        """`m.login.application_service` of `/login`; `named` is the `user` of an identifier."""
        service = self._service(token)
        if not isinstance(named, str) or not named:
            raise Refused(Reason.MISSING_PARAM, "The identifier names no user")
        localpart = self._localpart(named)
        self._check_own(service, user_id_of(localpart, self._domain))
        async with self._db.read() as snap:
            account = await accounts.by_localpart(snap, localpart)
            owner = await store.service_of(snap, account.account_no) if account else None
        if account is None or not account.active or owner != service.id:
            raise Refused(Reason.FORBIDDEN, "The service has not registered this user")
        return await self._log_in.by_service(account, device)

    async def _make(
        self, service: Service, localpart: str, wanted: Wanted
    ) -> tuple[str, Session | None]:
        async def own(tx: Tx, account_no: int, user_id: str) -> None:
            await store.add_user(tx, account_no, service.id)

        return await self._register.run(
            Wanted(
                localpart,
                None,
                wanted.device_id,
                wanted.device_name,
                wanted.refreshable,
                wanted.log_in,
                kind="bot",
                address=wanted.address,
                by_service=own,
            )
        )

    def _service(self, token: str | None) -> Service:
        if token is None:
            raise Refused(Reason.MISSING_TOKEN, "Missing access token")
        service = self._services.by_token(token)
        if service is None:
            raise Refused(Reason.UNKNOWN_TOKEN, "This is no application service's token")
        return service

    def _check_own(self, service: Service, user_id: str) -> None:
        if not service.has_user(user_id):
            raise Refused(Reason.EXCLUSIVE, "The user is outside of the service's namespaces")
        if self._services.user_is_claimed(user_id, besides=service):
            raise Refused(Reason.EXCLUSIVE, "The user is another application service's")

    def _localpart(self, text: str) -> str:
        if text.startswith("@"):
            text, domain = split_user_id(text)
            if domain != self._domain:
                raise Refused(Reason.INVALID_USERNAME, "The user is of another server")
        try:
            return service_localpart(text)
        except ValueError as error:
            raise Refused(Reason.INVALID_USERNAME, str(error)) from None
