"""The pages of an account's app passwords: list, make, end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

from kerwen.accounts.actions.app_passwords import NAME_MAX, AppPasswords
from kerwen.accounts.store.tokens import AppPassword
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note, told
from kerwen.api.pages.devices import when
from kerwen.api.pages.forms import password_field, whose
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.visit import HOME, Visit
from kerwen.base.errors import Reason, Refused

_PLACE: Final = f"{HOME}/app-passwords"


class AppPasswordsPages:
    """`/_kerwen/my/app-passwords`, `app-password`."""

    def __init__(self, desk: Desk, apps: AppPasswords) -> None:
        self._desk = desk
        self._apps = apps

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "docs/accounts.md"
        for method, name, page, cost in (
            ("GET", "app-passwords", self.overview, Cost.READ),
            ("POST", "app-passwords", self.make, Cost.LOGIN),
            ("GET", "app-password", self.one, Cost.READ),
            ("POST", "app-password", self.end, Cost.WRITE),
        ):
            path = f"{HOME}/{name}"
            yield Route(method, path, desk.own(page), anyone, cost, spec, shown=desk.shown)

    async def overview(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/app-passwords"""
        return await self._list(visit)

    async def _list(self, visit: Visit, why: Refused | None = None) -> Reply:
        words, title = visit.words, visit.words("apps.title")
        found = await self._apps.list(visit.signed_in().account_no)
        rows = [_row(visit, one) for one in found]
        form = self._desk.form(
            visit,
            _PLACE,
            note(told(visit, why)) if why else None,
            field(
                words("apps.name"),
                "name",
                fill="off",
                hint=words("apps.name_hint"),
                required=True,
                maxlength=str(NAME_MAX),
            ),
            whose(visit),
            password_field(words("password"), "password"),
            el("div", button(words("apps.make")), class_="acts"),
        )
        listed = el("section", el("ul", *rows, class_="rows")) if rows else None
        block = el("section", el("h1", title), el("p", words("apps.text")), form)
        home = el("p", link(words("account.title"), f"{HOME}/account"))
        status = 200 if why is None else 403 if why.reason is Reason.WRONG_PASSWORD else 400
        return self._desk.page(visit, title, listed, block, home, wide=True, status=status)

    async def make(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/app-passwords"""
        form, browser, words = visit.form(), visit.signed_in(), visit.words
        try:
            keys = await self._desk.browse.check_password(browser, form.get("password", ""))
            _, made = await self._apps.make(browser.account_no, form.get("name", ""), keys.slot)
        except Refused as refusal:
            return await self._list(visit, refusal)
        title = words("apps.made")
        block = el(
            "section",
            el("h1", title),
            el("p", words("apps.once")),
            el("p", el("code", made), class_="who", translate="no"),
            el("div", link(words("apps.kept"), _PLACE, look="main"), class_="acts"),
        )
        return self._desk.page(visit, title, block)

    async def one(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/app-password?no="""
        app = await self._find(visit, visit.request.query("no"))
        words = visit.words
        kept = el("input", type="hidden", name="no", value=str(app.app_no))
        out = el("div", button(words("apps.end"), look="danger"), class_="acts")
        block = el(
            "section",
            el("h1", app.name),
            el("p", words("apps.end_text")),
            self._desk.form(visit, f"{HOME}/app-password", kept, out),
        )
        back = el("p", link(words("apps.title"), _PLACE))
        return self._desk.page(visit, app.name, block, back)

    async def end(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/app-password"""
        app = await self._find(visit, visit.form().get("no"))
        await self._apps.end(visit.signed_in().account_no, app.app_no)
        return self._desk.go(visit, _PLACE)

    async def _find(self, visit: Visit, number: str | None) -> AppPassword:
        for app in await self._apps.list(visit.signed_in().account_no):
            if str(app.app_no) == number:
                return app
        raise Refused(Reason.NOT_FOUND, "There is no such app password")


def _row(visit: Visit, app: AppPassword) -> Html:
    words = visit.words
    said = words("apps.since", when=when(app.created_ms))
    if app.used_ms:
        said += " · " + words("apps.used", when=when(app.used_ms))
    to = f"{HOME}/app-password?{urlencode({'no': app.app_no})}"
    return el("li", el("a", el("b", app.name), el("small", said), href=to))
