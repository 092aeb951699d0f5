"""Who acts when a request comes with an application service's token.

Its own sender, or the user of its own whom the request names (AS #identity-assertion). It must
have registered that user itself: a namespace that covers people gives no way to act as them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from kerwen.accounts.store import accounts, devices
from kerwen.app_services import store
from kerwen.app_services.registration import Service, Services
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Snap

C = TypeVar("C", covariant=True)


class MakeServiceCaller(Protocol[C]):
    """Makes the door's own noun for who asks."""

    def __call__(
        self,
        *,
        account_no: int,
        user_id: str,
        device_no: int,
        device_id: str,
        suspended: bool,
        locked: bool,
        service: str,
        limited: bool,
    ) -> C:
        """Called for each request."""


class Masquerade(Generic[C]):
    """`make` is the door's caller type; `alive` hears that a service has spoken to us."""

    def __init__(
        self,
        db: Database,
        services: Services,
        make: MakeServiceCaller[C],
        alive: Callable[[Service], None] = lambda service: None,
    ) -> None:
        self._db = db
        self._services = services
        self._make = make
        self._alive = alive

    def knows(self, token: str) -> bool:
        """Whether a token is a service's."""
        return self._services.by_token(token) is not None

    async def caller(self, token: str, user_id: str | None, device_id: str | None) -> C:
        """Who acts. Says `FORBIDDEN`, `UNKNOWN_DEVICE`."""
        service = self._services.by_token(token)
        if service is None:
            raise Refused(Reason.UNKNOWN_TOKEN, "Unknown access token")
        self._alive(service)
        acting = user_id or service.sender
        if not service.has_user(acting):
            raise Refused(Reason.FORBIDDEN, "The application service may not act as this user")
        localpart = acting[1:].partition(":")[0]
        async with self._db.read() as snap:
            account = await accounts.by_localpart(snap, localpart)
            if account is None or not await self._registered(snap, service, account.account_no):
                raise Refused(
                    Reason.FORBIDDEN, "The application service has not registered this user"
                )
            if not account.active:
                raise Refused(Reason.ACCOUNT_DEACTIVATED, "This account has been closed")
            device_no = await self._device(snap, account.account_no, device_id)
        return self._make(
            account_no=account.account_no,
            user_id=acting,
            device_no=device_no,
            device_id=device_id or "",
            suspended=account.suspended,
            locked=account.locked,
            service=service.id,
            limited=service.rate_limited and acting != service.sender,
        )

    async def _registered(self, snap: Snap, service: Service, account_no: int) -> bool:
        return await store.service_of(snap, account_no) == service.id

    async def _device(self, snap: Snap, account_no: int, device_id: str | None) -> int:
        """The number of a device. Without one, a number that no device has and that is the
        user's alone: by it transaction ids are told apart."""
        if not device_id:
            return -account_no
        device = await devices.one(snap, account_no, device_id)
        if device is None:
            raise Refused(Reason.UNKNOWN_DEVICE, "The user has no such device")
        return device.device_no
