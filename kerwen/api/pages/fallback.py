"""The page of the second factor's stage, for clients that do not know it (CS #fallback).

A client opens it beside itself once the password was right; it tells the client when it is done.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.accounts.actions.prove import Prove
from kerwen.accounts.uia import SECOND_FACTOR
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, here, note, told
from kerwen.api.pages.html import el
from kerwen.api.pages.passkeys import SCRIPT
from kerwen.api.pages.second_step import second_step_forms, shown_second
from kerwen.api.pages.visit import Visit
from kerwen.base.errors import Reason, Refused

_PATH = "/_matrix/client/v3/auth/{authType}/fallback/web"


class FallbackPages:
    """`/_matrix/client/v3/auth/{authType}/fallback/web`."""

    def __init__(self, desk: Desk, prove: Prove) -> None:
        self._desk = desk
        self._prove = prove

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "CS #fallback"
        for method, page, cost in (("GET", self.ask, Cost.READ), ("POST", self.prove, Cost.LOGIN)):
            yield Route(method, _PATH, desk.open(page), anyone, cost, spec, shown=desk.shown)

    async def ask(self, visit: Visit) -> Reply:
        """GET /_matrix/client/v3/auth/{authType}/fallback/web"""
        return self._page(visit, _session_of(visit))

    async def prove(self, visit: Visit) -> Reply:
        """POST /_matrix/client/v3/auth/{authType}/fallback/web"""
        form, session_id = visit.form(), _session_of(visit)
        waiting = self._prove.at_second(session_id)
        try:
            await self._prove.by_page(session_id, shown_second(form, waiting.passkey_challenge))
        except Refused as refusal:
            return self._page(visit, session_id, refusal)
        title = visit.words("second.title")
        done = el("p", visit.words("second.done"), data_auth_done=True)
        block = el("section", el("h1", title), done)
        return self._desk.page(visit, title, block, script=SCRIPT, opener=True)

    def _page(self, visit: Visit, session_id: str, why: Refused | None = None) -> Reply:
        waiting = self._prove.at_second(session_id)
        title = visit.words("second.title")
        said = note(told(visit, why)) if why else None
        forms = second_step_forms(self._desk, visit, here(visit), waiting.asks or {}, said)
        block = el("section", el("h1", title), *forms)
        status = 403 if why else 200
        return self._desk.page(visit, title, block, status=status, script=SCRIPT, opener=True)


def _session_of(visit: Visit) -> str:
    request = visit.request
    if request.params["authType"] != SECOND_FACTOR:
        raise Refused(Reason.UNRECOGNIZED, "This stage has no page here")
    return request.need_query("session")
