"""Passkeys in a real browser: made, used as second factor, and alone; the page of the stage tells
its client. Chromium's own virtual authenticator signs.
"""

from __future__ import annotations

import json
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.conftest import Server
from tests.oauth.chromium import Chromium, Tab, chromium

PASSWORD = "one-password-7"
V3 = "/_matrix/client/v3"
MY = "/_kerwen/my"


class Person:
    """Somebody with an account, and a browser that has an authenticator."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.name = f"p{uuid.uuid4().hex[:12]}"
        body = {"username": self.name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        self.token: str = self.post("/register", body)["access_token"]

    def post(self, path: str, body: Any, token: str = "") -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.base + V3 + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    async def log_in(self, tab: Tab) -> None:
        """By password, on the page."""
        await tab.go(f"{self.base}{MY}/log-in")
        await tab.fill(name=self.name, password=PASSWORD)

    async def is_in(self, tab: Tab) -> None:
        """Waits for the account's own page."""
        await tab.at(f"{MY}/account")
        assert f"@{self.name}:" in await tab.text()


async def make_passkey(person: Person, tab: Tab) -> str:
    """Enrols; a recovery code."""
    await person.log_in(tab)
    await person.is_in(tab)
    await tab.go(f"{person.base}{MY}/factor-add?kind=passkey")
    await tab.fill(name="this browser", password=PASSWORD)
    await tab.touch()
    await tab.until("document.querySelectorAll('code').length === 10")
    return str(await tab.run("document.querySelector('code').innerText"))


async def tell_opener(person: Person, browser: Chromium, code: str) -> None:
    """A client opens the page of the stage beside itself, and hears that it is done."""
    identifier = {"type": "m.id.user", "user": person.name}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    half = person.post("/delete_devices", {"devices": [], "auth": auth}, person.token)
    place = f"{V3}/auth/org.kerwen.second_factor/fallback/web?session={half['session']}"
    client = await browser.tab()
    await client.go(f"{person.base}/_kerwen/health")
    await client.run("addEventListener('message', (said) => (window.heard = said.data)), 1")
    await client.run(f"window.open({place!r}), 1")
    popup = await browser.opened("/fallback/web")
    await popup.until("document.getElementsByName('code').length")
    await popup.fill(code=code)
    assert await client.until("window.heard") == "authDone"
    auth = {"session": half["session"]}
    assert person.post("/delete_devices", {"devices": [], "auth": auth}, person.token) == {}


async def test_a_passkey_in_chromium(server: Server, tmp_path: Path) -> None:
    person = Person(server.url.replace("127.0.0.1", "localhost"))
    async with chromium(tmp_path) as browser:
        tab = await browser.tab()
        await tab.authenticator()
        code = await make_passkey(person, tab)
        await tab.go(f"{person.base}{MY}/second-factor")
        assert "logs in without a password" in await tab.text()

        await tab.ask("Network.clearBrowserCookies")
        await person.log_in(tab)
        await tab.at(f"{MY}/second-step")
        await tab.touch()
        await person.is_in(tab)

        await tab.ask("Network.clearBrowserCookies")
        await tab.go(f"{person.base}{MY}/passkey")
        await tab.touch()
        await person.is_in(tab)

        await tell_opener(person, browser, code)
        assert browser.complaints() == []
