"""What `kerwen account …` asks the server to do, by the words of the command line.

Whoever reaches these has the data folder, so nobody's rights are asked; what they cannot do is
in the actions themselves: no log-in as somebody, no reading of anything sealed.
"""

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.register import Wanted
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store.accounts import Account
from kerwen.api.admin_socket import Deed
from kerwen.api.client.accounts import Accounts
from kerwen.base.errors import Reason, Refused
from kerwen.media.actions.quota import Quota

_PAGE = 500
_DAY_MS = 86_400_000


class AccountDeeds:
    """The commands below `kerwen account`."""

    def __init__(self, domain: str, accounts: Accounts, quota: Quota) -> None:
        self._domain = domain
        self._register = accounts.register
        self._moderate = accounts.moderate
        self._deactivate = accounts.deactivate
        self._app_passwords = accounts.app_passwords
        self._prove = accounts.prove
        self._invite = accounts.invite
        self._quota = quota

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {
            "account add": self.add,
            "account list": self.list,
            "account lock": self.lock,
            "account unlock": self.unlock,
            "account delete": self.delete,
            "account quota": self.quota,
            "account app-password": self.app_password,
            "account invite": self.invite,
        }

    async def add(self, name: str, password: str, admin: bool = False) -> str:
        """`kerwen account add NAME [--admin]`; the new user id."""
        wanted = Wanted(name, password, log_in=False, admin=admin)
        user_id, _ = await self._register.run(wanted)
        return user_id

    async def list(self) -> list[dict[str, str]]:
        """`kerwen account list`: closed accounts as well, for their names stay taken."""
        found: list[Account] = []
        while True:
            page = await self._moderate.page(found[-1].localpart if found else "", _PAGE)
            found += page
            if len(page) < _PAGE:
                break
        return [{"name": a.localpart, "standing": _standing(a)} for a in found]

    async def lock(self, name: str) -> None:
        """`kerwen account lock NAME`."""
        await self._moderate.lock(0, self._user_id(name), True)

    async def unlock(self, name: str) -> None:
        """`kerwen account unlock NAME`."""
        await self._moderate.lock(0, self._user_id(name), False)

    async def delete(self, name: str, erase: bool = False) -> None:
        """`kerwen account delete NAME [--erase]`."""
        await self._deactivate.run(await self._account_no(name), erase)

    async def quota(self, name: str, size_bytes: int | None = None) -> dict[str, Any]:
        """`kerwen account quota NAME [SIZE]`; -1 gives back the server's own quota."""
        account_no = await self._account_no(name)
        if size_bytes is not None:
            await self._quota.set_quota(account_no, None if size_bytes < 0 else size_bytes)
        usage = await self._quota.usage(account_no)
        return {"used_bytes": usage.bytes, "files": usage.files, "quota_bytes": usage.quota}

    async def app_password(self, name: str, label: str, password: str) -> str:
        """`kerwen account app-password NAME LABEL`: with the account's own password only, and
        with a space and the code behind it where there is a second factor."""
        account, keys = await self._prove.password_and_code(name, password)
        _, text = await self._app_passwords.make(account.account_no, label, keys.slot)
        return text

    async def invite(self, uses: int = 1, days: int = 0) -> str:
        """`kerwen account invite [--uses N] [--days N]`: the token."""
        if uses < 1 or days < 0:
            raise Refused(Reason.INVALID_PARAM, "An invitation is good for one use or more")
        return (await self._invite.make(0, None, uses, days * _DAY_MS)).token

    def _user_id(self, name: str) -> str:
        return user_id_of(name.lower(), self._domain)

    async def _account_no(self, name: str) -> int:
        return (await self._moderate.account(self._user_id(name))).account_no


def _standing(account: Account) -> str:
    if not account.active:
        return "closed"
    words = [
        word
        for word, so in (
            ("administrator", account.admin),
            ("locked", account.locked),
            ("suspended", account.suspended),
            ("bot", account.kind != "person"),
        )
        if so
    ]
    return ", ".join(words) or "open"
