"""The answers to an authority's challenges: `/.well-known/acme-challenge/`."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.net.acme.answers import ShownAnswers

_HEADERS = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]


class AcmeApi:
    """Shows what `ShownAnswers` holds, to anybody."""

    def __init__(self, answers: ShownAnswers) -> None:
        self._answers = answers

    def routes(self) -> Iterable[Route]:
        """Its line of the table."""
        path = "/.well-known/acme-challenge/{token}"
        yield Route("GET", path, self.show, Access.ANYONE, Cost.FREE, "RFC 8555 §8.3")

    async def show(self, request: Request) -> Reply:
        """`GET /.well-known/acme-challenge/{token}`: the key authorisation."""
        found = self._answers.tokens.get(request.params["token"])
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no such challenge")
        return Reply(found.encode(), 200, _HEADERS)
