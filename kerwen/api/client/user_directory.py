"""POST /_matrix/client/v3/user_directory/search."""

# CS #user-directory

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.user_directory import LIMIT_DEFAULT, UserDirectory
from kerwen.api.http import Cost, Request, Route


class _Search(msgspec.Struct):
    search_term: str
    limit: int = LIMIT_DEFAULT


class UserDirectoryApi:
    """The search for people."""

    def __init__(self, directory: UserDirectory) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        """Its part of the table."""
        path = "/_matrix/client/v3/user_directory/search"
        return [Route("POST", path, self.search, cost=Cost.HEAVY, spec="CS #user-directory")]

    async def search(self, request: Request) -> dict[str, Any]:
        """POST /user_directory/search"""
        asked = request.json(_Search)
        return await self._directory.search(
            request.caller.account_no, asked.search_term, asked.limit
        )
