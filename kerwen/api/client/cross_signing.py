"""POST /_matrix/client/v3/keys/device_signing/upload, /keys/signatures/upload"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from kerwen.api import replies
from kerwen.api.client.keys import device_of
from kerwen.api.http import Cost, Reply, Request, Route
from kerwen.keys.actions.cross_sign import CrossSign

CheckUia = Callable[[Request, Mapping[str, Any]], Awaitable[Reply | None]]
"""User-interactive authentication: None if the user is proved, else the answer to send."""

_PREFIXES = ("/_matrix/client/v3", "/_matrix/client/unstable")


class CrossSigningApi:
    """Cross-signing keys (CS #cross-signing)."""

    def __init__(self, cross_sign: CrossSign, check_uia: CheckUia) -> None:
        self._cross_sign = cross_sign
        self._check_uia = check_uia

    def routes(self) -> list[Route]:
        """The lines of the table; the unstable prefix is what older clients call."""
        spec = "CS #cross-signing"
        return [
            Route("POST", prefix + path, handler, cost=Cost.WRITE, spec=spec)
            for prefix in _PREFIXES
            for path, handler in (
                ("/keys/device_signing/upload", self.upload),
                ("/keys/signatures/upload", self.sign),
            )
        ]

    async def upload(self, request: Request) -> Reply | bytes:
        """POST /_matrix/client/v3/keys/device_signing/upload"""
        body = request.object()
        challenge: Reply | None = None

        async def prove() -> bool:
            nonlocal challenge
            challenge = await self._check_uia(request, body)
            return challenge is None

        await self._cross_sign.upload(device_of(request.caller), body, prove)
        return challenge or b"{}"

    async def sign(self, request: Request) -> Any:
        """POST /_matrix/client/v3/keys/signatures/upload"""
        failures = await self._cross_sign.sign(device_of(request.caller), request.object())
        return {
            "failures": {
                user_id: {
                    key_id: msgspec.Raw(replies.refusal(why)[1]) for key_id, why in by_key.items()
                }
                for user_id, by_key in failures.items()
            }
        }
