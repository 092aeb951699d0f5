"""How the server is: `/_kerwen/health` for whoever restarts it, `/_kerwen/metrics` for graphs."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable

from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.base.errors import Reason, Refused

_TEXT = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class Health:
    """`ready` tells whether every listener is open; `metrics` makes the text of the numbers."""

    def __init__(
        self, ready: Callable[[], bool], metrics: Callable[[], bytes], token: str | None
    ) -> None:
        self._ready = ready
        self._metrics = metrics
        self._token = token

    def routes(self) -> Iterable[Route]:
        """Its lines of the table."""
        yield Route("GET", "/_kerwen/health", self.health, Access.ANYONE, Cost.FREE)
        yield Route("GET", "/_kerwen/metrics", self.metrics, Access.ANYONE, Cost.FREE)

    async def health(self, request: Request) -> Reply:
        """`GET /_kerwen/health`: 200 while every listener is open, else 503."""
        if self._ready():
            return Reply(b'{"ready":true}', 200, _JSON)
        return Reply(b'{"ready":false}', 503, _JSON)

    async def metrics(self, request: Request) -> Reply:
        """`GET /_kerwen/metrics`: the numbers, for this machine or with the token."""
        if not self._may_read(request):
            raise Refused(Reason.UNRECOGNIZED, "There is no such endpoint")
        return Reply(self._metrics(), 200, _TEXT)

    def _may_read(self, request: Request) -> bool:
        if self._token is not None:
            given = request.header(b"authorization") or ""
            if hmac.compare_digest(given.encode(), b"Bearer " + self._token.encode()):
                return True
        if request.header(b"x-forwarded-for") is not None:
            return False  # a proxy on this machine asks for somebody elsewhere
        try:
            return ipaddress.ip_address(request.address).is_loopback
        except ValueError:
            return False
