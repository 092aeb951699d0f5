"""Push: an event stream over HTTP, and JMAP over WebSocket. Neither holds a vault open while it
waits. # RFC 8620 §7.3; RFC 8887"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

import orjson

from kerwen.api.http import CORS_HEADERS, Access, Cost, Reply, Request, Route, Upgrade
from kerwen.api.jmap.api import PATH, WEBSOCKET, JmapApi, problem, shown
from kerwen.api.jmap.registry import Capability
from kerwen.api.jmap.sessions import Entry, Sessions
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail.actions.push_states import PushStates, States, changed
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.watch import MailWatch, MailWatches
from kerwen.mail.jmap import requests
from kerwen.mail.jmap.errors import RequestError
from kerwen.storage.database import Change, Kind
from kerwen.storage.feed import Feed

_STREAM: Final = [
    *CORS_HEADERS,
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_PING_MIN_S: Final = 15
_PING_MAX_S: Final = 900
_QUIET_S: Final = 3_600.0
_POLICY: Final = 1008


class Socket(Protocol):
    """What we use of a WebSocket."""

    @property
    def open(self) -> bool:
        """Whether something can still be said."""

    async def receive(self) -> str | bytes | None:
        """The next message."""

    def send(self, message: str | bytes) -> None:
        """Sends one."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Says farewell."""


class Listener:
    """One who waits: what it wants, what it was told, what lets it in."""

    __slots__ = ("_watch", "account_id", "doubted", "news", "proof", "told", "types")

    def __init__(self, watch: MailWatch, entry: Entry, types: frozenset[str] | None) -> None:
        self._watch = watch
        self.account_id = entry.account_id
        self.proof = (entry.signed.secret, entry.signed.proof_hash)
        self.types = types
        self.told: States = {}
        self.doubted = False
        self.news: asyncio.Event | None = None

    @property
    def account_no(self) -> int:
        """Whose mail it is."""
        return self._watch.account_no

    @property
    def head(self) -> int:
        """The MODSEQ that the feed last told."""
        return self._watch.head

    @property
    def stopped(self) -> bool:
        """Whether the server stops."""
        return self._watch.stopped

    def close(self) -> None:
        """It waits no more."""
        self._watch.close()


