"""Accounts and the OAuth 2.0 API, asked through the real `App` without a socket."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

from kerwen.accounts.actions.profile import Profiles
from kerwen.api.client.cross_signing import CrossSigningApi
from kerwen.api.http import App, Reply, Request
from kerwen.api.oauth.new_keys import prove_new_keys
from kerwen.api.router import Router
from kerwen.keys.actions.cross_sign import CrossSign
from kerwen.keys.key_cache import KeyCache
from kerwen.oauth.parts import build_oauth
from tests.accounts.world import DOMAIN, World
from tests.oauth.browser import Browser, Heads, Page

BASE = "https://house.test"
OAUTH = "/_kerwen/oauth"
MY = "/_kerwen/my"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
APP: dict[str, Any] = {
    "client_name": "Some App",
    "client_uri": "https://app.test/",
    "redirect_uris": ["test.app:/callback"],
    "application_type": "native",
    "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
}


@dataclass
class Reached:
    """An answer of an endpoint."""

    status: int
    headers: dict[str, str]
    json: Any

    def refused(self, status: int, error: str) -> None:
        """Asserts an OAuth refusal."""
        assert (self.status, self.json.get("error")) == (status, error), self.json
        assert self.headers["cache-control"] == "no-store"


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Client:
    """An OAuth client written from the RFCs: what it remembers between its steps."""

    world: OAuthWorld
    client_id: str
    redirect_uri: str
    device_id: str = "PHONEPHONE"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def url(self, **changed: str | None) -> str:
        """The authorisation request; None leaves a parameter out."""
        params: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": "my state",
            "response_mode": "query",
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            **changed,
        }
        given = {k: v for k, v in params.items() if v is not None}
        return f"{OAUTH}/authorize?{urlencode(given)}"

    @property
    def scope(self) -> str:
        """Full access for its device."""
        return f"urn:matrix:client:api:* urn:matrix:client:device:{self.device_id}"

    async def exchange(self, code: str, **changed: str | None) -> Reached:
        """The token request for a code."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "client_id": self.client_id,
            "code_verifier": self.verifier,
            **changed,
        }
        return await self.world.post("token", fields)

    async def refresh(self, token: str, **changed: str | None) -> Reached:
        """The token request for a refresh token."""
        fields: dict[str, str | None] = {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": self.client_id,
            **changed,
        }
        return await self.world.post("token", fields)

    async def poll(self, device_code: str, **changed: str | None) -> Reached:
        """The token request of a device that waits."""
        fields: dict[str, str | None] = {
            "grant_type": DEVICE_GRANT,
            "device_code": device_code,
            "client_id": self.client_id,
            **changed,
        }
        return await self.world.post("token", fields)

    async def ask_in(self, **changed: str | None) -> Reached:
        """The device authorisation request."""
        fields = {"client_id": self.client_id, "scope": self.scope, **changed}
        return await self.world.post("device", fields)


@dataclass
class OAuthWorld(World):
    """A house with pages."""

    base: str = BASE

    def __post_init__(self) -> None:
        super().__post_init__()

        async def changed(account_no: int) -> None:
            self.told.append(("profile", account_no))

        profiles = Profiles(self.db, DOMAIN, changed)
        accounts = self.accounts
        self.oauth = build_oauth(
            self.db, DOMAIN, self.base, accounts, profiles, self.vaults, self.clock
        )

        async def check(request: Request, body: Any) -> Reply | None:
            auth = body.get("auth") or {}
            return await prove_new_keys(self.oauth.renew_keys, self.base, request, auth)

        keys = CrossSigningApi(CrossSign(self.db, KeyCache()), check)
        routes = [route for area in [accounts, keys, *self.oauth.areas] for route in area.routes()]
        self.app = App(Router(routes), accounts.authenticate, self.limiter)

    async def call(
        self, method: str, target: str, headers: Heads, body: bytes = b""
    ) -> tuple[int, Heads, str]:
        """One request, as `tests.oauth.browser.Ask`."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers],
            "client": ("192.0.2.7", 4711),
        }
        got: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                got.update(message)
                got["body"] = b""
            else:
                got["body"] += message["body"]

        await self.app(scope, receive, send)
        heads = [(k.decode(), v.decode()) for k, v in got["headers"]]
        return got["status"], heads, got["body"].decode()

    async def post(self, endpoint: str, fields: dict[str, str | None]) -> Reached:
        """A form to an endpoint; None leaves a field out."""
        raw = urlencode({k: v for k, v in fields.items() if v is not None}).encode()
        heads = [("content-type", "application/x-www-form-urlencoded")]
        return self._reached(*await self.call("POST", f"{OAUTH}/{endpoint}", heads, raw))

    async def register(self, body: Any) -> Reached:
        """A registration."""
        heads = [("content-type", "application/json")]
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return self._reached(*await self.call("POST", f"{OAUTH}/register", heads, raw))

    @staticmethod
    def _reached(status: int, heads: Heads, text: str) -> Reached:
        return Reached(status, dict(heads), orjson.loads(text))

    async def client(self, **changed: Any) -> Client:
        """A registered client."""
        metadata = {**APP, **changed}
        answer = await self.register(metadata)
        assert answer.status == 201, answer
        return Client(self, answer.json["client_id"], (metadata["redirect_uris"] or [""])[0])

    def browser(self, language: str = "en") -> Browser:
        """A fresh browser."""
        return Browser(self.call, self.base, language)

    async def signed_in(self, name: str = "ayna", password: str = "correct horse") -> Browser:
        """A browser that is signed in as somebody who exists."""
        browser = self.browser()
        page = await browser.go(f"{MY}/log-in")
        page = await browser.log_in(page, name, password)
        assert page.status == 200, page.text
        return browser

    async def allow(self, browser: Browser, client: Client, **changed: str | None) -> Page:
        """Allows a client in a browser that is signed in."""
        page = await browser.go(client.url(**changed))
        return await browser.send(page.form("answer"), answer="allow")

    async def session(self, browser: Browser, client: Client) -> dict[str, Any]:
        """Tokens of a client."""
        page = await self.allow(browser, client)
        answer = await client.exchange(page.answer()["code"])
        assert answer.status == 200, answer.json
        return dict(answer.json)
