"""The routes of JMAP: session, method calls."""

# RFC 8620 §2, §3

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any, Final

import orjson

from kerwen.api import replies
from kerwen.api.http import CORS_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.api.jmap.deeds import Deeds
from kerwen.api.jmap.registry import Registry, Work
from kerwen.api.jmap.sessions import Entry, Sessions
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.jmap import requests
from kerwen.mail.jmap.errors import RequestError
from kerwen.mail.jmap.requests import Batch

PATH: Final = "/jmap/"
WEBSOCKET: Final = "urn:ietf:params:jmap:websocket"
WELL_KNOWN: Final = "/.well-known/jmap"
_JSON: Final = [
    *CORS_HEADERS,
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
]
_PROBLEM: Final = [*CORS_HEADERS, (b"content-type", b"application/problem+json")]
_HOST: Final = re.compile(
    r"[A-Za-z0-9._\-]{1,253}(?::\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?"
)
_OFF_LOOP: Final = 4 * limits.MIB


class JmapApi:
    """The session object and the API endpoint. `base_url`: where clients find us if their
    request does not tell."""

    def __init__(self, deeds: Deeds, sessions: Sessions, registry: Registry, base_url: str) -> None:
        self.deeds = deeds
        self.sessions = sessions
        self.registry = registry
        self._base_url = base_url

    def routes(self) -> list[Route]:
        """The table."""
        open_ = (Access.ANYONE, Cost.FREE)
        spec = "RFC 8620"
        return [
            Route("GET", WELL_KNOWN, self.session, *open_, spec, shown=shown),
            Route("GET", PATH + "session", self.session, *open_, spec, shown=shown),
            Route(
                "POST", PATH + "api", self.call, *open_, spec,
                body_max=limits.JMAP_REQUEST_MAX, shown=shown,
            ),
        ]  # fmt: skip

    # --- the session

    async def session(self, request: Request) -> Reply:
        """GET /.well-known/jmap, /jmap/session"""
        entry = await self.sessions.enter(request)
        return Reply(orjson.dumps(self.session_object(entry, self.base_of(request))), headers=_JSON)

    def base_of(self, request: Request) -> str:
        """How the client came here, so that every URL that it gets leads to the same place."""
        host = request.header(b"host")
        if host is None or _HOST.fullmatch(host) is None:
            return self._base_url
        scheme = request.header(b"x-forwarded-proto")
        if scheme not in ("http", "https"):
            scheme = "https" if request.scope.get("secure") else "http"
        return f"{scheme}://{host}"

    def session_object(self, entry: Entry, base: str) -> dict[str, Any]:
        """The session object. # RFC 8620 §2"""
        known = self.registry.capabilities
        own = {uri: one.account for uri, one in known.items() if one.account is not None}
        told: dict[str, Any] = {
            "capabilities": {uri: one.session for uri, one in known.items()},
            "accounts": {
                entry.account_id: {
                    "name": entry.signed.address,
                    "isPersonal": True,
                    "isReadOnly": False,
                    "accountCapabilities": own,
                }
            },
            "primaryAccounts": dict.fromkeys(own, entry.account_id),
            "username": entry.signed.address,
            "apiUrl": f"{base}{PATH}api",
            "downloadUrl": f"{base}{PATH}download/{{accountId}}/{{blobId}}/{{name}}?type={{type}}",
            "uploadUrl": f"{base}{PATH}upload/{{accountId}}",
            "eventSourceUrl": f"{base}{PATH}eventsource"
            "?types={types}&closeafter={closeafter}&ping={ping}",
        }
        capabilities = told["capabilities"]
        if WEBSOCKET in capabilities:
            url = base.replace("http", "ws", 1) + PATH + "ws"
            capabilities[WEBSOCKET] = {"url": url, "supportsPush": True}
        told["state"] = self.session_state(entry)
        return told

    def session_state(self, entry: Entry) -> str:
        """Changes when the session object does."""
        names = " ".join(self.registry.methods)
        return hashlib.blake2b(f"{entry.account_id} {names}".encode(), digest_size=6).hexdigest()

    # --- method calls

    async def call(self, request: Request) -> Reply:
        """POST /jmap/api"""
        entry = await self.sessions.enter(request)
        kind = (request.header(b"content-type") or "application/json").partition(";")[0]
        try:
            if kind.strip().lower() != "application/json":
                raise RequestError("notJSON", "The content type is not application/json")
            with self.sessions.running(entry):
                told = await self.answer(entry, requests.parse(request.body))
        except RequestError as error:
            return problem(error)
        return Reply(told, headers=_JSON)

    async def answer(self, entry: Entry, body: Any, **more: Any) -> bytes:
        """The response of a request. `more` stands in it besides. Raises `RequestError`."""
        batch = Batch(body, self.registry.capabilities)
        work = Work(self.deeds, entry, batch)
        await self.registry.run(work)
        told = batch.response(self.session_state(entry)) | more
        if work.budget.spent > _OFF_LOOP:
            return await asyncio.to_thread(orjson.dumps, told)
        return orjson.dumps(told)


def problem(error: RequestError) -> Reply:
    """A request-level error. # RFC 8620 §3.6.1"""
    return Reply(orjson.dumps(error.document()), error.status, _PROBLEM)


def shown(request: Request, error: Refused | Unavailable) -> Reply:
    """How a refusal reads: a problem document. # RFC 7807"""
    headers = list(_PROBLEM)
    kind = "about:blank"
    if isinstance(error, Unavailable):
        status, _ = replies.unavailability(error)
        detail = error.reason.value
    else:
        status, _ = replies.refusal(error)
        detail = error.public_text
        if error.reason in _UNKNOWN:
            status = 401
            headers += _challenges(request)
        if error.reason is Reason.TOO_LARGE:
            limit = RequestError("limit", detail, 413, limit="maxSizeRequest")
            return problem(limit)
        if error.reason is Reason.LIMIT_EXCEEDED:
            wait_ms = (error.extra or {}).get("retry_after_ms", 1000)
            headers.append((b"retry-after", b"%d" % -(-wait_ms // 1000)))
    told = {"type": kind, "status": status, "detail": detail}
    return Reply(orjson.dumps(told), status, headers)


_UNKNOWN: Final = frozenset(
    {
        Reason.MISSING_TOKEN, Reason.UNKNOWN_TOKEN, Reason.EXPIRED_TOKEN, Reason.WRONG_PASSWORD,
        Reason.SECOND_FACTOR_NEEDED,
    }
)  # fmt: skip


def _challenges(request: Request) -> list[tuple[bytes, bytes]]:
    """How to log in. A page's own requests bring a token: a browser must ask nobody then."""
    told = [(b"www-authenticate", b'Bearer realm="jmap"')]
    if not (request.header(b"authorization") or "").lower().startswith("bearer"):
        told.append((b"www-authenticate", b'Basic realm="jmap", charset="UTF-8"'))
    return told
