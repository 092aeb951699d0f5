"""Invitations: registration tokens that an administrator hands out."""

from __future__ import annotations

import re

from kerwen.accounts.store import invitations
from kerwen.accounts.store.invitations import RegistrationToken
from kerwen.base import ids
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

TOKEN_MAX = 64
_OPAQUE = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)


class Invite:
    """Makes, lists, checks and takes back registration tokens."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def valid(self, token: str) -> bool:
        """Whether a token would let somebody in now."""
        if not _OPAQUE.fullmatch(token):
            return False
        async with self._db.read() as snap:
            return await invitations.token_valid(snap, token, self._clock())

    async def make(
        self,
        created_by: int,
        token: str | None = None,
        uses_max: int = 1,
        lives_ms: int = 0,
    ) -> RegistrationToken:
        """A new token. `uses_max` 0: any number of times; `lives_ms` 0: for ever."""
        token = token if token is not None else ids.secret(12)
        if not _OPAQUE.fullmatch(token):
            raise Refused(Reason.INVALID_PARAM, f"1 to {TOKEN_MAX} of A-Z a-z 0-9 . _ ~ -")
        if not 0 <= uses_max < 2**31 or not 0 <= lives_ms < 2**42:
            raise Refused(Reason.INVALID_PARAM, "This number is out of range")
        now = self._clock()
        expires_ms = now + lives_ms if lives_ms else 0
        async with self._db.write() as tx:
            if not await invitations.add_token(tx, token, uses_max, expires_ms, created_by, now):
                raise Refused(Reason.CONFLICT, "There is such a token already")
        return RegistrationToken(token, 0, uses_max, expires_ms)

    async def list(self) -> list[RegistrationToken]:
        """The newest thousand tokens, used up or not."""
        async with self._db.read() as snap:
            return await invitations.tokens(snap)

    async def take_back(self, token: str) -> None:
        """`Refused(NOT_FOUND)` where there is none."""
        async with self._db.write() as tx:
            if not await invitations.drop_token(tx, token):
                raise Refused(Reason.NOT_FOUND, "There is no such token")
