"""The pages of an account's second factors: list, enrol, remove, new recovery codes.

Who is here has signed in whole, so has shown a second factor where there is one; what changes
anything asks for the password again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

from kerwen.accounts.actions.factors import Enrolled, Factors
from kerwen.accounts.actions.reset_factors import ResetFactors
from kerwen.accounts.passkey import Party
from kerwen.accounts.second_factor import FactorKind
from kerwen.accounts.store.factors import Factor
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note, told
from kerwen.api.pages.devices import when
from kerwen.api.pages.forms import password_field, whose
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.passkeys import (
    SCRIPT,
    credential_of,
    no_script,
    passkey_form,
    passkeys_work,
)
from kerwen.api.pages.visit import HOME, Visit
from kerwen.base.errors import Reason, Refused

_PLACE: Final = f"{HOME}/second-factor"


class FactorsPages:
    """`/_kerwen/my/second-factor`, `factor-add`, `factor-done`, `factor-remove`, `new-codes`."""

    def __init__(self, desk: Desk, factors: Factors, resets: ResetFactors, party: Party) -> None:
        self._desk = desk
        self._factors = factors
        self._resets = resets
        self._party = party

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "docs/second_factor.md"
        for method, name, page, cost in (
            ("GET", "second-factor", self.overview, Cost.READ),
            ("POST", "second-factor", self.stop_reset, Cost.WRITE),
            ("GET", "factor-add", self.add, Cost.READ),
            ("POST", "factor-add", self.begin, Cost.LOGIN),
            ("POST", "factor-done", self.confirm, Cost.LOGIN),
            ("GET", "factor-remove", self.remove, Cost.READ),
            ("POST", "factor-remove", self.remove_now, Cost.LOGIN),
            ("GET", "new-codes", self.new_codes, Cost.READ),
            ("POST", "new-codes", self.renew_codes, Cost.LOGIN),
        ):
            path = f"{HOME}/{name}"
            yield Route(method, path, desk.own(page), anyone, cost, spec, shown=desk.shown)

    async def overview(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/second-factor"""
        words, account_no = visit.words, visit.signed_in().account_no
        found, codes_left = await self._factors.all_of(account_no)
        title = words("factors.title")
        rows = [_row(visit, factor) for factor in found]
        listed = el("ul", *rows, class_="rows") if rows else el("p", words("factors.none"))
        codes = None
        if found:
            said = words("codes.left", count=str(codes_left))
            codes = el("p", said, " ", link(words("codes.renew"), f"{HOME}/new-codes"))
        adds = [_add_link(visit, FactorKind.TOTP)]
        if passkeys_work(visit, self._party):
            adds.append(_add_link(visit, FactorKind.PASSKEY))
        block = el(
            "section",
            el("h1", title),
            el("p", words("factors.text")),
            listed,
            codes,
            el("div", *adds, class_="acts"),
        )
        reset = await self._reset_note(visit)
        return self._desk.page(visit, title, reset, block, _home(visit), wide=True)

    async def _reset_note(self, visit: Visit) -> Html | None:
        if await self._resets.under_way(visit.signed_in().account_no) is None:
            return None
        words = visit.words
        stop = el("div", button(words("reset.stop"), look="danger"), class_="acts")
        return el(
            "section",
            el("h2", words("factors.reset_title")),
            el("p", words("reset.text")),
            self._desk.form(visit, _PLACE, stop),
        )

    async def stop_reset(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/second-factor: the end of an administrator's reset."""
        visit.form()
        await self._resets.stop(visit.signed_in().account_no)
        return self._desk.go(visit, _PLACE)

    async def add(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/factor-add?kind="""
        return self._add_page(visit, _kind(visit.request.query("kind")))

    def _add_page(self, visit: Visit, kind: FactorKind, why: Refused | None = None) -> Reply:
        words, title = visit.words, visit.words(f"factors.add_{kind}")
        form = self._desk.form(
            visit,
            f"{HOME}/factor-add",
            note(told(visit, why)) if why else None,
            el("input", type="hidden", name="kind", value=kind),
            field(
                words("factors.name"),
                "name",
                fill="off",
                hint=words("factors.name_hint"),
                required=True,
                maxlength="100",
            ),
            whose(visit),
            password_field(words("password"), "password"),
            el("div", button(words("go_on")), class_="acts"),
        )
        block = el("section", el("h1", title), el("p", words(f"factors.about_{kind}")), form)
        return self._desk.page(visit, title, block, _back(visit), status=_status(why))

    async def begin(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/factor-add"""
        form, browser = visit.form(), visit.signed_in()
        kind = _kind(form.get("kind"))
        try:
            keys = await self._desk.browse.check_password(browser, form.get("password", ""))
            name = form.get("name", "")
            if kind is FactorKind.TOTP:
                waiting, secret, uri = await self._factors.begin_totp(
                    browser.account_no, name, keys
                )
                return self._totp_page(visit, waiting, secret, uri)
            waiting, options = await self._factors.begin_passkey(browser.account_no, name, keys)
        except Refused as refusal:
            return self._add_page(visit, kind, refusal)
        title = visit.words("factors.add_passkey")
        acts = el("div", button(visit.words("passkey.make")), class_="acts")
        made = passkey_form(
            self._desk, visit, f"{HOME}/factor-done", "create", options, _hidden(waiting), acts
        )
        text = el("p", visit.words("passkey.touch"))
        block = el("section", el("h1", title), text, no_script(visit), made)
        return self._desk.page(visit, title, block, _back(visit), script=SCRIPT)

    def _totp_page(self, visit: Visit, waiting: str, secret: str, uri: str) -> Reply:
        words, title = visit.words, visit.words("factors.add_totp")
        form = self._desk.form(
            visit,
            f"{HOME}/factor-done",
            _hidden(waiting),
            field(
                words("second.code"),
                "code",
                fill="one-time-code",
                hint=words("totp.code_hint"),
                required=True,
                maxlength="20",
            ),
            el("div", button(words("go_on")), class_="acts"),
        )
        spaced = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
        block = el(
            "section",
            el("h1", title),
            el("p", words("totp.scan")),
            el("p", qr_code(uri), class_="qr"),
            el("p", link(words("totp.open"), uri)),
            el("p", words("totp.type"), " ", el("b", spaced, translate="no")),
            form,
        )
        return self._desk.page(visit, title, block, _back(visit))

    async def confirm(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/factor-done"""
        form, account_no = visit.form(), visit.signed_in().account_no
        try:
            enrolled = await self._confirmed(account_no, form)
        except Refused as refusal:
            title = visit.words("factors.title")
            block = el("section", el("h1", title), note(told(visit, refusal)), _again(visit))
            return self._desk.page(visit, title, block, status=400)
        if enrolled.codes is None:
            return self._desk.go(visit, _PLACE)
        return self._codes_page(visit, enrolled.codes)

    async def _confirmed(self, account_no: int, form: Mapping[str, str]) -> Enrolled:
        waiting = form.get("enrolment", "")
        credential = credential_of(form.get("credential"))
        if credential is None:
            return await self._factors.confirm_totp(account_no, waiting, form.get("code", ""))
        prf = form.get("prf") or None
        return await self._factors.confirm_passkey(account_no, waiting, credential, prf)

    def _codes_page(self, visit: Visit, codes: list[str]) -> Reply:
        words, title = visit.words, visit.words("codes.title")
        rows = [el("li", el("code", code)) for code in codes]
        block = el(
            "section",
            el("h1", title),
            el("p", words("codes.text")),
            el("ul", *rows, class_="plain", translate="no"),
            el("div", link(words("codes.kept"), _PLACE, look="main"), class_="acts"),
        )
        return self._desk.page(visit, title, block)

    async def remove(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/factor-remove?no="""
        return await self._remove_page(visit, visit.request.query("no"))

    async def remove_now(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/factor-remove"""
        form, browser = visit.form(), visit.signed_in()
        factor = await self._one(visit, form.get("no"))
        try:
            await self._desk.browse.check_password(browser, form.get("password", ""))
            await self._factors.remove(browser.account_no, factor.factor_no)
        except Refused as refusal:
            return await self._remove_page(visit, form.get("no"), refusal)
        return self._desk.go(visit, _PLACE)

    async def _remove_page(
        self, visit: Visit, number: str | None, why: Refused | None = None
    ) -> Reply:
        factor = await self._one(visit, number)
        kept = el("input", type="hidden", name="no", value=str(factor.factor_no))
        text = visit.words("factors.remove_text", name=factor.name)
        return self._grave(visit, "factor-remove", "factors.remove", text, why, kept)

    async def new_codes(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/new-codes"""
        return self._new_codes_page(visit)

    async def renew_codes(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/new-codes"""
        form, browser = visit.form(), visit.signed_in()
        try:
            await self._desk.browse.check_password(browser, form.get("password", ""))
            return self._codes_page(visit, await self._factors.renew_codes(browser.account_no))
        except Refused as refusal:
            return self._new_codes_page(visit, refusal)

    def _new_codes_page(self, visit: Visit, why: Refused | None = None) -> Reply:
        return self._grave(visit, "new-codes", "codes.renew", visit.words("codes.renew_text"), why)

    def _grave(
        self, visit: Visit, page: str, key: str, text: str, why: Refused | None, *more: Html
    ) -> Reply:
        words, title = visit.words, visit.words(key)
        form = self._desk.form(
            visit,
            f"{HOME}/{page}",
            note(told(visit, why)) if why else None,
            *more,
            whose(visit),
            password_field(words("password"), "password"),
            el("div", button(title, look="danger"), class_="acts"),
        )
        block = el("section", el("h1", title), el("p", text), form)
        return self._desk.page(visit, title, block, _back(visit), status=_status(why))

    async def _one(self, visit: Visit, number: str | None) -> Factor:
        found, _ = await self._factors.all_of(visit.signed_in().account_no)
        for factor in found:
            if str(factor.factor_no) == number:
                return factor
        raise Refused(Reason.NOT_FOUND, "There is no such second factor")


def qr_code(text: str) -> Html:
    """A QR code as a drawing inside the page, black on white in every light."""
    import segno  # needed on this one page only

    drawn = segno.make(text, error="m", micro=False)
    return Html(drawn.svg_inline(scale=4, border=4, light="white"))


def _kind(text: str | None) -> FactorKind:
    try:
        return FactorKind(text or "")
    except ValueError:
        raise Refused(Reason.NOT_FOUND, "There is no such kind of factor") from None


def _row(visit: Visit, factor: Factor) -> Html:
    words = visit.words
    used = words("factors.used", when=when(factor.used_ms)) if factor.used_ms else None
    said = [words(f"factors.{factor.kind}"), used]
    if factor.opens_vault:
        said.append(words("factors.alone"))
    to = f"{HOME}/factor-remove?{urlencode({'no': factor.factor_no})}"
    small = " · ".join(part for part in said if part)
    return el("li", el("a", el("b", factor.name), el("small", small), href=to))


def _add_link(visit: Visit, kind: FactorKind) -> Html:
    to = f"{HOME}/factor-add?{urlencode({'kind': kind})}"
    return link(visit.words(f"factors.add_{kind}"), to, look="quiet-button")


def _hidden(enrolment: str) -> Html:
    return el("input", type="hidden", name="enrolment", value=enrolment)


def _again(visit: Visit) -> Html:
    return el("div", link(visit.words("factors.title"), _PLACE, look="quiet-button"), class_="acts")


def _back(visit: Visit) -> Html:
    return el("p", link(visit.words("factors.title"), _PLACE))


def _home(visit: Visit) -> Html:
    return el("p", link(visit.words("account.title"), f"{HOME}/account"))


def _status(why: Refused | None) -> int:
    if why is None:
        return 200
    return 403 if why.reason is Reason.WRONG_PASSWORD else 400