class Listeners:
    """All who wait. Whoever's secret ends is let go."""

    def __init__(
        self, watches: MailWatches, states: PushStates, sign_in: SignIn, feed: Feed
    ) -> None:
        self._watches = watches
        self._states = states
        self._sign_in = sign_in
        self._open: dict[int, set[Listener]] = {}
        self._count = 0
        feed.follow(self._follow, Kind.ACCOUNT)

    def __len__(self) -> int:
        return self._count

    def open(self, entry: Entry, types: frozenset[str] | None) -> Listener:
        """Another one. Says `Unavailable` where there are too many."""
        own = self._open.setdefault(entry.account_no, set())
        if self._count >= limits.JMAP_PUSH_CLIENTS or len(own) >= limits.JMAP_PUSH_PER_ACCOUNT:
            raise Unavailable(Unready.BUSY, 60_000)
        listener = Listener(self._watches.open(entry.account_no), entry, types)
        own.add(listener)
        self._count += 1
        return listener

    def close(self, listener: Listener) -> None:
        """One less."""
        own = self._open.get(listener.account_no)
        if own is not None and listener in own:
            own.discard(listener)
            self._count -= 1
            if not own:
                del self._open[listener.account_no]
        listener.close()

    async def good(self, listener: Listener) -> bool:
        """Whether it may go on."""
        if not listener.doubted:
            return True
        listener.doubted = False
        return await self._sign_in.still(listener.account_no, *listener.proof)

    async def news(self, listener: Listener) -> tuple[int, States]:
        """What it was not told of yet; it counts as told from now on."""
        head, now = await self._states.of(listener.account_no, listener.head)
        found = changed(listener.told, now, listener.types)
        listener.told = now
        return head, found

    def _follow(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, account_no, _ in changes:
            doubted: list[Listener] = []
            if kind == Kind.ACCOUNT:
                doubted = list(self._open.get(account_no, ()))
            elif kind == Kind.JUMP:
                doubted = [one for own in self._open.values() for one in own]
            for one in doubted:
                one.doubted = True
                if one._watch.call is not None:
                    one._watch.call()


def watch(listener: Listener, call: Any) -> None:
    """`call` is called at every change."""
    listener._watch.call = call


def capability() -> Capability:
    """JMAP over WebSocket; its address is told by the session object."""
    return Capability(WEBSOCKET, {}, of_account=False)


class PushApi:
    """The routes of push."""

    def __init__(self, api: JmapApi, sessions: Sessions, listeners: Listeners) -> None:
        self._api = api
        self._sessions = sessions
        self._listeners = listeners

    def routes(self) -> list[Route]:
        """The table."""
        open_ = (Access.ANYONE, Cost.FREE)
        return [
            Route("GET", PATH + "eventsource", self.stream, *open_, "RFC 8620", shown=shown),
            Route("GET", PATH + "ws", self.socket, *open_, "RFC 8887", shown=shown),
        ]

    # --- an event stream

    async def stream(self, request: Request) -> Any:
        """GET /jmap/eventsource"""
        entry = await self._sessions.enter(request, _token(request))
        names = request.query("types", "*") or "*"
        types = None if names == "*" else frozenset(names.split(",")[:100])
        once = request.query("closeafter", "no") == "state"
        try:
            ping_s = request.int_query("ping", 0, 0, _PING_MAX_S)
        except Refused as refusal:
            return problem(RequestError("about:blank", refusal.public_text))
        if ping_s:
            ping_s = max(ping_s, _PING_MIN_S)
        last = request.header(b"last-event-id")
        listener = self._listeners.open(entry, types)
        request.forget()
        return Reply(self._events(listener, once, ping_s, last), headers=_STREAM)

    async def _events(
        self, listener: Listener, once: bool, ping_s: int, last: str | None
    ) -> AsyncIterator[bytes]:
        news = asyncio.Event()
        watch(listener, news.set)
        try:
            head, found = await self._listeners.news(listener)
            if not once or (last is not None and last != str(head)):
                yield _event(head, listener.account_id, found)
                if once:
                    return
            else:
                yield b": welcome\n\n"
            while not listener.stopped:
                try:
                    async with asyncio.timeout(ping_s or _QUIET_S):
                        await news.wait()
                except TimeoutError:
                    if ping_s:
                        yield b'event: ping\ndata: {"interval":%d}\n\n' % ping_s
                    continue
                news.clear()
                if not await self._listeners.good(listener):
                    return
                head, found = await self._listeners.news(listener)
                if found:
                    yield _event(head, listener.account_id, found)
                    if once:
                        return
        finally:
            self._listeners.close(listener)

    # --- a WebSocket

    async def socket(self, request: Request) -> Any:
        """GET /jmap/ws"""
        header = request.header(b"authorization") or _token(request)
        entry = await self._sessions.enter(request, header)
        line = _Line(self._api, self._sessions, self._listeners, entry, header or "")
        request.forget()
        return Upgrade(line.serve, ("jmap",), limits.JMAP_REQUEST_MAX, deflate=True)


def _token(request: Request) -> str | None:
    """Browsers cannot send a header with a WebSocket or an EventSource."""
    token = request.query("access_token")
    if request.header(b"authorization") is not None or token is None:
        return None
    return f"Bearer {token}"


def _changes(account_id: str, found: States) -> dict[str, Any]:
    return {"@type": "StateChange", "changed": {account_id: found}}


def _event(head: int, account_id: str, found: States) -> bytes:
    data = orjson.dumps(_changes(account_id, found))
    return b"id: %d\nevent: state\ndata: %b\n\n" % (head, data)


class _Line:
    """One WebSocket: requests one after another, and state changes when they come."""

    __slots__ = (
        "_account_no", "_api", "_header", "_listener", "_listeners", "_sessions", "_socket",
        "_telling",
    )  # fmt: skip

    def __init__(
        self,
        api: JmapApi,
        sessions: Sessions,
        listeners: Listeners,
        entry: Entry,
        header: str,
    ) -> None:
        self._api = api
        self._sessions = sessions
        self._listeners = listeners
        self._header = header
        self._account_no = entry.account_no
        # it listens from the start, so that it is let go where its token ends
        self._listener = listeners.open(entry, frozenset())
        self._socket: Socket | None = None
        self._telling: asyncio.Task[None] | None = None

    async def serve(self, socket: Socket) -> None:
        """Until the other side, or we, end it."""
        self._socket = socket
        watch(self._listener, self._wake)
        try:
            while (message := await socket.receive()) is not None:
                told = await self._answer(message)
                if told is not None:
                    socket.send(told.decode())
        finally:
            watch(self._listener, None)
            if self._telling is not None:
                self._telling.cancel()
            self._listeners.close(self._listener)

    async def _answer(self, message: str | bytes) -> bytes | None:
        request_id: str | None = None
        try:
            if isinstance(message, bytes):
                raise RequestError("notRequest", "A message is text")
            body = requests.parse(message.encode("utf-8", "replace"))
            if not isinstance(body, dict):
                raise RequestError("notRequest", "A message is an object")
            if isinstance(body.get("id"), str):
                request_id = body["id"][:255]
            kind = body.get("@type")
            if kind == "Request":
                return await self._call(body, request_id)
            if kind == "WebSocketPushEnable":
                return await self._enable(body)
            if kind == "WebSocketPushDisable":
                self._listener.types = frozenset()
                return None
            raise RequestError("notRequest", "@type is unknown")
        except RequestError as error:
            return _refusal(error, request_id)
        except Refused as refusal:
            if self._socket is not None and refusal.reason is not Reason.LIMIT_EXCEEDED:
                self._socket.close(_POLICY, "Log in again")
            why = RequestError("about:blank", refusal.public_text, 403)
            return _refusal(why, request_id)
        except Unavailable as busy:
            why = RequestError("about:blank", busy.reason.value, 503)
            return _refusal(why, request_id)

    async def _call(self, body: dict[str, Any], request_id: str | None) -> bytes:
        entry = await self._sessions.again(self._header, self._account_no)
        with self._sessions.running(entry):
            more: dict[str, Any] = {"@type": "Response"}
            if request_id is not None:
                more["requestId"] = request_id
            return await self._api.answer(entry, body, **more)

    async def _enable(self, body: dict[str, Any]) -> bytes | None:
        names, state = body.get("dataTypes"), body.get("pushState")
        if names is not None and (
            not isinstance(names, list) or not all(isinstance(one, str) for one in names)
        ):
            raise RequestError("notRequest", "dataTypes is a list of texts")
        listener = self._listener
        listener.types = None if names is None else frozenset(names[:100])
        listener.told = {}
        head, found = await self._listeners.news(listener)
        if state is None or state == str(head) or not found:
            return None
        return orjson.dumps(_changes(listener.account_id, found) | {"pushState": str(head)})

    def _wake(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Tells of changes; what comes meanwhile is told by the next."""
        listener, socket = self._listener, self._socket
        try:
            assert socket is not None
            if listener.stopped:
                socket.close(1001)
                return
            if not await self._listeners.good(listener):
                socket.close(_POLICY, "Log in again")
                return
            if listener.types is not None and not listener.types:
                return
            head, found = await self._listeners.news(listener)
            if found:
                told = _changes(listener.account_id, found) | {"pushState": str(head)}
                socket.send(orjson.dumps(told).decode())
        finally:
            self._telling = None
        if listener.head > head:
            self._wake()


def _refusal(error: RequestError, request_id: str | None) -> bytes:
    told = error.document() | {"@type": "RequestError"}
    if request_id is not None:
        told["requestId"] = request_id
    return orjson.dumps(told)
