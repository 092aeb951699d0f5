"""Through a socket, with the server killed on the way: what was answered is on disk."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from tests.conftest import FreshServer, Server
from tests.oauth.browser import Browser, Heads, well_made
from tests.oauth.world import APP, DEVICE_GRANT, challenge_of

SCOPE = "urn:matrix:client:api:* urn:matrix:client:device:"


class Socket:
    """What a browser and a client ask of a running server."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def ask(
        self, method: str, path: str, heads: Heads, body: bytes
    ) -> tuple[int, Heads, str]:
        """As `tests.oauth.browser.Ask`."""
        sent = [(name, value) for name, value in heads if name != "host"]
        url = URL(self.server.url + path, encoded=True)
        async with self._session.request(
            method, url, headers=sent, data=body or None, allow_redirects=False
        ) as reply:
            return (
                reply.status,
                [(k.lower(), v) for k, v in reply.headers.items()],
                (await reply.text()),
            )

    async def post(self, url: str, **fields: str) -> Any:
        """A form to an endpoint of the metadata."""
        async with self._session.post(url, data=fields) as reply:
            return {"status": reply.status, **await reply.json()}

    async def whoami(self, token: str) -> Any:
        """Who holds a token."""
        heads = [("authorization", f"Bearer {token}")]
        path = "/_matrix/client/v3/account/whoami"
        _, _, text = await self.ask("GET", path, heads, b"")
        return text


async def test_a_killed_server_knows_codes_cookies_and_tokens(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords", "--mail", "off")
    jar, lines = aiohttp.DummyCookieJar(), aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(cookie_jar=jar, connector=lines) as session:
        socket = Socket(server, session)
        browser = Browser(socket.ask, server.url, "tk")
        async with session.get(server.url + "/_matrix/client/v1/auth_metadata") as reply:
            metadata = await reply.json()
        async with session.post(metadata["registration_endpoint"], json=APP) as reply:
            client_id = (await reply.json())["client_id"]
        verifier = secrets.token_urlsafe(48)
        asked = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": APP["redirect_uris"][0],
            "scope": SCOPE + "PHONE",
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "prompt": "create",
        }
        page = await browser.go(f"{metadata['authorization_endpoint']}?{urlencode(asked)}")
        well_made(page)
        assert page.language == "tk", "the door hands on what a page reads"
        password = "a good password"
        page = await browser.send(
            page.form("again"), name="maral", password=password, again=password
        )
        page = await browser.send(page.form("answer"), answer="allow", _site="same-origin")
        device = await socket.post(
            metadata["device_authorization_endpoint"], client_id=client_id, scope=SCOPE + "TABLET"
        )

        server.kill9()
        server.start()

        tokens = await socket.post(
            metadata["token_endpoint"],
            grant_type="authorization_code",
            code=page.answer()["code"],
            redirect_uri=asked["redirect_uri"],
            client_id=client_id,
            code_verifier=verifier,
        )
        assert '"device_id":"PHONE"' in await socket.whoami(tokens["access_token"])
        page = await browser.go(device["verification_uri_complete"])
        page = await browser.send(page.form("answer"), answer="allow")
        assert page.status == 200, "the cookie is good still"

        server.kill9()
        server.start()

        tablet = await socket.post(
            metadata["token_endpoint"],
            grant_type=DEVICE_GRANT,
            device_code=device["device_code"],
            client_id=client_id,
        )
        assert '"device_id":"TABLET"' in await socket.whoami(tablet["access_token"])
        again = await socket.post(
            metadata["token_endpoint"],
            grant_type="refresh_token",
            refresh_token=tokens["refresh_token"],
            client_id=client_id,
        )
        assert '"device_id":"PHONE"' in await socket.whoami(again["access_token"])
        page = await browser.go("/_kerwen/my/log-in", **{"sec-fetch-site": "cross-site"})
        assert page.url == "/_kerwen/my/account", "a link from elsewhere is no form"
