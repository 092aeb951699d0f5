"""Tells people in their room of server notices that somebody began to reset their password or to
end their second factor, so that they can stop it (design §5).

What was told is noted after it was said: a crash between tells it twice, and never not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import factors, invitations
from kerwen.accounts.store.invitations import Untold
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Tx

log = logging.getLogger("kerwen.admin")

Say = Callable[[str, str], Awaitable[str]]
"""`(user_id, text)`: `Notices.say`."""
MarkTold = Callable[[Tx, int, int], Awaitable[None]]

_WORDS: Final = (
    "An administrator began to {what} of your account. It takes effect on {when} unless it is"
    " stopped. If you did not ask for it, stop it now: {where}"
)


class TellResets:
    """For a timer. `base_url` is the server's address as browsers know it."""

    def __init__(self, db: Database, domain: str, base_url: str, say: Say) -> None:
        self._db = db
        self._domain = domain
        self._base_url = base_url
        self._say = say

    async def run(self) -> int:
        """How many were told."""
        async with self._db.read() as snap:
            passwords = await invitations.resets_untold(snap)
            lost = await factors.resets_untold(snap)
        for reset in passwords:
            await self._tell(reset, "reset the password", "account", invitations.reset_told)
        for reset in lost:
            what = "end the second factor"
            await self._tell(reset, what, "second-factor", factors.reset_told)
        return len(passwords) + len(lost)

    async def _tell(self, reset: Untold, what: str, page: str, told: MarkTold) -> None:
        when = datetime.fromtimestamp(reset.effect_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        where = f"{self._base_url}/_kerwen/my/{page}"
        user_id = user_id_of(reset.localpart, self._domain)
        try:
            await self._say(user_id, _WORDS.format(what=what, when=when, where=where))
        except Refused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:  # closed meanwhile
                log.warning("a reset could not be told", extra={"why": refusal.reason.value})
        async with self._db.write() as tx:
            await told(tx, reset.account_no, reset.effect_ms)
