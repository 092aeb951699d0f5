"""The push gateway of this server, and the endpoints to which its phones listen (docs/push.md).

The second is the part of ntfy's protocol that UnifiedPush distributors use, so ntfy's app can
listen here as well as our own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import orjson

from kerwen.api.http import CORS_HEADERS, JSON_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.push import ntfy
from kerwen.push.actions.topics import PATH, Topics

NOTIFY: Final = "/_matrix/push/v1/notify"
_BODY_MAX: Final = 256 * limits.KIB
_STREAM: Final = [*CORS_HEADERS, (b"content-type", b"application/x-ndjson; charset=utf-8")]

CheckAppPassword = Callable[[str, str], Awaitable[int | None]]
"""(name, app password) → account, for programs that only know HTTP's own log-in."""


class AppBody(msgspec.Struct):
    """For which app an endpoint is wanted."""

    app: str


class PushApi:
    """The routes of push_notifier.yaml, and UnifiedPush."""

    def __init__(self, topics: Topics, check_app_password: CheckAppPassword) -> None:
        self._topics = topics
        self._check = check_app_password

    def routes(self) -> list[Route]:
        """The table."""
        anyone, some, spec = Access.ANYONE, Access.OPTIONAL, "docs/push.md"
        own, one = PATH + "topics", PATH + "{topic}"
        write = {"cost": Cost.WRITE, "spec": spec}
        small = ntfy.MESSAGE_MAX + 1
        return [
            Route("GET", NOTIFY, self.discover_gateway, anyone, Cost.FREE, spec),
            Route("POST", NOTIFY, self.notify, anyone, Cost.WRITE, spec, body_max=_BODY_MAX),
            Route("GET", own, self.list_topics, spec=spec),
            Route("POST", own, self.make, **write),  # type: ignore[arg-type]
            Route("DELETE", own + "/{topic}", self.drop, **write),  # type: ignore[arg-type]
            Route("GET", one, self.discover, anyone, Cost.READ, spec),
            Route("POST", one, self.publish, anyone, Cost.WRITE, spec, body_max=small),
            Route("PUT", one, self.publish, anyone, Cost.WRITE, spec, body_max=small),
            Route("GET", one + "/json", self.stream, some, Cost.READ, spec),
            Route("GET", one + "/auth", self.auth, some, Cost.READ, spec),
            Route("GET", PATH + "v1/health", self.health, anyone, Cost.FREE, spec),
        ]

    async def discover_gateway(self, request: Request) -> Any:
        """GET /_matrix/push/v1/notify: UnifiedPush clients ask whether this is a gateway."""
        return {"unifiedpush": {"gateway": "matrix"}}

    async def notify(self, request: Request) -> Any:
        """POST /_matrix/push/v1/notify"""
        return {"rejected": await self._topics.notify(request.object())}

    async def list_topics(self, request: Request) -> Any:
        """GET /_kerwen/push/topics"""
        found = await self._topics.all(request.caller.account_no)
        return {
            "topics": [
                {"topic": t.topic, "endpoint": self._topics.endpoint(t.topic), "app": t.app}
                for t in found
            ]
        }

    async def make(self, request: Request) -> Any:
        """POST /_kerwen/push/topics"""
        caller = request.caller
        app = request.json(AppBody).app
        return {"endpoint": await self._topics.make(caller.account_no, caller.device_no, app)}

    async def drop(self, request: Request) -> Any:
        """DELETE /_kerwen/push/topics/{topic}"""
        await self._topics.drop(request.caller.account_no, request.params["topic"])
        return b"{}"

    async def discover(self, request: Request) -> Any:
        """GET /_kerwen/push/{topic}: UnifiedPush servers ask whether this is an endpoint."""
        return {"unifiedpush": {"version": 1}}

    async def publish(self, request: Request) -> Any:
        """POST /_kerwen/push/{topic}"""
        made = await self._topics.publish(request.params["topic"], request.body)
        location = self._topics.endpoint(request.params["topic"]).encode()
        headers = [*JSON_HEADERS, (b"location", location), (b"ttl", b"%d" % (ntfy.KEPT_MS // 1000))]
        return Reply(orjson.dumps(made), 201, headers)  # RFC 8030 §5

    async def auth(self, request: Request) -> Any:
        """GET /_kerwen/push/{topic}/auth"""
        await self._listener(request)
        return {"success": True}

    async def health(self, request: Request) -> Any:
        """GET /_kerwen/push/v1/health"""
        return {"healthy": True}

    async def stream(self, request: Request) -> Any:
        """GET /_kerwen/push/{topic},{topic}/json"""
        names = ntfy.topics_of(request.params["topic"])
        poll = request.query("poll", "0") in ("1", "true")
        after, after_ms = ntfy.since(request.query("since"), self._topics.now_ms(), poll=poll)
        topics = await self._topics.claim(await self._listener(request), names)
        if poll:
            lines = await self._topics.fetch(topics, after, after_ms)
            return Reply(b"".join(line for _, line in lines), headers=_STREAM)
        return Reply(self._topics.listen(topics, after, after_ms), headers=_STREAM)

    async def _listener(self, request: Request) -> int:
        """Who listens: an access token's account, or an app password's by HTTP Basic."""
        if request.caller_ is not None:
            return request.caller_.account_no
        header = request.header(b"authorization") or ""
        if header[:6].lower() == "basic ":
            try:
                told = base64.b64decode(header[6:], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise Refused(Reason.UNKNOWN_TOKEN, "Wrong name or app password") from None
            name, _, password = told.rpartition(":")  # a user id holds a colon, ours does not
            account_no = await self._check(name, password)
            if account_no is None:
                raise Refused(Reason.UNKNOWN_TOKEN, "Wrong name or app password")
            return account_no
        raise Refused(Reason.MISSING_TOKEN, "To listen, log in")
