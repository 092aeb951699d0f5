"""Who gets the mail of an address: accounts, sub-addresses, aliases, groups, and the catch-all.

ayna@kerwen.test            the account ayna
ayna+shop@kerwen.test       the same, with the detail `shop`
office@kerwen.test          an alias: everybody it names, also elsewhere
postmaster, abuse           aliases if there are such, else the administrators
shop.x4k3…@kerwen.test      a masked address: the account that made it, until it is shut
friends@kerwen.test         a list: the house, which sends it on; friends+bounces: its owner
dmarc-reports, tls-reports  the house itself, which reads them
anything@kerwen.test        whom `*` names, if anybody
"""

# RFC 5321 §4.5.1, RFC 5233

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.accounts.address import localpart_named
from kerwen.accounts.store import accounts
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import dns, masked, report_letter
from kerwen.mail.store import aliases, lists, masks
from kerwen.storage.database import Database, Snap, retrying

DETAIL: Final = "+"
LEAVE: Final = "leave"
_ROLES: Final = frozenset({"postmaster", "abuse", "hostmaster", "webmaster"})


class Found(msgspec.Struct, frozen=True):
    """Accounts with the detail that was asked for, and addresses elsewhere."""

    accounts: tuple[tuple[int, str], ...]
    elsewhere: tuple[str, ...] = ()
    house: str = ""  # the house takes it itself: reports of other servers, a list's name


async def check_free(snap: Snap, local: str) -> None:
    """Whether an account may be made of a name: not of one that mail has already given away, nor
    of those that others trust (certificates are given to who reads `hostmaster`).
    `Refused(USER_IN_USE)`."""
    taken = local in _ROLES or local in report_letter.NAMES
    taken = taken or bool(await aliases.targets(snap, local))
    taken = taken or await lists.one(snap, local) is not None
    if taken or (masked.is_mask(local) and await masks.find(snap, local) is not None):
        raise Refused(Reason.USER_IN_USE, "This name belongs to the mail of this server")


class Recipients:
    """Looks recipients up. `domain` is ours, without a port."""

    def __init__(self, db: Database, domain: str) -> None:
        self._db = db
        self.domain = domain.partition(":")[0].lower()

    def is_local(self, address: str) -> bool:
        """Whether an address is of our domain (or of none, as `<postmaster>`)."""
        _, at, host = address.rpartition("@")
        return not at or dns.plain(host) == self.domain

    async def find(self, address: str) -> Found:
        """Who gets the mail of an address of ours. Says `UNKNOWN_RECIPIENT`."""
        async with self._db.read() as snap:
            return await self.look(snap, address)

    async def look(self, snap: Snap, address: str) -> Found:
        """`find` within a snapshot."""
        local = address.rpartition("@")[0] if "@" in address else address
        local = local.lower() if local.isascii() else local
        found = await _Look(snap, self).name(local)
        if not found.accounts and not found.elsewhere and not found.house:
            raise Refused(Reason.UNKNOWN_RECIPIENT, "There is no such recipient here")
        return found

    async def owns(self, account_no: int, localpart: str, address: str) -> bool:
        """Whether an account may write as an address: its own (with any detail), or a name that
        leads to it."""
        local, at, _ = address.rpartition("@")
        if not at or not self.is_local(address):
            return False
        if local.lower().partition(DETAIL)[0] == localpart:
            return True
        async with self._db.read() as snap:
            found = await _Look(snap, self).name(local.lower())
        return any(account_no == no for no, _ in found.accounts)

    async def own_addresses(self, snap: Snap, nos: Iterable[int]) -> tuple[str, ...]:
        """The addresses of accounts that lead to nobody else."""
        found = [await accounts.by_no(snap, no) for no in nos]
        return tuple(f"{one.localpart}@{self.domain}" for one in found if one is not None)

    async def add(self, local: str, target: str) -> None:
        """Lets a name lead to an account (`name`) or an address elsewhere; `*` gets the rest.

        `Refused`: BAD_ADDRESS, USER_IN_USE (an account has the name), CONFLICT (it leads there).
        """
        local, target = local.strip().lower(), target.strip()
        if self.is_local(target) and "@" in target:
            target = target.rpartition("@")[0]
        target = target if "@" in target else target.lower()
        if not target or any(letter.isspace() for letter in local + target):
            raise Refused(Reason.BAD_ADDRESS, "This is no address")
        if local != aliases.CATCH_ALL and localpart_named(local, self.domain) is None:
            raise Refused(Reason.BAD_ADDRESS, "This name cannot be given")

        async def write() -> None:
            async with self._db.write() as tx:
                if await accounts.by_localpart(tx, local) is not None:
                    raise Refused(Reason.USER_IN_USE, "An account has this name")
                if len(await aliases.targets(tx, local)) >= limits.ALIAS_TARGETS_MAX:
                    raise Refused(Reason.TOO_MANY_RECIPIENTS, "Too many targets")
                if not await aliases.add(tx, local, target):
                    raise Refused(Reason.CONFLICT, "It leads there already")

        await retrying(write)

    async def drop(self, local: str, target: str) -> None:
        """A name no longer leads there. Says `NOT_FOUND`."""

        async def write() -> None:
            async with self._db.write() as tx:
                if not await aliases.drop(tx, local.lower(), target):
                    raise Refused(Reason.NOT_FOUND, "It does not lead there")

        await retrying(write)

    async def listing(self) -> list[tuple[str, str]]:
        """Every name with each of its targets."""
        async with self._db.read() as snap:
            return await aliases.all_of(snap)


