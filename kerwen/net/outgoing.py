"""HTTP requests of ours to others: push gateways, application services, whoever is to be asked.

The one way out, so that one rule holds for all: a URL that a client, or another server, gave us
leads to public addresses only. It is held to where a socket is made, so neither a name that
resolves to another address the second time nor a literal address gets around it, and redirects
are not followed. URLs that the operator wrote may lead anywhere. In development no packet leaves
the machine: loopback only, and no DNS.

aiohttp is imported with the first request: it costs 140 ms and 10 MiB, and a server that has
nobody to call need not pay for it. An HTTPS request costs the authorities' certificates as well.
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kerwen.base import limits

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_MS: Final = 20_000
CONNECTIONS_MAX: Final = 256
CONNECTIONS_PER_HOST: Final = 16
IDLE_S: Final = 30  # how long a connection is kept for the next request
NAMES_S: Final = 60  # how long an answer of DNS is used
_PORTS: Final = frozenset({80, 443})  # of the reserved ones, those that speak HTTP
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Why(enum.Enum):
    """Why there is no answer."""

    FORBIDDEN = "forbidden"  # the URL leads where we do not go
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    NOT_HTTP = "not_http"


class Unanswered(Exception):
    """There is no answer; `detail` is for the operator's log only."""

    def __init__(self, why: Why, detail: str = "") -> None:
        super().__init__(why.value, detail)
        self.why = why
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `headers` by small names, the last of each."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the status says that it was done."""
        return 200 <= self.status < 300


def is_public(address: str) -> bool:
    """Whether a network address is anybody's on the Internet, not this house's own network.

    Addresses of IPv6 that stand for one of IPv4 (mapped, NAT64, 6to4) are judged by that one.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def is_loopback(address: str) -> bool:
    """Whether a network address is this machine itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_loopback


class Outgoing:
    """Asks others. `dev`: loopback only; `own_names` are then names of this machine.

    `authorities` are PEM files that are trusted besides the system's; a missing one is no error
    in development, where the file is made at the first start.
    """

    def __init__(
        self,
        *,
        dev: bool = False,
        own_names: Sequence[str] = (),
        authorities: Sequence[Path] = (),
    ) -> None:
        self._dev = dev
        self._own_names = frozenset({"localhost", *own_names})
        self._authorities = tuple(authorities)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._tls: ssl.SSLContext | None = None
        self.sent = 0

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_ms: int = TIMEOUT_MS,
        answer_max: int = limits.HTTP_BODY_MAX,
        by_operator: bool = False,
    ) -> Answer:
        """One request; `Unanswered` where there is no whole answer in time.

        `by_operator`: the URL stands in the configuration, so it may lead to this network.
        """
        self._check(url, by_operator)
        session = self._session(by_operator)
        import aiohttp

        self.sent += 1
        tls = self._context() if url.startswith("https:") else True
        try:
            async with (
                asyncio.timeout(timeout_ms / 1000),
                session.request(
                    method, url, data=body, headers=headers, allow_redirects=False, ssl=tls
                ) as response,
            ):
                found = await _read(response, answer_max)
                shown = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, found, shown)
        except TimeoutError:
            raise Unanswered(Why.TIMEOUT) from None
        except aiohttp.ClientConnectionError as error:
            raise Unanswered(_why(error), str(error)) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Unanswered(Why.NOT_HTTP, str(error)) from None

    async def close(self) -> None:
        """Ends all connections."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def _check(self, url: str, by_operator: bool) -> None:
        """What can be seen of a URL before anything is looked up."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Unanswered(Why.FORBIDDEN, "no URL") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unanswered(Why.FORBIDDEN, "no URL of HTTP")
        if parts.username is not None or parts.password is not None:
            raise Unanswered(Why.FORBIDDEN, "a name or password in the URL")
        free = self._dev or by_operator
        if port is not None and port < 1024 and port not in _PORTS and not free:
            raise Unanswered(Why.FORBIDDEN, f"port {port}")

    def _session(self, by_operator: bool) -> aiohttp.ClientSession:
        found = self._sessions.get(by_operator)
        if found is None:
            import aiohttp

            resolver: Any = None
            if self._dev:
                resolver = _resolver(self._own_names)
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX,
                limit_per_host=CONNECTIONS_PER_HOST,
                keepalive_timeout=IDLE_S,
                ttl_dns_cache=NAMES_S,
                resolver=resolver,
                socket_factory=lambda info: self._socket(info, by_operator),
            )
            found = self._sessions[by_operator] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"User-Agent": "Kerwen", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return found

    def _socket(self, info: tuple[Any, ...], by_operator: bool) -> socket.socket:
        """Every connection begins here: the address is the one that will be connected to."""
        family, kind, protocol, _, place = info
        allowed = is_loopback if self._dev else is_public
        if (self._dev or not by_operator) and not allowed(place[0]):
            raise ForbiddenAddress(f"{place[0]} is not for requests of ours")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            for file in self._authorities:
                if not self._dev or file.exists():
                    self._tls.load_verify_locations(file)
        return self._tls


class ForbiddenAddress(OSError):
    """A connection to an address that our requests may not reach."""


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(64 * limits.KIB):
        size += len(part)
        if size > most:
            response.close()
            raise Unanswered(Why.TOO_LARGE)
        parts.append(part)
    return b"".join(parts)


def _why(error: BaseException) -> Why:
    """Whether an error, or one from which it comes, is our own refusal."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "os_error", None)
        if isinstance(seen, ForbiddenAddress) or isinstance(inner, ForbiddenAddress):
            return Why.FORBIDDEN
        seen = seen.__cause__ or seen.__context__
    return Why.FORBIDDEN if "is not for requests of ours" in str(error) else Why.UNREACHABLE


def _resolver(names: frozenset[str]) -> Any:
    """Names in development: those of this machine, and no others."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Loopback(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: Any = socket.AF_INET
        ) -> list[ResolveResult]:
            name = host.rstrip(".").lower()
            if name not in names and not any(name.endswith("." + own) for own in names):
                raise OSError(f"{host}: there is no DNS in development")
            return [
                ResolveResult(
                    hostname=host,
                    host="127.0.0.1",
                    port=port,
                    family=socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
            ]

        async def close(self) -> None:
            """Nothing is open."""

    return Loopback()
