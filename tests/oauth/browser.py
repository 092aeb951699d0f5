"""A browser without a screen: cookies, links, forms; it never runs a script and never needs one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import aiohttp
from yarl import URL


@dataclass
class Form:
    """A form of a page, filled in with what the page gave it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.language = ""
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.language = given.get("lang") or ""
        if tag in ("style", "script"):
            self._skipped += 1
        if tag == "form":
            assert given.get("method") == "post"
            self.forms.append(Form(given.get("action") or ""))
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag == "input" and (name := given.get("name")):
            if given.get("type") == "checkbox" and "checked" not in given:
                return
            self.forms[-1].fields[name] = given.get("value") or ""
        if tag == "button" and (name := given.get("name")):
            self.forms[-1].buttons.append((name, given.get("value") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._skipped -= 1

    def handle_data(self, data: str) -> None:
        if not self._skipped and data.strip():
            self.texts.append(data.strip())


@dataclass
class Page:
    """What the browser shows."""

    url: str
    status: int
    headers: dict[str, str]
    html: str
    location: str = ""

    def __post_init__(self) -> None:
        parser = _Parser()
        parser.feed(self.html)
        self.forms, self.links, self.language = parser.forms, parser.links, parser.language
        self.text = " ".join(parser.texts)

    def form(self, has: str) -> Form:
        """The form that has a field or button of a name."""
        for one in self.forms:
            if has in one.fields or has in [name for name, _ in one.buttons]:
                return one
        raise AssertionError(f"no form with {has}: {self.status} {self.url}\n{self.text}")

    def answer(self) -> dict[str, str]:
        """What the redirection out of the house says, from its query and its fragment."""
        split = urlsplit(self.location)
        return {k: v[-1] for k, v in parse_qs(split.query + "&" + split.fragment).items()}


class Browser:
    """Follows redirections inside the house; one that leads out of it ends the walk."""

    def __init__(self, base: str, language: str = "en") -> None:
        self.base = base
        self.language = language
        self.session = aiohttp.ClientSession(
            base, cookie_jar=aiohttp.CookieJar(unsafe=True), trust_env=False
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self.session.close()

    def cookie(self, name: str = "kerwen") -> str:
        """A cookie as it is sent."""
        return self.session.cookie_jar.filter_cookies(URL(self.base))[name].value

    async def go(self, url: str, **headers: str) -> Page:
        """Opens a page."""
        return await self._ask("GET", url, None, headers)

    async def send(self, form: Form, **changed: str | None) -> Page:
        """Sends a form; a field of None is left out. Headers: `_origin`, `_site`."""
        headers = {"origin": changed.pop("_origin", None) or self.base}
        if site := changed.pop("_site", None):
            headers["sec-fetch-site"] = site
        fields = {**form.fields, **changed}
        return await self._ask(
            "POST", form.action, {k: v for k, v in fields.items() if v is not None}, headers
        )

    async def _ask(
        self, method: str, url: str, fields: dict[str, str] | None, headers: dict[str, Any]
    ) -> Page:
        data = urlencode(fields) if fields is not None else None
        sent = {"accept-language": self.language, **headers}
        if fields is not None:
            sent["content-type"] = "application/x-www-form-urlencoded"
        for _ in range(8):
            async with self.session.request(
                method,
                URL(urljoin(self.base, url), encoded=True),
                data=data,
                headers=sent,
                allow_redirects=False,
            ) as reply:
                text = await reply.text()
                found = {k.lower(): v for k, v in reply.headers.items()}
                page = Page(url, reply.status, found, text, found.get("location", ""))
            if page.status not in (302, 303) or not page.location.startswith("/"):
                return page
            method, url, data = "GET", page.location, None
            sent = {"accept-language": self.language}
        raise AssertionError(f"a circle: {url}")

    async def log_in(self, page: Page, name: str, password: str) -> Page:
        """Fills in the log-in page."""
        return await self.send(page.form("password"), name=name, password=password)


def well_made(page: Page) -> None:
    """What every page of the house keeps to."""
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "base-uri 'none'; frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert "<script" not in page.html
    assert not re.search(r"\son[a-z]+=|style=", page.html)
    assert not re.search(r"(src|href|action)=\"(https?:)?//(?!.*policy)", page.html)
    assert page.html.count("<h1>") == 1
