"""What an administrator may do to an account: lock, suspend, look (CS #account-moderation)."""

from __future__ import annotations

from kerwen.accounts.address import localpart_named, split_user_id
from kerwen.accounts.store import accounts, devices
from kerwen.accounts.store.accounts import Account
from kerwen.accounts.store.devices import Device
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind, Snap


class Moderate:
    """The door has checked that the caller is an administrator; `by` is its account."""

    def __init__(self, db: Database, domain: str) -> None:
        self._db = db
        self._domain = domain

    async def look(self, user_id: str) -> Account:
        """An account that may be moderated.

        `Refused`: INVALID_PARAM for another server's user, NOT_FOUND for nobody or a closed
        account, FORBIDDEN for an administrator.
        """
        async with self._db.read() as snap:
            return await self._target(snap, user_id)

    async def lock(self, by: int, user_id: str, locked: bool) -> None:
        """CS #account-locking; nobody locks themselves out."""
        async with self._db.write() as tx:
            account = await self._target(tx, user_id, by)
            await accounts.set_locked(tx, account.account_no, locked)
            tx.change(Kind.ACCOUNT, account.account_no)

    async def suspend(self, by: int, user_id: str, suspended: bool) -> None:
        """CS #account-suspension."""
        async with self._db.write() as tx:
            account = await self._target(tx, user_id, by)
            await accounts.set_suspended(tx, account.account_no, suspended)
            tx.change(Kind.ACCOUNT, account.account_no)

    async def set_admin(self, user_id: str, admin: bool) -> None:
        """Makes an administrator, or no longer; for the command line."""
        async with self._db.write() as tx:
            account = await self._account(tx, user_id)
            await accounts.set_admin(tx, account.account_no, admin)
            tx.change(Kind.ACCOUNT, account.account_no)

    async def devices_of(self, user_id: str) -> list[Device]:
        """Where an account is logged in (CS #server-administration)."""
        async with self._db.read() as snap:
            account = await self._account(snap, user_id)
            return await devices.of(snap, account.account_no)

    async def page(self, after: str, most: int) -> list[Account]:
        """Accounts in the order of their names, after a name."""
        async with self._db.read() as snap:
            return await accounts.page(snap, after, most)

    async def account(self, user_id: str) -> Account:
        """An open account, administrators too; `Refused(NOT_FOUND)`."""
        async with self._db.read() as snap:
            return await self._account(snap, user_id)

    async def _target(self, snap: Snap, user_id: str, by: int = 0) -> Account:
        account = await self._account(snap, user_id)
        if account.account_no == by:
            raise Refused(Reason.FORBIDDEN, "You cannot do this to your own account")
        if account.admin:
            raise Refused(Reason.FORBIDDEN, "This account is an administrator's")
        return account

    async def _account(self, snap: Snap, user_id: str) -> Account:
        name, domain = split_user_id(user_id)
        if domain != self._domain:
            raise Refused(Reason.INVALID_PARAM, "This user is not of this server")
        # users of application services have names that people cannot have
        localpart = localpart_named(user_id, self._domain) or name
        account = await accounts.by_localpart(snap, localpart)
        if account is None or not account.active:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        return account
