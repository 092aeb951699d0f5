"""Looks names up: one for the whole house, with a bounded cache, time limits and no third party.

It asks the servers that the operator names, else those of `/etc/resolv.conf`, and nobody else. It
does not validate DNSSEC itself: it believes a validating resolver's AD bit, and only where the way
to it is safe (loopback, or where the operator says so). In development there is no DNS unless a
server on loopback is named: no name exists.
"""

# RFC 1035 §7, RFC 2308, RFC 5452 §9 (a random port and number for each question), RFC 7766

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from kerwen.base import limits
from kerwen.base.config import Config, dns_server
from kerwen.mail import dns
from kerwen.mail.dns import Dns, Found

if TYPE_CHECKING:
    from kerwen.net.dns_wire import Bad, Question

    Read = tuple[Found, int] | Bad

_log = logging.getLogger("kerwen.dns")

Place = tuple[str, int]
"""Address and port of a DNS server."""

RESOLV_CONF: Final = Path("/etc/resolv.conf")
_ROUNDS_S: Final = (2.0, 4.0)  # each server is given this long, in the first and second round
_WHOLE_S: Final = 15.0
_SERVERS_MAX: Final = 3
_KINDS: Final = frozenset({"A", "AAAA", "MX", "PTR", "TLSA", "TXT"})
_FAILED_KEPT_S: Final = 5.0
_COST: Final = 250  # bytes of an answer in memory, without what it says


class Servers(msgspec.Struct, frozen=True):
    """Whom to ask, and whether to believe them that an answer is proved."""

    places: tuple[Place, ...]
    trusted: bool


