"""Signing in and up in the browser, the second step, and signing out."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.register import Register, Wanted
from kerwen.accounts.address import localpart_named
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note, told
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.second_step import second_step_fields, shown_second
from kerwen.api.pages.visit import HOME, Visit, next_of
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused


class SignInPages:
    """`/_kerwen/my/log-in`, `second-step`, `sign-up`, `log-out`."""

    def __init__(self, desk: Desk, register: Register, invite: Invite) -> None:
        self._desk = desk
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
        return desk.page(visit, title, block, other, status=403 if why else 200)

    async def second_step(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/second-step"""
        if visit.half is None:
            return self._desk.go(visit, _next(visit))
        return self._second_page(visit)

    async def try_second_step(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/second-step"""
        form = visit.form()
        if visit.half is None:
            return self._desk.go(visit, _next(visit))
        try:
            await self._desk.browse.prove_second(visit.half, visit.cookie, shown_second(form))
        except Refused as refusal:
            return self._second_page(visit, refusal)
        return self._desk.go(visit, _next(visit))

    def _second_page(self, visit: Visit, why: Refused | None = None) -> Reply:
        words = visit.words
        title = words("second.title")
        form = self._desk.form(
            visit,
            f"{HOME}/second-step?{urlencode({'next': _next(visit)})}",
            note(told(visit, why)) if why else None,
            second_step_fields(visit),
            el("div", button(words("go_on")), class_="acts"),
        )
        block = el("section", el("h1", title), form)
        return self._desk.page(visit, title, block, status=403 if why else 200)

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
        return self._desk.go(visit, f"{HOME}/log-in?{urlencode({'next': _next(visit)})}")


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
