"""What this house does not have, and how it says so: single sign-on, a policy server.

Clients ask before they offer something; each of these has its own right way to say no.
"""

from __future__ import annotations

from typing import Any

from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused

_C = "/_matrix/client"


class AbsentApi:
    """The routes of sso_login_redirect.yaml and policy_server.yaml."""

    def routes(self) -> list[Route]:
        """The table."""
        sso = f"{_C}/v3/login/sso/redirect"
        anyone, read = Access.ANYONE, Cost.READ
        return [
            Route("GET", sso, self.no_sign_on, anyone, read, "CS #sso-client-login"),
            Route("GET", f"{sso}/{{idpId}}", self.no_sign_on, anyone, read, "CS #sso-client-login"),
            Route(
                "GET",
                "/.well-known/matrix/policy_server",
                self.no_policy,
                anyone,
                Cost.FREE,
                "CS #policy-servers",
            ),
        ]

    async def no_sign_on(self, request: Request) -> Any:
        """GET /_matrix/client/v3/login/sso/redirect"""
        request.need_query("redirectUrl")
        raise Refused(Reason.UNRECOGNIZED, "This server has no single sign-on")

    async def no_policy(self, request: Request) -> Any:
        """GET /.well-known/matrix/policy_server"""
        raise Refused(Reason.NOT_FOUND, "This is no policy server")
