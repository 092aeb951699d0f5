"""What somebody allows: a client by redirection, a device by its code."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, here, note
from kerwen.api.pages.html import Html, button, el, field, link
from kerwen.api.pages.visit import AUTHORIZE, HOME, Visit
from kerwen.api.pages.words import Words
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.actions.ask_for_device import AskForDevice
from kerwen.oauth.actions.authorise import Authorise
from kerwen.oauth.actions.register_client import RegisterClient
from kerwen.oauth.authorisation import Asked, Return, asked_of, one_of, return_of
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.store.clients import Client
from kerwen.oauth.user_code import shown_code, typed_code


class ConsentPages:
    """The authorisation endpoint and `/_kerwen/my/link`."""

    def __init__(
        self,
        desk: Desk,
        clients: RegisterClient,
        authorise: Authorise,
        ask_for_device: AskForDevice,
    ) -> None:
        self._desk = desk
        self._clients = clients
        self._authorise = authorise
        self._devices = ask_for_device

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone = self._desk, Access.ANYONE
        flow, device = "CS #authorisation-code-flow", "CS #device-authorisation-flow"
        for method, path, handler, cost, spec in (
            ("GET", AUTHORIZE, desk.open(self.authorize), Cost.READ, flow),
            ("POST", AUTHORIZE, desk.open(self.decide), Cost.WRITE, flow),
            # LOGIN, so that nobody tries many codes (RFC 8628 §5.1)
            ("GET", f"{HOME}/link", desk.own(self.link), Cost.LOGIN, device),
            ("POST", f"{HOME}/link", desk.own(self.decide_link), Cost.LOGIN, device),
        ):
            yield Route(method, path, handler, anyone, cost, spec, shown=desk.shown)

    async def authorize(self, visit: Visit) -> Reply:
        """GET /_kerwen/oauth/authorize"""
        client, found = await self._asked(visit)
        if isinstance(found, Reply):
            return found
        if visit.browser is None:
            return self._desk.sign_in_first(visit, "sign-up" if found.create else "log-in")
        return self._consent(visit, client, found)

    async def decide(self, visit: Visit) -> Reply:
        """POST /_kerwen/oauth/authorize"""
        client, found = await self._asked(visit)
        if isinstance(found, Reply):
            return found
        form = visit.form()
        if visit.browser is None:
            return self._desk.sign_in_first(visit)
        if form.get("answer") != "allow":
            return self._back(visit, found.back, error="access_denied")
        code = await self._authorise.run(visit.browser, visit.cookie, client, found)
        return self._back(visit, found.back, code=code)

    async def _asked(self, visit: Visit) -> tuple[Client, Asked | Reply]:
        """The client and what it asks for, or the way back with what is wrong with it.

        `Refused(INVALID_PARAM)`: nobody can be told but the person, since where the request would
        lead is not to be trusted.
        """
        params = visit.request.query_lists()
        try:
            client_id = one_of(params, "client_id")
            client = await self._clients.find(client_id) if client_id else None
            if client is None:
                raise OAuthRefused("invalid_request", "The client is not known")
            back = return_of(client.metadata, params)
        except OAuthRefused as refusal:
            raise Refused(Reason.INVALID_PARAM, refusal.text) from None
        try:
            return client, asked_of(client.metadata, back, params)
        except OAuthRefused as refusal:
            why = {"error": refusal.code, "error_description": refusal.text}
            return client, self._back(visit, back, **why)

    def _back(self, visit: Visit, back: Return, **answer: str) -> Reply:
        return self._desk.go(visit, back.to(self._desk.issuer, **answer))

    def _consent(self, visit: Visit, client: Client, asked: Asked) -> Reply:
        words, desk = visit.words, self._desk
        back = urlsplit(asked.back.redirect_uri)
        place = back.hostname if back.scheme == "https" else words("consent.this_device")
        title = words("consent.title")
        block = el(
            "section",
            el("h1", words("consent.asks", client=_name(client))),
            self._facts(visit, client),
            el("p", words("consent.returns", place=place or back.scheme), class_="quiet"),
            desk.form(visit, here(visit), *_answers(words)),
        )
        return desk.page(visit, title, block, form_to=asked.back.source())

    def _facts(self, visit: Visit, client: Client) -> Html:
        """Who asks, who is signed in, what is given."""
        words, metadata = visit.words, client.metadata
        user_id = f"@{visit.signed_in().localpart}:{self._desk.domain}"
        links = dict(metadata.links)
        more = [link(words(key), links[key]) for key in ("tos_uri", "policy_uri") if key in links]
        return el(
            "div",
            el("p", words("consent.as"), " ", el("b", user_id), class_="who"),
            el("p", words("consent.gives")),
            el(
                "ul",
                el("li", words("consent.read")),
                el("li", words("consent.write")),
                el("li", words("consent.profile")),
                class_="plain",
            ),
            el("p", words("consent.from", host=metadata.host), class_="quiet"),
            el("p", *[piece for one in more for piece in (one, " ")], class_="quiet")
            if more
            else None,
        )

    async def link(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/link"""
        typed = visit.request.query("user_code")
        if typed is None:
            return self._code_page(visit)
        return await self._device_page(visit, typed)

    async def decide_link(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/link"""
        form, words = visit.form(), visit.words
        code, answer = typed_code(form.get("user_code", "")), form.get("answer")
        if code is None or answer not in ("allow", "deny"):
            return await self._device_page(visit, form.get("user_code", ""))
        allow = answer == "allow"
        try:
            await self._devices.decide(visit.signed_in(), visit.cookie, code, allow)
        except Refused:
            return self._code_page(visit, words("link.unknown"))
        title = words("link.done" if allow else "link.denied")
        to_devices = link(words("devices.title"), f"{HOME}/devices", look="quiet-button")
        block = el(
            "section",
            el("h1", title),
            el("p", words("link.go_back")),
            el("div", to_devices, class_="acts"),
        )
        return self._desk.page(visit, title, block)

    def _code_page(self, visit: Visit, why: str | None = None) -> Reply:
        words = visit.words
        title = words("link.title")
        entry = field(
            words("link.code"),
            "user_code",
            fill="off",
            required=True,
            maxlength="20",
            class_="code",
            placeholder="XXXX-XXXX",
        )
        block = el(
            "section",
            el("h1", title),
            el("p", words("link.type")),
            note(why) if why else None,
            self._desk.form(
                visit, f"{HOME}/link", entry, el("div", button(words("go_on")), class_="acts")
            ),
        )
        return self._desk.page(visit, title, block, status=404 if why else 200)

    async def _device_page(self, visit: Visit, typed: str) -> Reply:
        words = visit.words
        code = typed_code(typed)
        try:
            if code is None:
                raise Refused(Reason.NOT_FOUND, "This is no code")
            _, client = await self._devices.look(code)
        except Refused:
            return self._code_page(visit, words("link.unknown"))
        kept = el("input", type="hidden", name="user_code", value=code)
        block = el(
            "section",
            el("h1", words("consent.asks", client=_name(client))),
            el("p", words("link.compare")),
            el("p", shown_code(code), class_="big"),
            self._facts(visit, client),
            note(words("link.careful"), "plain"),
            self._desk.form(visit, f"{HOME}/link", kept, *_answers(words)),
        )
        return self._desk.page(visit, words("link.title"), block)


def verification_uri(base_url: str, code: str | None = None) -> str:
    """Where a person allows a device; with its code, nothing need be typed."""
    query = f"?{urlencode({'user_code': shown_code(code)})}" if code else ""
    return f"{base_url}{HOME}/link{query}"


def _name(client: Client) -> str:
    return client.metadata.name or client.metadata.host


def _answers(words: Words) -> list[Html]:
    return [
        el(
            "div",
            button(words("consent.allow"), name="answer", value="allow"),
            button(words("consent.deny"), look="quiet", name="answer", value="deny"),
            class_="acts",
        )
    ]