class _Look:
    """One look-up: each name is followed once, so aliases may point at each other."""

    def __init__(self, snap: Snap, of: Recipients) -> None:
        self._snap = snap
        self._of = of
        self._seen: set[str] = set()
        self._accounts: dict[int, str] = {}
        self._elsewhere: dict[str, None] = {}

    async def name(self, local: str) -> Found:
        """Whom a local part leads to."""
        # before accounts: nobody may take a masked address over by registering its name
        if masked.is_mask(local) and (mask := await masks.find(self._snap, local)) is not None:
            account_no, enabled = mask
            return Found(((account_no, ""),) if enabled else ())
        if not await self._follow(local, 0) and not await self._role(local):
            if local in report_letter.NAMES:
                return Found((), (), local)
            base, _, detail = local.partition(DETAIL)
            of = await lists.one(self._snap, base)
            if of is not None and detail in ("", LEAVE):
                return Found((), (), local)
            if of is not None:  # bounces, and who writes to the owner
                await self._follow(of.owner, 0)
                return Found(tuple(self._accounts.items()), tuple(self._elsewhere))
            await self._follow(aliases.CATCH_ALL, 0)
        return Found(tuple(self._accounts.items()), tuple(self._elsewhere))

    async def _follow(self, local: str, depth: int) -> bool:
        base, _, detail = local.partition(DETAIL)
        for name in dict.fromkeys((local, base)):
            if name in self._seen:
                return True
            if await self._account(name, detail if name == base else ""):
                return True
            targets = await aliases.targets(self._snap, name)
            if targets:
                self._seen.add(name)
                for target in targets:
                    await self._target(target, depth + 1)
                return True
        return False

    async def _target(self, target: str, depth: int) -> None:
        if len(self._accounts) + len(self._elsewhere) >= limits.ALIAS_TARGETS_MAX:
            return
        if "@" in target and not self._of.is_local(target):
            self._elsewhere[target] = None
        elif depth <= limits.ALIAS_DEPTH_MAX:
            await self._follow(target.partition("@")[0].lower(), depth)

    async def _account(self, name: str, detail: str) -> bool:
        local = localpart_named(name, self._of.domain)
        account_no = await accounts.number_of(self._snap, local) if local else None
        if account_no is None:
            return False
        self._accounts.setdefault(account_no, detail)
        return True

    async def _role(self, local: str) -> bool:
        """Names that must work: they lead to the administrators."""
        if local.partition(DETAIL)[0] not in _ROLES:
            return False
        after = ""
        while page := await accounts.page(self._snap, after, 200):
            for account in page:
                if account.admin and account.active:
                    self._accounts.setdefault(account.account_no, "")
            after = page[-1].localpart
        return bool(self._accounts)