class Resolver:
    """Answers the questions of `kerwen/mail/dns.py`. `now`: seconds that only rise."""

    def __init__(
        self,
        servers: Sequence[Place] | None,
        *,
        trusted: bool | None = None,
        resolv_conf: Path = RESOLV_CONF,
        rounds_s: Sequence[float] = _ROUNDS_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`servers`: None means those of `resolv_conf`; none at all, that no name exists."""
        self._named = None if servers is None else tuple(servers)
        self._trusted = trusted
        self._conf = resolv_conf
        self._conf_stamp: tuple[int, int] | None = None
        self._conf_servers = Servers((), False)
        self._rounds_s = tuple(rounds_s)
        self._now = now
        self._cache: OrderedDict[Dns, tuple[float, Found, int]] = OrderedDict()
        self._cache_bytes = 0
        self._asked: dict[Dns, asyncio.Task[Found]] = {}
        self._places = asyncio.Semaphore(limits.DNS_AT_ONCE)
        self.questions = 0
        self.failures = 0
        self.hits = 0

    @classmethod
    def of(cls, config: Config) -> Resolver:
        """The resolver that the configuration means."""
        named: list[Place] | None = [dns_server(text) for text in config.dns]
        if not named and not config.dev:
            named = None
        return cls(named, trusted=config.dns_trusted)

    def servers(self) -> Servers:
        """Whom questions go to now."""
        if self._named is not None:
            trusted = all(_is_loopback(host) for host, _ in self._named)
            return Servers(self._named, trusted if self._trusted is None else self._trusted)
        try:
            stat = self._conf.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._conf_stamp:
                found = read_resolv_conf(self._conf.read_text("utf-8", "replace"))
                self._conf_stamp, self._conf_servers = stamp, found
        except OSError:
            # resolv.conf(5): without it, this machine's own server is meant
            self._conf_servers = Servers((("127.0.0.1", 53),), True)
        if self._trusted is not None:
            return Servers(self._conf_servers.places, self._trusted)
        return self._conf_servers

    async def answer(self, question: Dns) -> Found:
        """The answer, from memory while it holds. Never raises; `FAILED` where none came."""
        assert question.kind in _KINDS, question.kind
        question = Dns(question.kind, dns.plain(question.name))
        if not dns.is_name(question.name) or not question.name.isascii():
            return dns.NO_NAME
        kept = self._cache.get(question)
        if kept is not None and kept[0] > self._now():
            self._cache.move_to_end(question)
            self.hits += 1
            return kept[1]
        task = self._asked.get(question)
        if task is None:
            if len(self._asked) >= limits.DNS_WAITING_MAX:
                return dns.FAILED
            # a task of its own: whoever asked first may be cancelled, the others wait on
            task = asyncio.create_task(self._look_up(question))
            self._asked[question] = task
            task.add_done_callback(lambda _: self._asked.pop(question, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, question: Dns) -> Found:
        servers = self.servers()
        if not servers.places:
            return dns.NO_NAME if self._named is not None else dns.FAILED
        async with self._places:
            self.questions += 1
            try:
                async with asyncio.timeout(_WHOLE_S):
                    found = await self._ask_all(question, servers)
            except TimeoutError:
                found = None
        if found is None:
            self.failures += 1
            self._keep(question, dns.FAILED, _FAILED_KEPT_S)
            return dns.FAILED
        answer, ttl = found
        if answer.secure and not servers.trusted:
            answer = msgspec.structs.replace(answer, secure=False)
        least, most = limits.DNS_KEPT_MIN_MS / 1000, limits.DNS_KEPT_MAX_MS / 1000
        self._keep(question, answer, min(max(ttl, least), most))
        return answer

    def _keep(self, question: Dns, found: Found, seconds: float) -> None:
        cost = _COST + 2 * len(question.name) + sum(map(len, found.texts))
        cost += sum(60 + len(name) for name in found.names)
        cost += sum(100 + len(name) for _, name in found.mx)
        cost += sum(120 + len(record[3]) for record in found.tlsa)
        old = self._cache.pop(question, None)
        self._cache_bytes += cost - (old[2] if old else 0)
        self._cache[question] = (self._now() + seconds, found, cost)
        while self._cache_bytes > limits.DNS_CACHE_BYTES:
            _, (_, _, gone) = self._cache.popitem(last=False)
            self._cache_bytes -= gone

    async def _ask_all(self, question: Dns, servers: Servers) -> tuple[Found, int] | None:
        from kerwen.net.dns_wire import Bad, Question

        for patience_s in self._rounds_s:
            for place in servers.places[:_SERVERS_MAX]:
                try:
                    asked = Question(question.kind, question.name)
                except ValueError:
                    return dns.NO_NAME, 60
                try:
                    async with asyncio.timeout(patience_s):
                        found = await _by_udp(asked, place)
                        if found is Bad.CUT:
                            found = await _by_tcp(asked, place)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    continue
                if not isinstance(found, Bad):
                    return found
        return None


# --- one question to one server -----------------------------------------------------------------


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the datagram that answers; all others are passed over."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.found: asyncio.Future[Read] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A datagram from the server's address."""
        from kerwen.net.dns_wire import Bad

        if self.found.done():
            return
        found = self._question.read(data)
        if found is not Bad.FOREIGN:
            self.found.set_result(found)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.found.done():
            self.found.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is shut."""
        if not self.found.done():
            self.found.cancel()


async def _by_udp(question: Question, place: Place) -> Read:
    loop = asyncio.get_running_loop()
    transport, datagrams = await loop.create_datagram_endpoint(
        lambda: _Datagrams(question), remote_addr=place
    )
    try:
        transport.sendto(question.wire)
        return await datagrams.found
    finally:
        transport.close()


async def _by_tcp(question: Question, place: Place) -> Read:
    reader, writer = await asyncio.open_connection(*place)
    try:
        writer.write(len(question.wire).to_bytes(2, "big") + question.wire)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return question.read(await reader.readexactly(size), by_tcp=True)
    finally:
        writer.close()


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def read_resolv_conf(text: str) -> Servers:
    """The servers of a `resolv.conf`; `options trust-ad` says that they are to be believed."""
    places: list[Place] = []
    trusted = False
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            places.append((words[1], 53))
        elif words[:1] == ["options"] and "trust-ad" in words:
            trusted = True
    if not places:
        places.append(("127.0.0.1", 53))
    safe = all(_is_loopback(host) for host, _ in places)
    return Servers(tuple(places[:_SERVERS_MAX]), trusted or safe)
