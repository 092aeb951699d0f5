"""What the server speaks: versions, capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from kerwen.api.http import Access, Cost, Request, Route

VERSIONS = [f"v1.{minor}" for minor in range(1, 20)]


class VersionsApi:
    """The routes of versions.yaml and capabilities.yaml.

    `unstable` names only what is there; `room_versions` maps each version to stable or unstable;
    `more` are capabilities of other subjects.
    """

    def __init__(
        self,
        room_versions: Mapping[str, str],
        default_room_version: str,
        unstable: Mapping[str, bool] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._versions = orjson.dumps(
            {"versions": VERSIONS, "unstable_features": dict(unstable or {})}
        )
        self._capabilities: dict[str, Any] = {
            "m.change_password": {"enabled": True},
            "m.room_versions": {
                "default": default_room_version,
                "available": dict(room_versions),
            },
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": True},
            "m.3pid_changes": {"enabled": False},
            "m.get_login_token": {"enabled": True},
            "m.profile_fields": {"enabled": True},
            "m.forget_forced_upon_leave": {"enabled": False},
            **(more or {}),
        }

    def routes(self) -> list[Route]:
        """The table."""
        capabilities = "/_matrix/client/v3/capabilities"
        return [
            Route(
                "GET",
                "/_matrix/client/versions",
                self.versions,
                Access.ANYONE,
                Cost.FREE,
                "CS #api-versions",
            ),
            Route(
                "GET",
                capabilities,
                self.capabilities,
                Access.USER,
                Cost.READ,
                "CS #capabilities-negotiation",
            ),
        ]

    async def versions(self, request: Request) -> Any:
        """GET /_matrix/client/versions"""
        return self._versions

    async def capabilities(self, request: Request) -> Any:
        """GET /_matrix/client/v3/capabilities"""
        capabilities = self._capabilities
        if request.caller.oauth:  # its place is the account's page (CS #oauth-20-api)
            closed: dict[str, Any] = {"enabled": False}
            names = ("m.change_password", "m.get_login_token")
            capabilities = {**capabilities, **dict.fromkeys(names, closed)}
        if request.caller.admin:
            moderation = {"suspend": True, "lock": True}
            capabilities = {**capabilities, "m.account_moderation": moderation}
        return {"capabilities": capabilities}
