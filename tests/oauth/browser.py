"""A browser without a screen: cookies, links, forms; it never runs a script and never needs one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

Heads = list[tuple[str, str]]
Ask = Callable[[str, str, Heads, bytes], Awaitable[tuple[int, Heads, str]]]
"""`(method, path and query, headers, body)`: what a browser needs of the world."""


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
        name, value = given.get("name"), given.get("value") or ""
        if tag == "html":
            self.language = given.get("lang") or ""
        elif tag in ("style", "script"):
            self._skipped += 1
        elif tag == "form":
            assert given.get("method") == "post"
            self.forms.append(Form(given.get("action") or ""))
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "button" and name:
            self.forms[-1].buttons.append((name, value))
        elif tag == "input" and name and (given.get("type") != "checkbox" or "checked" in given):
            self.forms[-1].fields[name] = value

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

    def __post_init__(self) -> None:
        parser = _Parser()
        parser.feed(self.html)
        self.forms, self.links, self.language = parser.forms, parser.links, parser.language
        self.text = " ".join(parser.texts)
        self.location = self.headers.get("location", "")

    def form(self, has: str) -> Form:
        """The form that has a field or button of a name."""
        for one in self.forms:
            if has in one.fields or has in [name for name, _ in one.buttons]:
                return one
        raise AssertionError(f"no form with {has}: {self.status} {self.url}\n{self.text}")

    def answer(self) -> dict[str, str]:
        """What a redirection out of the house says, in its query and its fragment."""
        split = urlsplit(self.location)
        return {k: v[-1] for k, v in parse_qs(f"{split.query}&{split.fragment}").items()}


class Browser:
    """Follows redirections inside the house; one that leads out of it ends the walk."""

    def __init__(self, ask: Ask, base: str, language: str = "en") -> None:
        self._ask_world = ask
        self.base = base
        self.language = language
        self.cookies: dict[str, str] = {}

    async def go(self, url: str, **headers: str) -> Page:
        """Opens a page."""
        return await self._ask("GET", url, None, headers)

    async def send(self, form: Form, **changed: str | None) -> Page:
        """Sends a form; a field of None is left out. `_origin`, `_site` are headers."""
        headers = {"origin": changed.pop("_origin", None) or self.base}
        if site := changed.pop("_site", None):
            headers["sec-fetch-site"] = site
        fields = {k: v for k, v in {**form.fields, **changed}.items() if v is not None}
        return await self._ask("POST", form.action, fields, headers)

    async def _ask(
        self, method: str, url: str, fields: dict[str, str] | None, headers: dict[str, str]
    ) -> Page:
        more = list(headers.items())
        if fields is not None:
            more.append(("content-type", "application/x-www-form-urlencoded"))
        body = urlencode(fields or {}).encode()
        for _ in range(8):
            place = urlsplit(urljoin(self.base, url))
            assert f"{place.scheme}://{place.netloc}" == self.base, url
            path = f"{place.path}?{place.query}" if place.query else place.path
            status, got, text = await self._ask_world(method, path, self._heads(more), body)
            for name, value in got:
                if name == "set-cookie":
                    self._keep(value)
            page = Page(url, status, dict(got), text)
            if status != 303 or not page.location.startswith("/"):
                return page
            method, url, more, body = "GET", page.location, [], b""
        raise AssertionError(f"a circle: {url}")

    def _heads(self, more: Heads) -> Heads:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        found = [("accept-language", self.language), ("host", urlsplit(self.base).netloc), *more]
        return [*found, ("cookie", cookie)] if cookie else found

    def _keep(self, value: str) -> None:
        pair, *flags = [part.strip() for part in value.split(";")]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags), value
        assert ("Secure" in flags) == self.base.startswith("https:"), value
        name, _, found = pair.partition("=")
        self.cookies[name] = found

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
    assert not re.search(r"\s(on[a-z]+|style)=", page.html)
    assert not re.search(r"(src|action)=\"(https?:|//)", page.html)
    assert page.html.count("<h1>") == 1
