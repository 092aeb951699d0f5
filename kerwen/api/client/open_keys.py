"""OpenPGP keys: their owners publish them, everybody finds them by the Web Key Directory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from kerwen.api.http import CORS_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.open_keys import OpenKeys
from kerwen.mail.openpgp import KEY_MAX

OWN: Final = "/_kerwen/mail/openpgp"
WKD: Final = "/.well-known/openpgpkey"
_DRAFT: Final = "draft-koch-openpgp-webkey-service §3"
_KEY: Final = [(b"content-type", b"application/octet-stream"), *CORS_HEADERS]
_TEXT: Final = [(b"content-type", b"text/plain"), *CORS_HEADERS]
_HASH: Final = re.compile(r"[ybndrfg8ejkmcpqxot1uwisza345h769]{32}")


class OpenKeysApi:
    """The owner's routes, and WKD's two ways. `domain`: without a port."""

    def __init__(self, keys: OpenKeys, domain: str) -> None:
        self._keys = keys
        self._domain = domain

    def routes(self) -> Iterable[Route]:
        """The table."""
        free = (Access.ANYONE, Cost.READ, _DRAFT)
        page = "docs/openpgp.md"
        yield Route("GET", OWN, self.own, spec=page)
        yield Route("PUT", OWN, self.publish, spec=page, body_max=KEY_MAX, suspended=False)
        yield Route("DELETE", OWN, self.remove, spec=page)
        yield Route("GET", WKD + "/hu/{hash}", self.find, *free)
        yield Route("GET", WKD + "/policy", self.policy, *free)
        yield Route("GET", WKD + "/{domain}/hu/{hash}", self.find, *free)
        yield Route("GET", WKD + "/{domain}/policy", self.policy, *free)

    async def own(self, request: Request) -> Reply:
        """GET /_kerwen/mail/openpgp: what the caller publishes."""
        return Reply(await self._keys.own(request.caller.account_no), 200, _KEY)

    async def publish(self, request: Request) -> Any:
        """PUT /_kerwen/mail/openpgp: a public key, with or without armor."""
        kept = await self._keys.publish(request.caller.account_no, request.body)
        return {"published_bytes": len(kept)}

    async def remove(self, request: Request) -> Any:
        """DELETE /_kerwen/mail/openpgp"""
        await self._keys.remove(request.caller.account_no)
        return {}

    async def find(self, request: Request) -> Reply:
        """`GET /.well-known/openpgpkey/[DOMAIN/]hu/HASH`: an account's keys."""
        self._check_domain(request)
        name = request.params["hash"]
        if not _HASH.fullmatch(name):
            raise Refused(Reason.NOT_FOUND, "No key is published")
        return Reply(await self._keys.find(name), 200, _KEY)

    async def policy(self, request: Request) -> Reply:
        """`GET /.well-known/openpgpkey/[DOMAIN/]policy`: there is a directory; no more is said."""
        self._check_domain(request)
        return Reply(b"", 200, _TEXT)

    def _check_domain(self, request: Request) -> None:
        named = request.params.get("domain")
        if named is not None and named.lower() != self._domain:
            raise Refused(Reason.NOT_FOUND, "This is another domain's")
