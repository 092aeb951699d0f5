"""Masked addresses, for their owners: `/_kerwen/mail/masks`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.mail.actions.masks import Masks
from kerwen.mail.store.masks import Mask

PATH: Final = "/_kerwen/mail/masks"


class MaskBody(msgspec.Struct):
    """`word` stands before the random part: what the address is for."""

    word: str = "mask"


class EnabledBody(msgspec.Struct):
    """Whether mail is taken."""

    enabled: bool


class MasksApi:
    """`domain`: without a port."""

    def __init__(self, masks: Masks, domain: str) -> None:
        self._masks = masks
        self._domain = domain

    def routes(self) -> list[Route]:
        """The table."""
        page, one = "docs/masks.md", PATH + "/{address}"
        return [
            Route("GET", PATH, self.listing, spec=page),
            Route("POST", PATH, self.make, cost=Cost.WRITE, spec=page, suspended=False),
            Route("PUT", one, self.enable, cost=Cost.WRITE, spec=page),
            Route("DELETE", one, self.drop, cost=Cost.WRITE, spec=page),
        ]

    async def listing(self, request: Request) -> Any:
        """GET /_kerwen/mail/masks"""
        found = await self._masks.listing(request.caller.account_no)
        return {"masks": [self._shown(one) for one in found]}

    async def make(self, request: Request) -> Any:
        """POST /_kerwen/mail/masks"""
        word = request.json(MaskBody).word.lower()
        return self._shown(await self._masks.make(request.caller.account_no, word))

    async def enable(self, request: Request) -> Any:
        """PUT /_kerwen/mail/masks/{address}"""
        enabled = request.json(EnabledBody).enabled
        local = request.params["address"].partition("@")[0]
        await self._masks.enable(request.caller.account_no, local, enabled)
        return {}

    async def drop(self, request: Request) -> Any:
        """DELETE /_kerwen/mail/masks/{address}"""
        local = request.params["address"].partition("@")[0]
        await self._masks.drop(request.caller.account_no, local)
        return {}

    def _shown(self, one: Mask) -> dict[str, Any]:
        address = f"{one.local}@{self._domain}"
        return {"address": address, "made_ms": one.made_ms, "enabled": one.enabled}
