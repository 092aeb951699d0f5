"""Signing in and up in the browser, the second step, and signing out."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.register import Register, Wanted
from kerwen.accounts.address import localpart_named
from kerwen.accounts.passkey import Party
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note, told
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.passkeys import (
    SCRIPT,
    credential_of,
    no_script,
    passkey_button,
    passkey_form,
    passkeys_work,
)
from kerwen.api.pages.second_step import second_step_forms, shown_second
from kerwen.api.pages.visit import HOME, Visit, next_of
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.browse import passkey_challenge
from kerwen.oauth.store.browsers import Browser


class SignInPages:
    """`/_kerwen/my/log-in`, `second-step`, `passkey`, `sign-up`, `log-out`."""

    def __init__(self, desk: Desk, register: Register, invite: Invite, party: Party) -> None:
        self._desk = desk
        self._party = party
        self._register = register
        self._invite = invite

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "docs/oauth.md"
        get, post = Cost.READ, Cost.LOGIN
        for method, name, page, cost in (
            ("GET", "log-in", self.log_in, get),
            ("POST", "log-in", self.try_log_in, post),
            ("GET", "second-step", self.second_step, get),
            ("POST", "second-step", self.try_second_step, post),
            ("GET", "passkey", self.passkey, get),
            ("POST", "passkey", self.try_passkey, post),
            ("GET", "sign-up", self.sign_up, get),
            ("POST", "sign-up", self.try_sign_up, Cost.REGISTER),
            ("POST", "log-out", self.log_out, Cost.WRITE),
        ):
            path = f"{HOME}/{name}"
            yield Route(method, path, desk.open(page), anyone, cost, spec, shown=desk.shown)

    async def log_in(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/log-in"""
        if visit.browser is not None:
            return self._desk.go(visit, _next(visit))
        return self._log_in_page(visit, _hinted(visit))

    async def try_log_in(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/log-in"""
        form = visit.form()
        name = form.get("name", "").strip()
        try:
            return await self._enter(visit, name, form.get("password", ""))
        except Refused as refusal:
            return self._log_in_page(visit, name, refusal)

    async def _enter(self, visit: Visit, name: str, password: str) -> Reply:
        """Password right → second factor needed? → to where the visit wanted to go."""
        localpart = localpart_named(name, self._desk.domain)
        if len(password) > limits.PASSWORD_MAX:
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
        signed_in = await self._desk.browse.sign_in(localpart, password)
        visit.take(signed_in.cookie)
        if signed_in.second_due:
            to = f"{HOME}/second-step?{urlencode({'next': _next(visit)})}"
            return self._desk.go(visit, to)
        return self._desk.go(visit, _next(visit))

    def _log_in_page(self, visit: Visit, name: str = "", why: Refused | None = None) -> Reply:
        words, desk = visit.words, self._desk
        title = words("log_in.title")
        form = desk.form(
            visit,
            f"{HOME}/log-in?{urlencode({'next': _next(visit)})}",
            note(told(visit, why)) if why else None,
            field(
                words("name"), "name", value=name, fill="username", required=True, maxlength="300"
            ),
            field(
                words("password"),
                "password",
                kind="password",
                fill="current-password",
                required=True,
            ),
            el("div", button(words("log_in")), class_="acts"),
        )
        block = el(
            "section", el("h1", title), el("p", words("log_in.where", domain=desk.domain)), form
        )
        other = None
        if self._register.mode != "closed":
            to = f"{HOME}/sign-up?{urlencode({'next': _next(visit)})}"
            other = el("p", words("log_in.new"), " ", link(words("sign_up"), to))
        key = None
        if passkeys_work(visit, self._party):
            to = f"{HOME}/passkey?{urlencode({'next': _next(visit)})}"
            key = el("p", link(words("passkey.title"), to))
        return desk.page(visit, title, block, key, other, status=403 if why else 200)

    async def second_step(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/second-step"""
        if visit.half is None:
            return self._desk.go(visit, _next(visit))
        return await self._second_page(visit, visit.half)

    async def try_second_step(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/second-step"""
        form = visit.form()
        if visit.half is None:
            return self._desk.go(visit, _next(visit))
        try:
            shown = shown_second(form, passkey_challenge(visit.cookie))
            await self._desk.browse.prove_second(visit.half, visit.cookie, shown)
        except Refused as refusal:
            return await self._second_page(visit, visit.half, refusal)
        return self._desk.go(visit, _next(visit))

    async def _second_page(self, visit: Visit, half: Browser, why: Refused | None = None) -> Reply:
        words = visit.words
        title = words("second.title")
        action = f"{HOME}/second-step?{urlencode({'next': _next(visit)})}"
        asks = await self._desk.browse.asks(half, visit.cookie)
        if not passkeys_work(visit, self._party):
            asks.pop("passkey", None)
        said = note(told(visit, why)) if why else None
        forms = second_step_forms(self._desk, visit, action, asks, said)
        block = el("section", el("h1", title), *forms)
        script = SCRIPT if "passkey" in asks else ""
        return self._desk.page(visit, title, block, status=403 if why else 200, script=script)

    async def passkey(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/passkey: signs in without a name and password."""
        if visit.browser is not None:
            return self._desk.go(visit, _next(visit))
        return self._passkey_page(visit)

    async def try_passkey(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/passkey"""
        form = visit.form()
        try:
            credential = credential_of(form.get("credential")) or {}
            prf = form.get("prf") or None
            signed_in = await self._desk.browse.sign_in_by_passkey(credential, prf)
        except Refused as refusal:
            return self._passkey_page(visit, refusal)
        visit.take(signed_in.cookie)
        return self._desk.go(visit, _next(visit))

    def _passkey_page(self, visit: Visit, why: Refused | None = None) -> Reply:
        words, title = visit.words, visit.words("passkey.title")
        after = urlencode({"next": _next(visit)})
        options = self._desk.browse.passkeys.begin()
        key = passkey_button(visit)
        block = el(
            "section",
            el("h1", title),
            note(words("passkey.refused")) if why else None,
            el("p", words("passkey.text")),
            no_script(visit),
            passkey_form(self._desk, visit, f"{HOME}/passkey?{after}", "get", options, key),
        )
        back = el("p", link(words("passkey.by_password"), f"{HOME}/log-in?{after}"))
        status = 403 if why else 200
        return self._desk.page(visit, title, block, back, status=status, script=SCRIPT)

    async def sign_up(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/sign-up"""
        if visit.browser is not None:
            return self._desk.go(visit, _next(visit))
        return self._sign_up_page(visit, {"token": visit.request.query("token") or ""})

    async def try_sign_up(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/sign-up"""
        form = visit.form()
        name, password = form.get("name", "").strip(), form.get("password", "")
        try:
            if self._register.mode == "closed":
                raise Refused(Reason.REGISTRATION_CLOSED, "Registration is closed on this server")
            localpart = await self._register.check_name(name)
            self._register.check_password(password, localpart)
            if password != form.get("again", ""):
                return self._sign_up_page(visit, form, visit.words("password.differ"))
            token = await self._invitation(form.get("token", "").strip())
            wanted = Wanted(localpart, password, log_in=False, invitation=token)
            await self._register.run(wanted)
            return await self._enter(visit, localpart, password)
        except Refused as refusal:
            return self._sign_up_page(visit, form, told(visit, refusal))

    async def _invitation(self, token: str) -> str | None:
        if self._register.mode == "open":
            return None
        if not await self._invite.valid(token):
            raise Refused(Reason.UNKNOWN_TOKEN, "This invitation is not valid")
        return token

    def _sign_up_page(self, visit: Visit, given: dict[str, str], why: str | None = None) -> Reply:
        words, desk = visit.words, self._desk
        title = words("sign_up.title")
        to_log_in = f"{HOME}/log-in?{urlencode({'next': _next(visit)})}"
        other = el("p", words("sign_up.known"), " ", link(words("log_in"), to_log_in))
        if self._register.mode == "closed":
            closed = el("p", words("refused.registration_closed"))
            return desk.page(
                visit, title, el("section", el("h1", title), closed), other, status=403
            )
        form = desk.form(
            visit,
            f"{HOME}/sign-up?{urlencode({'next': _next(visit)})}",
            note(why) if why else None,
            self._invitation_field(visit, given),
            field(
                words("name"),
                "name",
                value=given.get("name", ""),
                fill="username",
                hint=words("sign_up.name_hint", domain=desk.domain),
                required=True,
                maxlength=str(limits.LOCALPART_MAX),
            ),
            *new_password_fields(visit),
            el("div", button(words("sign_up")), class_="acts"),
        )
        block = el("section", el("h1", title), el("p", words("sign_up.keep")), form)
        return desk.page(visit, title, block, other, status=400 if why else 200)

    def _invitation_field(self, visit: Visit, given: dict[str, str]) -> Html | None:
        if self._register.mode == "open":
            return None
        words = visit.words
        return field(
            words("sign_up.token"),
            "token",
            value=given.get("token", ""),
            fill="off",
            hint=words("sign_up.token_hint"),
            required=True,
            maxlength="64",
        )

    async def log_out(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/log-out"""
        visit.form()
        for found in (visit.browser, visit.half):
            if found is not None:
                await self._desk.browse.sign_out(found)
        return self._desk.go(visit, _next(visit))


def new_password_fields(visit: Visit) -> list[Html]:
    """A new password, twice."""
    words = visit.words
    hint = words("password.hint", least=str(limits.PASSWORD_MIN))
    kind, fill = "password", "new-password"
    return [
        field(words("password.new"), "password", kind=kind, fill=fill, hint=hint, required=True),
        field(words("password.again"), "again", kind=kind, fill=fill, required=True),
    ]


def _next(visit: Visit) -> str:
    return next_of(visit.request.query("next"))


def _hinted(visit: Visit) -> str:
    """Who a client thinks will log in (`login_hint`, as `mxid:@name:domain` or a name)."""
    return (visit.request.query("login_hint") or "").removeprefix("mxid:")[:300]
