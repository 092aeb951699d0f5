"""What pages need for a passkey's ceremony: a form that the script fills in, and the script.

Without a script, or in a browser without passkeys, the form stays hidden.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from kerwen.accounts.passkey import Party
from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.api.pages.desk import Desk
from kerwen.api.pages.html import Html, button, el
from kerwen.api.pages.visit import Visit
from kerwen.base.errors import Reason, Refused

SCRIPT: Final = "/_kerwen/passkey.js"
_FILE: Final = Path(__file__).parent / "passkey.js"


class PasskeyScript:
    """`/_kerwen/passkey.js`."""

    def routes(self) -> Iterable[Route]:
        """The table."""
        spec = "docs/second_factor.md"
        yield Route("GET", SCRIPT, self.script, Access.ANYONE, Cost.READ, spec)

    async def script(self, request: Request) -> Any:
        """GET /_kerwen/passkey.js"""
        headers = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
        ]
        return Reply(_script(), 200, headers)


@cache
def _script() -> bytes:
    return _FILE.read_bytes()


def passkeys_work(visit: Visit, party: Party) -> bool:
    """Whether the browser would use our passkeys on the page that it sees."""
    host = urlsplit(f"//{visit.request.header(b'host') or ''}").hostname
    return host == party.rp_id


def passkey_form(
    desk: Desk, visit: Visit, action: str, deed: str, options: dict[str, Any], *more: Html
) -> Html:
    """The form of a ceremony; `deed` is create or get, `more` its buttons and hidden fields."""
    return desk.form(
        visit,
        action,
        el(
            "p",
            visit.words("passkey.failed"),
            class_="note bad",
            role="alert",
            hidden=True,
            data_failed=True,
        ),
        el("input", type="hidden", name="credential"),
        el("input", type="hidden", name="prf"),
        *more,
        data_passkey=deed,
        data_options=orjson.dumps(options).decode(),
        hidden=True,
    )


def passkey_button(visit: Visit, look: str = "main") -> Html:
    """The button that begins it."""
    return el("div", button(visit.words("passkey.use"), look=look), class_="acts")


def no_script(visit: Visit) -> Html:
    """What a page of passkeys says to browsers that run no script."""
    return el("noscript", el("p", visit.words("passkey.script"), class_="note bad"))


def credential_of(text: str | None) -> dict[str, Any] | None:
    """The passkey's answer that the script wrote; `Refused(WRONG_CODE)` where it is nonsense."""
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Refused(Reason.WRONG_CODE, "The passkey's answer is not right")
    return found
