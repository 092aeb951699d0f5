"""Metadata, registration, tokens, revocation, device authorisation (CS #oauth-20-api)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from kerwen.api.http import JSON_HEADERS, Access, Cost, Handler, Reply, Request, Route
from kerwen.api.pages.account import ACTIONS, EARLY_ACTIONS
from kerwen.api.pages.consent import verification_uri
from kerwen.api.pages.visit import AUTHORIZE, HOME
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.ask_for_device import AskForDevice
from kerwen.oauth.actions.exchange import Exchange, Granted
from kerwen.oauth.actions.register_client import RegisterClient
from kerwen.oauth.authorisation import one_of
from kerwen.oauth.client_metadata import CODE_GRANT, DEVICE_GRANT, GRANT_TYPES, metadata_of
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.scope import scope_of

_BASE = "/_kerwen/oauth"
_NO_STORE = [*JSON_HEADERS, (b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
_METADATA_HEADERS = [*JSON_HEADERS, (b"cache-control", b"public, max-age=3600")]
Answer = Callable[[Request], Awaitable[Reply]]


class OAuthApi:
    """`base_url` is where the server is found; without one there is no OAuth 2.0 API."""

    def __init__(
        self,
        base_url: str,
        clients: RegisterClient,
        exchange: Exchange,
        ask_for_device: AskForDevice,
        registration: str,
    ) -> None:
        self._base_url = base_url
        self._clients = clients
        self._exchange = exchange
        self._ask_for_device = ask_for_device
        stable = metadata(base_url, registration != "closed")
        actions = [*ACTIONS, *EARLY_ACTIONS]
        self._metadata = orjson.dumps(stable)
        self._early = orjson.dumps({**stable, "account_management_actions_supported": actions})

    def routes(self) -> list[Route]:
        """The table."""
        anyone, discovery = Access.ANYONE, "CS #server-metadata-discovery"
        found = [
            Route("GET", path, handler, anyone, Cost.FREE, discovery)
            for path, handler in (
                ("/_matrix/client/v1/auth_metadata", self.metadata),
                ("/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", self.early),
                ("/.well-known/oauth-authorization-server", self.metadata),  # RFC 8414 §3
            )
        ]
        for name, answer, cost, spec in (
            ("register", self.register, Cost.HEAVY, "CS #client-registration"),
            ("token", self.token, Cost.WRITE, "CS #grant-types"),
            ("revoke", self.revoke, Cost.WRITE, "CS #token-revocation"),
            ("device", self.device, Cost.HEAVY, "CS #device-authorisation-flow"),
        ):
            path, most = f"{_BASE}/{name}", limits.OAUTH_BODY_MAX
            found.append(Route("POST", path, _told(answer), anyone, cost, spec, most))
        return found

    async def metadata(self, request: Request) -> Any:
        """GET /_matrix/client/v1/auth_metadata"""
        return self._told(self._metadata)

    async def early(self, request: Request) -> Any:
        """GET /_matrix/client/unstable/org.matrix.msc2965/auth_metadata"""
        return self._told(self._early)

    def _told(self, body: bytes) -> Reply:
        if not self._base_url:
            raise Refused(Reason.UNRECOGNIZED, "This server has no address of its own for browsers")
        return Reply(body, headers=_METADATA_HEADERS)

    async def register(self, request: Request) -> Reply:
        """POST /_kerwen/oauth/register"""
        try:
            taken = metadata_of(request.object())
        except Refused:
            raise OAuthRefused(
                "invalid_client_metadata", "The body must be a JSON object"
            ) from None
        client_id = await self._clients.run(taken)
        return Reply(orjson.dumps({"client_id": client_id, **taken.shown()}), 201, _NO_STORE)

    async def token(self, request: Request) -> Reply:
        """POST /_kerwen/oauth/token"""
        form = _Form(request)
        grant, client_id, address = form.need("grant_type"), form.client_id(), request.address
        if grant == CODE_GRANT:
            granted = await self._exchange.by_code(
                client_id,
                form.need("code"),
                form.need("redirect_uri"),
                form.need("code_verifier"),
                address,
            )
        elif grant == "refresh_token":
            token = form.need("refresh_token")
            granted = await self._exchange.by_refresh_token(client_id, token, address)
        elif grant == DEVICE_GRANT:
            code = form.need("device_code")
            granted = await self._exchange.by_device_code(client_id, code, address)
        else:
            raise OAuthRefused("unsupported_grant_type", "This grant is not given here")
        return Reply(orjson.dumps(_tokens(granted)), headers=_NO_STORE)

    async def revoke(self, request: Request) -> Reply:
        """POST /_kerwen/oauth/revoke"""
        await self._exchange.revoke(_Form(request).need("token"))
        return Reply(b"{}", headers=_NO_STORE)

    async def device(self, request: Request) -> Reply:
        """POST /_kerwen/oauth/device"""
        form = _Form(request)
        client = await self._clients.find(form.client_id())
        if client is None:
            raise OAuthRefused("invalid_client", "The client is not known", 401)
        waiting = await self._ask_for_device.begin(client, scope_of(form.get("scope")))
        answer = {
            "device_code": waiting.device_code,
            "user_code": waiting.user_code[:4] + "-" + waiting.user_code[4:],
            "verification_uri": verification_uri(self._base_url),
            "verification_uri_complete": verification_uri(self._base_url, waiting.user_code),
            "expires_in": waiting.expires_in_ms // 1000,
            "interval": waiting.interval_ms // 1000,
        }
        return Reply(orjson.dumps(answer), headers=_NO_STORE)


class _Form:
    """The parameters of a request to an OAuth endpoint: each once (RFC 6749 §3.2)."""

    def __init__(self, request: Request) -> None:
        try:
            self._fields = request.form()
        except Refused as refusal:
            raise OAuthRefused("invalid_request", refusal.public_text) from None

    def get(self, name: str) -> str | None:
        return one_of(self._fields, name)

    def need(self, name: str) -> str:
        found = self.get(name)
        if found is None:
            raise OAuthRefused("invalid_request", f"{name} is missing")
        return found

    def client_id(self) -> str:
        """Public clients say who they are, and prove it by PKCE or by the token itself."""
        found = self.get("client_id")
        if found is None:
            raise OAuthRefused("invalid_client", "client_id is missing", 401)
        return found


def _told(answer: Answer) -> Handler:
    """Refusals read as RFC 6749 §5.2 says."""

    async def handler(request: Request) -> Any:
        try:
            return await answer(request)
        except OAuthRefused as refusal:
            why = refusal
        except Refused as refusal:  # the device id is a cross-signing key's, or the like
            if refusal.reason not in (Reason.FORBIDDEN, Reason.INVALID_PARAM):
                raise
            why = OAuthRefused("invalid_grant", refusal.public_text)
        body = {"error": why.code}
        if why.text:
            body["error_description"] = why.text
        return Reply(orjson.dumps(body), why.status, _NO_STORE)

    return handler


def _tokens(granted: Granted) -> dict[str, Any]:
    """RFC 6749 §5.1."""
    session = granted.session
    return {
        "access_token": session.access_token,
        "token_type": "Bearer",
        "expires_in": (session.expires_in_ms or 0) // 1000,
        "refresh_token": session.refresh_token,
        "scope": granted.scope,
    }


def metadata(base_url: str, can_sign_up: bool) -> dict[str, Any]:
    """RFC 8414 §2, with the extension of CS #oauth-20-account-management."""
    return {
        "issuer": base_url + "/",
        "authorization_endpoint": base_url + AUTHORIZE,
        "token_endpoint": f"{base_url}{_BASE}/token",
        "revocation_endpoint": f"{base_url}{_BASE}/revoke",
        "registration_endpoint": f"{base_url}{_BASE}/register",
        "device_authorization_endpoint": f"{base_url}{_BASE}/device",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment"],
        "grant_types_supported": list(GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": True,
        "prompt_values_supported": ["create"] if can_sign_up else [],
        "ui_locales_supported": ["tk", "ru", "en", "fr"],
        "account_management_uri": f"{base_url}{HOME}/account",
        "account_management_actions_supported": list(ACTIONS),
    }
