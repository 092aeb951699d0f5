"""Proves who wants to send mail. No vault is opened: who sends reads nothing.

A connection may last for hours. So before each message it is asked whether the account, and what
was shown at log-in, are still good; that costs nothing while nothing changed in the account.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.sign_in import Proved, SignIn
from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import Feed

_CHANGED_MAX: Final = 50_000


class Sender(msgspec.Struct, gc=False):
    """Who may send."""

    account_no: int
    localpart: str
    proved: Proved
    stamp: int  # nothing had changed until then


class ProveSender:
    """By password, app password or access token."""

    def __init__(self, feed: Feed, sign_in: SignIn) -> None:
        self._sign_in = sign_in
        self._changed: OrderedDict[int, int] = OrderedDict()  # account: at which stamp
        self._stamp = 0
        self._forgotten = 0  # what changed up to this stamp is not known any more
        feed.follow(self._follow, Kind.ACCOUNT)

    async def by_password(self, name: str, password: str) -> Sender:
        """By name or address, and password or app password. `Refused`: WRONG_PASSWORD,
        ACCOUNT_LOCKED, ACCOUNT_SUSPENDED."""
        stamp = self._stamp
        return _sender(await self._sign_in.check_password(name, password), stamp)

    async def by_token(self, name: str, token: str) -> Sender:
        """By access token; a name that is not its owner's is refused."""
        stamp = self._stamp
        return _sender(await self._sign_in.check_token(name, token), stamp)

    async def still(self, sender: Sender) -> bool:
        """Whether somebody who was proved may go on; asked before each message."""
        if self._changed.get(sender.account_no, self._forgotten) <= sender.stamp:
            return True
        stamp = self._stamp
        if not await self._sign_in.holds(sender.proved, write=True):
            return False
        sender.stamp = stamp
        return True

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        if changes and changes[0][0] == Kind.JUMP:  # nobody knows what happened meanwhile
            self._stamp += 1
            self._forgotten = self._stamp
            self._changed.clear()
            return
        found = {account_no for kind, account_no, _ in changes if kind == Kind.ACCOUNT}
        if not found:
            return
        self._stamp += 1
        for account_no in found:
            self._changed[account_no] = self._stamp
            self._changed.move_to_end(account_no)
        while len(self._changed) > _CHANGED_MAX:
            self._forgotten = self._changed.popitem(last=False)[1]


def _sender(proved: Proved, stamp: int) -> Sender:
    account = proved.account
    if account.suspended:
        raise Refused(Reason.ACCOUNT_SUSPENDED, "This account may only read just now")
    return Sender(account.account_no, account.localpart, proved, stamp)
