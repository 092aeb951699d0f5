"""What this house does not have, and how it says so: single sign-on, an OAuth 2.0 provider of
its own, other networks, application services, a policy server.

Clients ask before they offer something; each of these has its own right way to say no.
"""

from __future__ import annotations

from typing import Any

from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused

_C = "/_matrix/client"


class AbsentApi:
    """The routes of sso_login_redirect.yaml, oauth_server_metadata.yaml,
    third_party_lookup.yaml, policy_server.yaml and both appservice_*.yaml.
    """

    def routes(self) -> list[Route]:
        """The table."""
        third, sso = f"{_C}/v3/thirdparty", f"{_C}/v3/login/sso/redirect"
        anyone, read, networks = Access.ANYONE, Cost.READ, "CS #third-party-networks"
        found = [
            Route("GET", sso, self.no_sign_on, anyone, read, "CS #sso-client-login"),
            Route("GET", f"{sso}/{{idpId}}", self.no_sign_on, anyone, read, "CS #sso-client-login"),
            Route("GET", f"{third}/protocols", self.protocols, spec=networks),
            Route(
                "POST",
                f"{_C}/v1/appservice/{{appserviceId}}/ping",
                self.no_app_service,
                cost=Cost.WRITE,
                spec="AS #pinging",
            ),
            Route(
                "PUT",
                f"{_C}/v3/directory/list/appservice/{{networkId}}/{{roomId}}",
                self.no_app_service,
                cost=Cost.WRITE,
                spec="AS #published-room-directory",
            ),
            Route(
                "GET",
                "/.well-known/matrix/policy_server",
                self.no_policy,
                anyone,
                Cost.FREE,
                "CS #policy-servers",
            ),
        ]
        for path in ("protocol/{protocol}", "location/{protocol}", "user/{protocol}"):
            found.append(Route("GET", f"{third}/{path}", self.no_protocol, spec=networks))
        for path in ("location", "user"):
            found.append(Route("GET", f"{third}/{path}", self.no_portal, spec=networks))
        for path in ("v1/auth_metadata", "unstable/org.matrix.msc2965/auth_metadata"):
            found.append(
                Route(
                    "GET",
                    f"{_C}/{path}",
                    self.no_provider,
                    anyone,
                    Cost.FREE,
                    "CS #server-metadata-discovery",
                )
            )
        return found

    async def no_sign_on(self, request: Request) -> Any:
        """GET /_matrix/client/v3/login/sso/redirect"""
        request.need_query("redirectUrl")
        raise Refused(Reason.UNRECOGNIZED, "This server has no single sign-on")

    async def no_provider(self, request: Request) -> Any:
        """GET /_matrix/client/v1/auth_metadata"""
        raise Refused(Reason.UNRECOGNIZED, "This server has no OAuth 2.0 API")

    async def no_policy(self, request: Request) -> Any:
        """GET /.well-known/matrix/policy_server"""
        raise Refused(Reason.NOT_FOUND, "This is no policy server")

    async def protocols(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/protocols"""
        return b"{}"

    async def no_protocol(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/protocol/{protocol}"""
        raise Refused(Reason.NOT_FOUND, "There is no such network here")

    async def no_portal(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/location"""
        raise Refused(Reason.NOT_FOUND, "Nothing here leads to another network")

    async def no_app_service(self, request: Request) -> Any:
        """POST /_matrix/client/v1/appservice/{appserviceId}/ping"""
        raise Refused(Reason.FORBIDDEN, "Only an application service may do this")
