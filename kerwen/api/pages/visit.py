"""One request of a browser: its cookie, its language, whether its form is its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kerwen.api.http import Request
from kerwen.api.pages.words import LANGUAGES, Words, chosen, words_of
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.store.browsers import Browser

HOME = "/_kerwen/my"
AUTHORIZE = "/_kerwen/oauth/authorize"
FIELD_MAX = 4_000
_COOKIE = re.compile(r"k[bv]s_[A-Za-z0-9_-]{43}", re.ASCII)
_NEXT = re.compile(r"/_kerwen/(my|oauth)/[a-z-]+(\?[\x21-\x7e]*)?", re.ASCII)
_YEAR_S = 31_536_000


@dataclass(slots=True)
class Visit:
    """Who visits, and what the answer must set. `browser` is whom the cookie signs in, whole."""

    request: Request
    words: Words
    cookie: str
    base_url: str
    browser: Browser | None = None
    half: Browser | None = None  # the second factor is awaited
    set_cookies: list[str] = field(default_factory=list)

    @property
    def secure(self) -> bool:
        """Whether browsers reach us over TLS, so that cookies may be safe."""
        return self.base_url.startswith("https:")

    def signed_in(self) -> Browser:
        """Who is signed in; the page was asked for by somebody who is."""
        assert self.browser is not None, "the page sends others to sign in"
        return self.browser

    @property
    def mark(self) -> str:
        """What a form of this browser carries: no other page can know it."""
        digest = hmac.digest(self.cookie.encode(), b"kerwen/1 form", hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def take(self, cookie: str) -> None:
        """The browser gets another cookie; what it had before is worth nothing."""
        self.cookie = cookie
        self.set_cookies.append(_cookie(cookie_name(self.secure), cookie, self.secure))

    def form(self) -> dict[str, str]:
        """The form that was sent; `Refused(FORBIDDEN)` where another page made it."""
        origin = self.request.header(b"origin")
        site = self.request.header(b"sec-fetch-site")
        if site not in (None, "same-origin", "none") or (origin and not self._is_ours(origin)):
            raise Refused(Reason.FORBIDDEN, "The form is another page's")
        found = {name: values[-1] for name, values in self.request.form().items()}
        if not hmac.compare_digest(found.get("mark", "").encode(), self.mark.encode()):
            raise Refused(Reason.FORBIDDEN, "The form is out of date")
        if any(len(value) > FIELD_MAX for value in found.values()):
            raise Refused(Reason.TOO_LARGE, "A field is too long")
        return found

    def _is_ours(self, origin: str) -> bool:
        """Ours by the address that the browser used, or behind a proxy by our own."""
        host = self.request.header(b"host")
        return origin == self.base_url or (bool(host) and urlsplit(origin).netloc == host)


def cookie_name(secure: bool) -> str:
    """A name that only this very host can set, where there is TLS (RFC 6265bis §4.1.3.2)."""
    return "__Host-kerwen" if secure else "kerwen"


def _cookie(name: str, value: str, secure: bool, life_s: int | None = None) -> str:
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if life_s is not None:
        parts.append(f"Max-Age={life_s}")
    if secure:
        parts.append("Secure")
    return "; ".join(parts)


def visit_of(request: Request, base_url: str) -> Visit:
    """Reads cookie and language of a request; a browser without a cookie is given one."""
    cookies = _cookies(request)
    wish, locales = request.query("lang"), request.query("ui_locales")
    known = cookies.get("kerwen_language")
    language = chosen((wish, known, locales), request.header(b"accept-language"))
    visit = Visit(request, words_of(language), "", base_url)
    visit.cookie = cookie = cookies.get(cookie_name(visit.secure), "")
    if not _COOKIE.fullmatch(cookie):
        visit.take(f"kvs_{secrets.token_urlsafe(32)}")
    if wish in LANGUAGES and wish != known:
        visit.set_cookies.append(_cookie("kerwen_language", wish, visit.secure, _YEAR_S))
    elif known is None and locales is not None:  # a client's wish, for the pages that follow
        visit.set_cookies.append(_cookie("kerwen_language", language, visit.secure))
    return visit


def _cookies(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in (request.header(b"cookie") or "")[:8_192].split(";"):
        name, _, value = pair.strip().partition("=")
        found.setdefault(name, value)
    return found


def next_of(text: str | None) -> str:
    """Where to go after signing in: a page of ours, whatever was asked for."""
    if text is not None and len(text) <= 8_000 and _NEXT.fullmatch(text):
        return text
    return f"{HOME}/account"
