"""OpenID tokens: they prove to another service who somebody is, and open nothing here."""

# CS #openid, SS #openid

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

from kerwen.accounts import openid_store
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

LIFE_MS: Final = 3_600_000
_SECRET_BYTES: Final = 32
_TOKEN_MAX: Final = 200


class OpenId:
    """Gives tokens and says whose they are."""

    __slots__ = ("_clock", "_db", "_draw", "_server_name")

    def __init__(
        self,
        db: Database,
        server_name: str,
        draw: Callable[[int], bytes],
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._draw = draw
        self._clock = clock

    async def request(self, account_no: int) -> dict[str, Any]:
        """A new token, good for an hour."""
        text = base64.urlsafe_b64encode(self._draw(_SECRET_BYTES)).decode().rstrip("=")
        token, now = f"kot_{text}", self._clock()
        async with self._db.write() as tx:
            await openid_store.add(tx, account_no, _hash(token), now + LIFE_MS, now)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self._server_name,
            "expires_in": LIFE_MS // 1000,
        }

    async def owner(self, token: str) -> str:
        """The user id that a token stands for (SS #openid). Says `UNKNOWN_TOKEN`."""
        found = None
        if len(token) <= _TOKEN_MAX:
            async with self._db.read() as snap:
                found = await openid_store.owner(snap, _hash(token), self._clock())
        if found is None:
            raise Refused(Reason.UNKNOWN_TOKEN, "Access token unknown or expired")
        return found


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
