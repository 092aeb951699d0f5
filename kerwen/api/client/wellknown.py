"""Discovery: `/.well-known/matrix/{client,server,support}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused


@dataclass(frozen=True, slots=True)
class WellKnown:
    """What this server says of itself; what is empty is not found.

    `base_url` of the client-server API, `server` as host:port of federation, `support` as CS
    #getwell-knownmatrixsupport describes it, `more` keys for the client's file.
    """

    base_url: str = ""
    server: str = ""
    support: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


class WellKnownApi:
    """The routes of wellknown.yaml and support.yaml, and of federation's wellknown.yaml."""

    def __init__(self, known: WellKnown) -> None:
        self._client: dict[str, Any] = {}
        if known.base_url:
            home = {"base_url": known.base_url}
            self._client = {"m.homeserver": home, **known.more}
        self._server = {"m.server": known.server} if known.server else {}
        self._support = dict(known.support)

    def routes(self) -> list[Route]:
        """The table."""
        path = "/.well-known/matrix/"
        spec = "CS #well-known-uris"
        free = (Access.ANYONE, Cost.FREE)
        return [
            Route("GET", path + "client", self.client, *free, spec),
            Route("GET", path + "server", self.server, *free, "SS #resolving-server-names"),
            Route("GET", path + "support", self.support, *free, spec),
        ]

    async def client(self, request: Request) -> Any:
        """GET /.well-known/matrix/client"""
        return _found(self._client)

    async def server(self, request: Request) -> Any:
        """GET /.well-known/matrix/server"""
        return _found(self._server)

    async def support(self, request: Request) -> Any:
        """GET /.well-known/matrix/support"""
        return _found(self._support)


def _found(known: dict[str, Any]) -> dict[str, Any]:
    if not known:
        raise Refused(Reason.NOT_FOUND, "This server says nothing here")
    return known
