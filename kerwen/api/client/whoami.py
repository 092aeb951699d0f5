"""Who am I?"""

from __future__ import annotations

from typing import Any

from kerwen.api.http import Access, Cost, Request, Route


class WhoamiApi:
    """The route of whoami.yaml."""

    def routes(self) -> list[Route]:
        """The table."""
        path = "/_matrix/client/v3/account/whoami"
        spec = "CS #current-account-information"
        return [Route("GET", path, self.whoami, Access.USER, Cost.READ, spec)]

    async def whoami(self, request: Request) -> Any:
        """GET /_matrix/client/v3/account/whoami"""
        caller = request.caller
        answer: dict[str, Any] = {"user_id": caller.user_id, "is_guest": False}
        if caller.device_id:
            answer["device_id"] = caller.device_id
        return answer
