"""Requests, replies and the way from one to the other: log-in check, limits, errors.

A handler takes a `Request` and returns bytes (JSON already), a JSON-able object, or a `Reply`.
It parses, calls one action and formats; it decides nothing.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import unquote_plus

import msgspec
import orjson

from kerwen.api import audit, replies
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.net.http_exchange import FixedHeaders
from kerwen.storage.database import Retry

if TYPE_CHECKING:
    from kerwen.api.router import Router
    from kerwen.net.websocket import WebSocket

log = logging.getLogger("kerwen.http")
T = TypeVar("T")
QUERY_FIELDS_MAX = 200

_ALLOWED: Final = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"X-Requested-With, Content-Type, Authorization, Range, If-None-Match, If-Match",
    ),
]
CORS_HEADERS: Final = FixedHeaders(_ALLOWED)
JSON_HEADERS: Final = FixedHeaders([(b"content-type", b"application/json"), *_ALLOWED])


class Access(enum.Enum):
    """Who may call a route."""

    ANYONE = 0
    OPTIONAL = 1  # a token is checked if there is one
    USER = 2
    ADMIN = 3
    LOCKED = 4  # a user, also a locked one (log-out)


class Cost(enum.Enum):
    """Which rate limit counts a route."""

    FREE = "free"
    READ = "read"
    WRITE = "write"
    MESSAGE = "message"
    LOGIN = "login"
    REGISTER = "register"
    HEAVY = "heavy"  # a key upload, a room creation, a search


@dataclass(slots=True)
class Caller:
    """Who asks: the account and device of an access token."""

    account_no: int
    user_id: str
    device_no: int
    device_id: str
    token_no: int = 0
    admin: bool = False
    suspended: bool = False
    locked: bool = False
    service: str = ""  # the application service that acts as the account
    limited: bool = True  # rate limits count
    oauth: bool = False  # the token came of the OAuth 2.0 API


class Authenticator(Protocol):
    """Finds the caller of an access token."""

    async def caller(self, token: str) -> Caller:
        """Raises `Refused` (UNKNOWN_TOKEN, EXPIRED_TOKEN, ...)."""


class Masks(Protocol):
    """Application services, who say as whom they act (AS #identity-assertion)."""

    def knows(self, token: str) -> bool:
        """Whether a token is a service's."""

    async def caller(self, token: str, user_id: str | None, device_id: str | None) -> Caller:
        """Raises `Refused` (FORBIDDEN, UNKNOWN_DEVICE)."""


class Limiter(Protocol):
    """Counts what callers cost."""

    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        """Raises `Refused(LIMIT_EXCEEDED)` with `retry_after_ms`."""


@dataclass(slots=True)
class Reply:
    """An answer. `body` is bytes, or an iterator of chunks with `length` where it is known."""

    body: bytes | AsyncIterator[bytes] = b"{}"
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: JSON_HEADERS)


@dataclass(slots=True)
class Upgrade:
    """An answer that turns the connection into a WebSocket, which `serve` reads to its end."""

    serve: Callable[[WebSocket], Awaitable[None]]
    protocols: tuple[str, ...] = ()  # sub-protocols that we speak, the best first
    message_max: int = limits.WEBSOCKET_MESSAGE_MAX
    deflate: bool = False  # messages may be compressed, each for itself (RFC 7692)


