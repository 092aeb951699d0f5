"""What every page needs: the frame around it, its headers, and who may see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from kerwen.api.http import Handler, Reply, Request
from kerwen.api.pages.html import Html, el, join, link
from kerwen.api.pages.style import MARK, SOURCE, STYLE
from kerwen.api.pages.visit import HOME, Visit, visit_of
from kerwen.api.pages.words import LANGUAGES
from kerwen.api.replies import CODES, UNREADY
from kerwen.base.errors import Refused, Unavailable
from kerwen.oauth.actions.browse import Browse

Page = Callable[[Visit], Awaitable[Reply]]
_PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_ALONE = (b"cross-origin-opener-policy", b"same-origin")


class Desk:
    """Makes replies of pages. `base_url` is the server's own address; https makes cookies safe."""

    def __init__(self, domain: str, base_url: str, browse: Browse) -> None:
        self.domain = domain
        self.base_url = base_url
        self.browse = browse

    @property
    def issuer(self) -> str:
        """Who gives the tokens (RFC 8414 §2)."""
        return self.base_url + "/"

    async def visit(self, request: Request) -> Visit:
        """Who visits."""
        visit = visit_of(request, self.base_url)
        found = await self.browse.find(visit.cookie)
        if found is not None and found.second_due:
            visit.half = found
        else:
            visit.browser = found
        return visit

    def open(self, page: Page) -> Handler:
        """A page for everybody."""

        async def handler(request: Request) -> Any:
            return await page(await self.visit(request))

        return handler

    def own(self, page: Page) -> Handler:
        """A page for somebody who is signed in; others sign in first and come back."""

        async def handler(request: Request) -> Any:
            visit = await self.visit(request)
            if visit.browser is None:
                return self.sign_in_first(visit)
            return await page(visit)

        return handler

    def sign_in_first(self, visit: Visit, page: str = "log-in") -> Reply:
        """To the log-in, and back to where the visit is now."""
        query = {"next": here(visit)}
        if hint := visit.request.query("login_hint"):
            query["login_hint"] = hint[:300]
        return self.go(visit, f"{HOME}/{page}?{urlencode(query)}")

    def go(self, visit: Visit, to: str) -> Reply:
        """Sends the browser elsewhere, by GET (RFC 9700 §4.12: never 307)."""
        headers = [*_PAGE_HEADERS[1:], _ALONE, (b"location", to.encode("latin-1", "replace"))]
        return Reply(b"", 303, headers + _set_cookies(visit))

    def page(
        self,
        visit: Visit,
        title: str,
        *blocks: str | None,
        status: int = 200,
        wide: bool = False,
        form_to: str = "",
        script: str = "",
        opener: bool = False,
    ) -> Reply:
        """A page. `form_to` is where a form's redirection may lead besides us (CSP); `script` is
        the path of one of ours; `opener`: the page that opened it may hear of it.
        """
        policy = (
            f"default-src 'none'; style-src {SOURCE}; {_scripts(script)}form-action 'self'"
            f"{' ' + form_to if form_to else ''}; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = [*_PAGE_HEADERS, (b"content-security-policy", policy.encode())]
        if not opener:
            headers.append(_ALONE)
        body = self._frame(visit, title, join(*blocks, _script(script)), wide)
        return Reply(body.encode(), status, headers + _set_cookies(visit))

    def _frame(self, visit: Visit, title: str, inside: Html, wide: bool) -> str:
        words = visit.words
        home = el("a", MARK, self.domain, href=f"{HOME}/account")
        out = None
        if visit.browser is not None:
            to = f"{HOME}/log-out?{urlencode({'next': here(visit)})}"
            out = self.form(visit, to, _quiet(words("log_out")))
        head = join(
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="robots", content="noindex"),
            el("title", f"{title} · {self.domain}"),
            el("style", Html(STYLE)),
        )
        body = el(
            "body",
            el("header", home, out),
            el("main", inside),
            el("footer", *_languages(visit)),
            class_="wide" if wide else None,
        )
        return f"<!doctype html>{el('html', el('head', head), body, lang=words.language)}"

    def form(
        self, visit: Visit, action: str, *inside: str | None, **attributes: str | bool | None
    ) -> Html:
        """A form that only this browser can send."""
        mark = el("input", type="hidden", name="mark", value=visit.mark)
        return el("form", mark, *inside, method="post", action=action, **attributes)

    def shown(self, request: Request, why: Refused | Unavailable) -> Reply:
        """A refusal as a page (`Route.shown`)."""
        visit = visit_of(request, self.base_url)
        words = visit.words
        if isinstance(why, Refused):
            status, _ = CODES[why.reason]
            key = f"refused.{why.reason.value}"
        else:
            status, _ = UNREADY[why.reason]
            key = "refused.unavailable"
        told = words(key if key in words else "refused.other")
        again = link(words("to_start"), f"{HOME}/account", look="quiet-button")
        title = words("refused.title")
        block = el("section", el("h1", title), el("p", told), el("div", again, class_="acts"))
        reply = self.page(visit, title, block, status=status)
        wait_ms = (why.extra or {}).get("retry_after_ms") if isinstance(why, Refused) else None
        if wait_ms:
            reply.headers.append((b"retry-after", b"%d" % -(-wait_ms // 1000)))
        return reply


def here(visit: Visit) -> str:
    """Path and query of the visit, without the language."""
    scope = visit.request.scope
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("lang=")]
    return f"{path}?{'&'.join(kept)}" if kept else path


def note(words: str, look: str = "bad") -> Html:
    """Something to be read first: `look` is bad, good or plain."""
    return el("p", words, class_=f"note {look}", role="alert" if look == "bad" else "status")


def told(visit: Visit, refusal: Refused) -> str:
    """A refusal in the reader's language."""
    key = f"refused.{refusal.reason.value}"
    return visit.words(key) if key in visit.words else visit.words("refused.other")


def _scripts(path: str) -> str:
    return "script-src 'self'; " if path else ""


def _script(path: str) -> Html | None:
    return el("script", src=path, defer=True) if path else None


def _quiet(label: str) -> Html:
    return el("button", label, type="submit", class_="quiet")


def _languages(visit: Visit) -> list[Html]:
    found = []
    place = here(visit)
    for code, name in LANGUAGES.items():
        if code == visit.words.language:
            found.append(el("b", name, lang=code))
            continue
        to = f"{place}{'&' if '?' in place else '?'}lang={code}"
        found.append(el("a", name, href=to, lang=code, hreflang=code))
    return found


def _set_cookies(visit: Visit) -> list[tuple[bytes, bytes]]:
    return [(b"set-cookie", cookie.encode()) for cookie in visit.set_cookies]
