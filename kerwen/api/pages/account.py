"""The account's own pages: overview, password, new cross-signing keys, closing
(CS #oauth-20-account-management).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

from kerwen.accounts.actions.change_password import ChangePassword
from kerwen.accounts.actions.deactivate import Deactivate
from kerwen.accounts.actions.profile import Profiles
from kerwen.accounts.actions.reset_password import ResetPassword
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note, told
from kerwen.api.pages.forms import password_field, whose
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.sign_in import new_password_fields
from kerwen.api.pages.visit import HOME, Visit
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.renew_keys import RenewKeys

ACTIONS: Final = {
    "org.matrix.profile": "account",
    "org.matrix.devices_list": "devices",
    "org.matrix.device_view": "device",
    "org.matrix.device_delete": "device",
    "org.matrix.account_deactivate": "close",
    "org.matrix.cross_signing_reset": "new-keys",
}
"""Which page an action means."""
EARLY_ACTIONS: Final = {
    "org.matrix.sessions_list": "devices",
    "org.matrix.session_view": "device",
    "org.matrix.session_end": "device",
}
"""As clients wrote them before v1.18 (MSC4191)."""


class AccountPages:
    """`/_kerwen/my/account`, `password`, `new-keys`, `close`."""

    def __init__(
        self,
        desk: Desk,
        profiles: Profiles,
        change_password: ChangePassword,
        resets: ResetPassword,
        deactivate: Deactivate,
        renew_keys: RenewKeys,
    ) -> None:
        self._desk = desk
        self._profiles = profiles
        self._change_password = change_password
        self._resets = resets
        self._deactivate = deactivate
        self._renew_keys = renew_keys

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "CS #oauth-20-account-management"
        for method, name, page, cost in (
            ("GET", "account", self.account, Cost.READ),
            ("POST", "account", self.change, Cost.WRITE),
            ("GET", "password", self.password, Cost.READ),
            ("POST", "password", self.change_password, Cost.LOGIN),
            ("GET", "new-keys", self.new_keys, Cost.READ),
            ("POST", "new-keys", self.allow_new_keys, Cost.LOGIN),
            ("GET", "close", self.close, Cost.READ),
            ("POST", "close", self.close_for_good, Cost.LOGIN),
        ):
            path = f"{HOME}/{name}"
            yield Route(method, path, desk.own(page), anyone, cost, spec, shown=desk.shown)

    async def account(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/account; `action` leads to the page that it means."""
        action = visit.request.query("action")
        page = {**ACTIONS, **EARLY_ACTIONS}.get(action or "", "account")
        if page == "device":
            device_id = visit.request.query("device_id")
            if device_id is None:
                return self._desk.go(visit, f"{HOME}/devices")
            return self._desk.go(visit, f"{HOME}/device?{urlencode({'id': device_id})}")
        if page != "account":
            return self._desk.go(visit, f"{HOME}/{page}")
        return await self._overview(visit)

    async def change(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/account: the display name, or the end of a password reset."""
        form, words = visit.form(), visit.words
        account_no = visit.signed_in().account_no
        try:
            if form.get("stop_reset"):
                await self._resets.stop(account_no)
            else:
                await self._profiles.set(account_no, "displayname", form.get("shown", "").strip())
        except Refused as refusal:
            return await self._overview(visit, note(told(visit, refusal)), 400)
        return await self._overview(visit, note(words("saved"), "good"))

    async def _overview(self, visit: Visit, said: Html | None = None, status: int = 200) -> Reply:
        words, browser, desk = visit.words, visit.signed_in(), self._desk
        user_id = f"@{browser.localpart}:{desk.domain}"
        profile = await self._profiles.get(user_id)
        form = desk.form(
            visit,
            f"{HOME}/account",
            field(
                words("account.shown"),
                "shown",
                value=str(profile.get("displayname") or ""),
                fill="name",
                hint=words("account.shown_hint"),
                maxlength="256",
            ),
            el("div", button(words("save")), class_="acts"),
        )
        rows = [
            _row(words("devices.title"), words("devices.row"), f"{HOME}/devices"),
            _row(words("link.title"), words("link.row"), f"{HOME}/link"),
            _row(words("password.title"), words("password.row"), f"{HOME}/password"),
            _row(words("factors.title"), words("factors.row"), f"{HOME}/second-factor"),
            _row(words("apps.title"), words("apps.row"), f"{HOME}/app-passwords"),
            _row(words("new_keys.title"), words("new_keys.row"), f"{HOME}/new-keys"),
            _row(words("close.title"), words("close.row"), f"{HOME}/close"),
        ]
        title = words("account.title")
        return desk.page(
            visit,
            title,
            said,
            await self._reset_note(visit),
            el("section", el("h1", title), el("p", el("b", user_id), class_="who"), form),
            el("section", el("ul", *rows, class_="rows")),
            wide=True,
            status=status,
        )

    async def _reset_note(self, visit: Visit) -> Html | None:
        """Somebody began a reset of the password: the owner may stop it."""
        if await self._resets.under_way(visit.signed_in().account_no) is None:
            return None
        words = visit.words
        kept = el("input", type="hidden", name="stop_reset", value="1")
        stop = el("div", button(words("reset.stop"), look="danger"), class_="acts")
        return el(
            "section",
            el("h2", words("reset.title")),
            el("p", words("reset.text")),
            self._desk.form(visit, f"{HOME}/account", kept, stop),
        )

    async def password(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/password"""
        return self._password_page(visit)

    async def change_password(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/password"""
        form, words, browser = visit.form(), visit.words, visit.signed_in()
        fresh = form.get("password", "")
        others = form.get("others") == "yes"
        try:
            await self._change_password.check(browser.account_no, fresh)
            if fresh != form.get("again", ""):
                return self._password_page(visit, words("password.differ"))
            keys = await self._desk.browse.check_password(browser, form.get("old", ""))
            await self._change_password.run(browser.account_no, keys, fresh, 0, others)
            if others:  # this browser's session ended with the rest
                again = await self._desk.browse.sign_in(browser.localpart, fresh, second_done=True)
                visit.take(again.cookie)
        except Refused as refusal:
            return self._password_page(visit, told(visit, refusal))
        title = words("password.title")
        block = el("section", el("h1", title), el("p", words("password.done")), _home(visit))
        return self._desk.page(visit, title, block, wide=True)

    def _password_page(self, visit: Visit, why: str | None = None) -> Reply:
        words = visit.words
        title = words("password.title")
        others = el("input", type="checkbox", name="others", value="yes", id="others", checked=True)
        form = self._desk.form(
            visit,
            f"{HOME}/password",
            note(why) if why else None,
            whose(visit),
            password_field(words("password.old"), "old"),
            *new_password_fields(visit),
            el("p", others, el("label", words("password.others"), for_="others"), class_="check"),
            el("div", button(words("password.change")), class_="acts"),
        )
        block = el("section", el("h1", title), form)
        return self._desk.page(visit, title, block, wide=True, status=400 if why else 200)

    async def new_keys(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/new-keys"""
        return self._new_keys_page(visit)

    async def allow_new_keys(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/new-keys"""
        form, words, browser = visit.form(), visit.words, visit.signed_in()
        try:
            await self._desk.browse.check_password(browser, form.get("password", ""))
        except Refused as refusal:
            return self._new_keys_page(visit, refusal)
        await self._renew_keys.allow(browser.account_no)
        title = words("new_keys.done")
        block = el("section", el("h1", title), el("p", words("new_keys.go_back")))
        return self._desk.page(visit, title, block)

    def _new_keys_page(self, visit: Visit, why: Refused | None = None) -> Reply:
        words = visit.words
        acts = el("div", button(words("new_keys.allow"), look="danger"), class_="acts")
        return self._grave(visit, "new-keys", "new_keys", why, acts)

    async def close(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/close"""
        return self._close_page(visit)

    async def close_for_good(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/close"""
        form, words, browser = visit.form(), visit.words, visit.signed_in()
        try:
            await self._desk.browse.check_password(browser, form.get("password", ""))
        except Refused as refusal:
            return self._close_page(visit, refusal)
        await self._deactivate.run(browser.account_no, form.get("erase") == "yes")
        visit.browser = None
        title = words("close.done")
        return self._desk.page(visit, title, el("section", el("h1", title)))

    def _close_page(self, visit: Visit, why: Refused | None = None) -> Reply:
        words = visit.words
        erase = el("input", type="checkbox", name="erase", value="yes", id="erase")
        check = el("p", erase, el("label", words("close.erase"), for_="erase"), class_="check")
        acts = el("div", button(words("close.act"), look="danger"), class_="acts")
        return self._grave(visit, "close", "close", why, check, acts)

    def _grave(self, visit: Visit, page: str, key: str, why: Refused | None, *more: Html) -> Reply:
        """A page that tells what will happen and asks for the password."""
        words = visit.words
        title = words(f"{key}.title")
        form = self._desk.form(
            visit,
            f"{HOME}/{page}",
            note(told(visit, why)) if why else None,
            whose(visit),
            password_field(words("password"), "password"),
            *more,
        )
        block = el("section", el("h1", title), el("p", words(f"{key}.text")), form)
        status = 403 if why and why.reason is Reason.WRONG_PASSWORD else 400 if why else 200
        return self._desk.page(visit, title, block, _back(visit), status=status)


def _row(label: str, more: str, href: str) -> Html:
    return el("li", el("a", el("b", label), el("small", more), href=href))


def _home(visit: Visit) -> Html:
    back = link(visit.words("account.title"), f"{HOME}/account", look="quiet-button")
    return el("div", back, class_="acts")


def _back(visit: Visit) -> Html:
    return el("p", link(visit.words("account.title"), f"{HOME}/account"))