class Request:
    """One HTTP request, read lazily. `params` are the path's parts, `caller` who asks."""

    __slots__ = ("_query", "body", "caller_", "method", "params", "receive", "scope", "shown")

    def __init__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.params: dict[str, str] = {}
        self.body = b""
        self.caller_: Caller | None = None
        self.shown: Shown | None = None
        self._query: dict[str, str] | None = None

    def forget(self) -> None:
        """Drops what was read of it: it need not lie there while the answer waits."""
        self.body = b""
        self._query = None

    @property
    def caller(self) -> Caller:
        assert self.caller_ is not None, "the route asks for a user"
        return self.caller_

    @property
    def address(self) -> str:
        """The peer's network address, for rate limits only; never logged."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def header(self, name: bytes) -> str | None:
        """A header's value; `name` in lower case."""
        for key, value in self.scope["headers"]:
            if key == name:
                return bytes(value).decode("latin-1")
        return None

    def query_values(self) -> dict[str, str]:
        """The query parameters; the last value of each."""
        if self._query is None:
            self._query = {}  # for whoever tells of a refusal: it must not be refused again
            self._query = dict(_parse_query(self.scope["query_string"].decode("latin-1")))
        return self._query

    def query(self, name: str, default: str | None = None) -> str | None:
        """A query parameter's last value."""
        return self.query_values().get(name, default)

    def queries(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        pairs = _parse_query(self.scope["query_string"].decode("latin-1"))
        return [value for key, value in pairs if key == name]

    def query_lists(self) -> dict[str, list[str]]:
        """Every value of every query parameter."""
        return _listed(_parse_query(self.scope["query_string"].decode("latin-1")))

    def query_names(self) -> list[str]:
        """The names of all query parameters."""
        return list(self.query_values())

    def need_query(self, name: str) -> str:
        """A query parameter that must be there."""
        value = self.query(name)
        if value is None:
            raise Refused(Reason.MISSING_PARAM, f"Missing query parameter {name}")
        return value

    def int_query(self, name: str, default: int, low: int, high: int) -> int:
        """A number; above `high` it is taken as `high`, other nonsense is refused."""
        value = self.query(name)
        if value is None:
            return default
        if not value.isascii() or not value.lstrip("-").isdigit() or len(value) > 20:
            raise Refused(Reason.INVALID_PARAM, f"{name} must be a number")
        number = int(value)
        if number < low:
            raise Refused(Reason.INVALID_PARAM, f"{name} must be at least {low}")
        return min(number, high)

    def bool_query(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.query(name)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise Refused(Reason.INVALID_PARAM, f"{name} must be true or false")
        return value == "true"

    def json(self, kind: type[T]) -> T:
        """The body as a typed struct; refuses other shapes. An empty body reads as `{}`."""
        decoder = _DECODERS.get(kind)
        if decoder is None:
            decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
        try:
            if not self.body.isascii():
                self.body.decode()  # fields that the struct skips are checked too
            return decoder.decode(self.body or b"{}")  # type: ignore[no-any-return]
        except msgspec.ValidationError as error:
            raise Refused(Reason.BAD_JSON, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused(Reason.NOT_JSON, "The body is not JSON") from None

    def object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one reads as `{}`."""
        try:
            found = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError:
            raise Refused(Reason.NOT_JSON, "The body is not JSON") from None
        if not isinstance(found, dict):
            raise Refused(Reason.BAD_JSON, "The body must be a JSON object")
        return found

    def form(self) -> dict[str, list[str]]:
        """The body as a form, `application/x-www-form-urlencoded`."""
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(Reason.INVALID_PARAM, "The body must be a form")
        pairs = _parse_query(self.body.decode("latin-1"))
        if any("\0" in name or "\0" in value for name, value in pairs):
            raise Refused(Reason.INVALID_PARAM, "The form holds a NUL")
        return _listed(pairs)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, for routes with `stream=True`."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            if part := message.get("body"):
                yield part
            if not message.get("more_body"):
                return


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


class Gone(Exception):
    """The peer hung up in the middle of a request."""


Handler = Callable[[Request], Awaitable[Any]]
Shown = Callable[[Request, Refused | Unavailable], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the table: `path` with `{name}` for parts, `spec` the section carried out."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.USER
    cost: Cost = Cost.READ
    spec: str = ""
    body_max: int = limits.HTTP_BODY_MAX
    stream: bool = False  # the handler reads the body itself
    tells: tuple[str, ...] = ()  # fields of an administrator's body that the audit log may hold
    of_others: bool = False  # an administrator may call it about somebody else: that is audited
    suspended: bool = True  # a suspended account may call it (CS #account-suspension)
    oauth: bool = True  # a token of the OAuth 2.0 API may call it: not so where UIA is asked for
    shown: Shown | None = None  # how a refusal reads here, if not as JSON


def _parse_query(raw: str) -> list[tuple[str, str]]:
    """Names and values of a query string; text that is not UTF-8 reads with U+FFFD."""
    if not raw:
        return []
    fields = raw.split("&", QUERY_FIELDS_MAX)
    if len(fields) > QUERY_FIELDS_MAX:
        raise Refused(Reason.INVALID_PARAM, "Too many query parameters")
    encoded = "%" in raw or "+" in raw
    found = []
    for pair in fields:
        name, _, value = pair.partition("=")
        if encoded:
            name, value = unquote_plus(name), unquote_plus(value)
        if name:
            found.append((name, value))
    return found


def _listed(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


_PREFLIGHT = Reply(b"", 204, CORS_HEADERS)
_NO_HANDSHAKE = b'{"errcode":"M_UNKNOWN","error":"This path speaks WebSocket"}'
_SPEAK_WEBSOCKET: Final = FixedHeaders(
    [*JSON_HEADERS, (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
)
_BUG = b'{"errcode":"M_UNKNOWN","error":"Internal server error"}'


class App:
    """The ASGI application: every request passes here once."""

    def __init__(
        self,
        router: Router,
        authenticator: Authenticator,
        limiter: Limiter,
        masks: Masks | None = None,
        auditor: audit.Auditor | None = None,
    ) -> None:
        self.router = router
        self._auditor = auditor
        self._authenticator = authenticator
        self._limiter = limiter
        self._masks = masks

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:  # no call of its own: thousands wait here, and each frame is memory
            answer = _PREFLIGHT if request.method == "OPTIONS" else await self._handle(request)
        except Gone:
            return
        except Exception as error:
            answer = self._failure(request, error)
        if type(answer) is Upgrade:
            if await _turn(send, answer):
                return
            answer = Reply(_NO_HANDSHAKE, 426, _SPEAK_WEBSOCKET)
        status = 200
        headers: list[tuple[bytes, bytes]] = JSON_HEADERS
        body: bytes | AsyncIterator[bytes] = b""
        if type(answer) is Reply:
            status, body, headers = answer.status, answer.body, answer.headers
        else:
            body = answer if type(answer) is bytes else msgspec.json.encode(answer)
        await _send(send, status, body, headers, request.method == "HEAD")

    def _failure(self, request: Request, error: Exception) -> Reply:
        """What is said where a handler failed; called while the error is handled."""
        if isinstance(error, Refused):
            if request.shown is not None:
                return request.shown(request, error)
            status, body = replies.refusal(error)
            return Reply(body, status, _with_wait((error.extra or {}).get("retry_after_ms")))
        if isinstance(error, Unavailable):
            if error.reason in (Unready.DISK_FULL, Unready.DISK_FAULT):
                log.error("disk", extra={"why": error.private})
            if request.shown is not None:
                return request.shown(request, error)
            status, body = replies.unavailability(error)
            return Reply(body, status, _with_wait(error.retry_after_ms))
        log.exception("bug", extra={"route": _route_name(self.router, request)})
        return Reply(_BUG, 500)

    async def _handle(self, request: Request) -> Any:
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        route, request.params = self.router.find(request.method, raw_path)
        request.shown = route.shown
        if route.access is not Access.ANYONE:
            await self._admit(request, route)
        caller = request.caller_
        if caller is None or caller.limited:
            self._limiter.spend(route.cost, caller.account_no if caller else 0, request.address)
        if not route.stream and request.method not in ("GET", "HEAD"):
            request.body = await _body(request, route.body_max)
        if self._auditor is not None and audit.is_administration(request, route):
            return await audit.audited(self._auditor, request, route, _run)
        return await _run(request, route)

    async def _admit(self, request: Request, route: Route) -> None:
        token = token_of(request)
        if token is None:
            if route.access is Access.OPTIONAL:
                return
            raise Refused(Reason.MISSING_TOKEN, "Missing access token")
        if self._masks is not None and self._masks.knows(token):
            device_id = request.query("device_id", request.query("org.matrix.msc3202.device_id"))
            caller = await self._masks.caller(token, request.query("user_id"), device_id)
        else:
            caller = await self._authenticator.caller(token)
        request.caller_ = caller
        if caller.locked and route.access is not Access.LOCKED:
            raise Refused(Reason.ACCOUNT_LOCKED, "This account has been locked")
        if caller.suspended and not route.suspended:
            raise Refused(Reason.ACCOUNT_SUSPENDED, "This account has been suspended")
        if caller.oauth and not route.oauth:  # CS #oauth-20-api, the warning
            raise Refused(Reason.UNRECOGNIZED, "This is done on the account's page")
        if route.access is Access.ADMIN:
            await self._admit_admin(request, route, caller)

    async def _admit_admin(self, request: Request, route: Route, caller: Caller) -> None:
        """An administrator, in person: no application service, no suspended account, and no
        token in the address, where proxies write it down."""
        if caller.admin and not caller.service and not caller.suspended:
            if request.header(b"authorization") is None:
                raise Refused(Reason.MISSING_TOKEN, "Administrators send the token as a header")
            return
        if self._auditor is not None:
            self._limiter.spend(route.cost, caller.account_no, request.address)
            await audit.denied(self._auditor, request, route)
        raise Refused(Reason.FORBIDDEN, "Only administrators may do this")


async def _turn(send: Any, answer: Upgrade) -> bool:
    upgrade = getattr(send, "upgrade", None)
    if upgrade is None:
        return False
    options = {"message_max": answer.message_max, "deflate": answer.deflate}
    return bool(await upgrade(answer.serve, answer.protocols, **options))


async def _run(request: Request, route: Route) -> Any:
    for _ in range(4):
        try:
            return await route.handler(request)
        except Retry:  # lost a race in the database: nothing happened, so run it again
            continue
    raise Unavailable(Unready.BUSY, 500)


def _with_wait(wait_ms: int | None) -> list[tuple[bytes, bytes]]:
    """The headers of a refusal; with `Retry-After`, in whole seconds, where waiting helps."""
    if wait_ms is None:
        return JSON_HEADERS
    return [*JSON_HEADERS, (b"retry-after", b"%d" % -(-wait_ms // 1000))]  # CS #rate-limiting


def token_of(request: Request) -> str | None:
    """The access token (CS #using-access-tokens)."""
    header = request.header(b"authorization")
    if header is not None:
        return header[7:].strip() if header[:7].lower() == "bearer " else None
    return request.query("access_token")


async def _body(request: Request, most: int) -> bytes:
    declared = request.header(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > most:
        raise Refused(Reason.TOO_LARGE, f"The body may have {most} bytes")
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise Gone
    first: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(first) > most:
            raise Refused(Reason.TOO_LARGE, f"The body may have {most} bytes")
        return first
    parts, size = [first], len(first)
    async for part in request.chunks():
        size += len(part)
        if size > most:
            raise Refused(Reason.TOO_LARGE, f"The body may have {most} bytes")
        parts.append(part)
    return b"".join(parts)


async def _send(
    send: Any,
    status: int,
    body: bytes | AsyncIterator[bytes],
    headers: list[tuple[bytes, bytes]],
    head: bool,
) -> None:
    if isinstance(body, bytes):
        if (reply := getattr(send, "reply", None)) is not None:
            reply(status, headers, body)
            return
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else body})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    try:
        if not head:
            async for chunk in body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        if hasattr(body, "aclose"):
            await body.aclose()
    await send({"type": "http.response.body", "body": b""})


def _route_name(router: Router, request: Request) -> str:
    """The route of a request as the table writes it: no ids, no names of people."""
    try:
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        return router.find(request.method, raw_path)[0].path
    except Refused:
        return "-"
