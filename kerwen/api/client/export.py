"""The archive of an account, for its owner (docs/export.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import CORS_HEADERS, Cost, Reply, Request, Route
from kerwen.export.actions.export import Export


class ExportBody(msgspec.Struct):
    """`after`: the last whole member of a part that the owner has; "" for all of it."""

    after: str = ""
    auth: dict[str, Any] | None = None


class ExportApi:
    """One route: the archive as it is made."""

    def __init__(self, export: Export, prove: Prove) -> None:
        self._export = export
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        path, page = "/_kerwen/account/export", "docs/export.md"
        return [Route("POST", path, self.export, cost=Cost.HEAVY, spec=page)]

    async def export(self, request: Request) -> Any:
        """POST /_kerwen/account/export"""
        body = request.json(ExportBody)
        account_no = request.caller.account_no
        proof = await self._prove.owner("export", account_no, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        owner = await self._export.owner(account_no)
        made = await self._export.begin(
            owner, body.after, proof.keys.slot if proof.keys is not None else None
        )
        self._prove.done(proof)
        headers = [
            *CORS_HEADERS,
            (b"content-type", b"application/x-tar"),
            (b"content-disposition", b'attachment; filename="kerwen-export.tar"'),
            (b"cache-control", b"no-store"),
        ]
        return Reply(made, headers=headers)
