"""A connection to another mail server: sockets, TLS and time limits around the client's protocol.

`dial` gives a connection that is ready for a message, or says in a `Failed` why there is none.
"""

# RFC 5321 §4.5.3.2 (time limits), RFC 3207, RFC 7672 §8.2 (the name that is asked for)

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from kerwen.base import limits
from kerwen.mail import dane
from kerwen.mail.dane import Tlsa
from kerwen.net import tls
from kerwen.smtp.client_protocol import (
    Broken,
    ClientProtocol,
    Done,
    Envelope,
    Event,
    Ready,
    Result,
    Security,
    SendBody,
    Stage,
    StartTls,
    Step,
    Verdict,
)
from kerwen.smtp.heard import failure_status

_READ_MAX: Final = 64 * 1024
_PIECE: Final = 64 * 1024
E = TypeVar("E", bound=Event)


class Times(msgspec.Struct, frozen=True):
    """How long is waited, in seconds. The long wait for the answer to a whole message keeps
    messages from being sent twice."""

    connect: float = 30
    tls: float = 30
    greeting: float = 120
    reply: float = 300
    block: float = 180  # for a piece of a message to be taken
    end: float = 600
    goodbye: float = 2


class Trust(Enum):
    """What a server's TLS must prove."""

    CLEAR = "clear"  # no TLS at all
    ANY = "any"  # TLS where it is offered, whoever it is
    ENCRYPTED = "encrypted"  # TLS, whoever it is
    NAMED = "named"  # TLS, and a certificate that an authority gave to the host's name
    BOUND = "bound"  # TLS, and a certificate that fits the host's TLSA records


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect to, and what is asked of it."""

    host: str  # its name, as the MX record has it
    address: str
    port: int = 25
    trust: Trust = Trust.ANY
    tlsa: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()  # that a DANE-TA certificate may stand for
    tls_at_once: bool = False
    login: tuple[str, str] | None = None
    by_operator: bool = False  # named in the configuration: it may be anywhere


class Failed(msgspec.Struct, frozen=True):
    """There is no connection. `tls`: why TLS failed, in the words of RFC 8460 §4.3; then the same
    server may be tried without, where that is allowed."""

    final: bool
    status: str
    why: str
    tls: str | None = None


class Dialer(msgspec.Struct, frozen=True):
    """What all our connections have in common. `allowed` says which addresses we go to, and
    `is_us` which names of servers are our own."""

    host: str
    allowed: Callable[[str], bool]
    is_us: Callable[[str], bool]
    times: Times = Times()
    authorities: Path | None = None
    loopback: bool = False  # development: everybody is on this machine's own addresses
    contexts: dict[bool, ssl.SSLContext] = msgspec.field(default_factory=dict)

    def context(self, trust: Trust) -> ssl.SSLContext:
        """What TLS is done with; kept, since reading all authorities takes 20 ms."""
        named = trust is Trust.NAMED
        if named not in self.contexts:
            self.contexts[named] = (
                tls.client_context(self.authorities) if named else tls.unproved_context()
            )
        return self.contexts[named]

    async def dial(self, target: Target) -> Connection | Failed:
        """Connects, shakes hands, says hello. The caller closes what it is given."""
        if not (target.by_operator and not self.loopback) and not self.allowed(target.address):
            return Failed(True, "5.4.4", f"{target.host} has an address that no mail goes to")
        line = _Wire()
        loop = asyncio.get_running_loop()
        now: dict[str, Any] = {}
        if target.tls_at_once:
            now = {"ssl": self.context(target.trust), "server_hostname": target.host}
        try:
            async with asyncio.timeout(self.times.connect):
                await loop.create_connection(lambda: line, target.address, target.port, **now)
        except TimeoutError:
            return Failed(False, "4.4.1", f"{target.host} does not answer")
        except ssl.SSLError as error:
            return Failed(False, "4.7.5", f"{target.host}: {_words(error)}", _kind(error))
        except OSError as error:
            return Failed(False, "4.4.1", f"{target.host}: {error.strerror or 'no connection'}")
        found = Connection(self, target, line)
        failed = await found.begin()
        if failed is not None:
            found.close()
            return failed
        return found


class Connection:
    """One connection that is ready, or was."""

    def __init__(self, dialer: Dialer, target: Target, line: _Wire) -> None:
        security = {Trust.CLEAR: Security.NONE, Trust.ANY: Security.IF_OFFERED}
        self.target = target
        self._times = dialer.times
        self._dialer = dialer
        self._line = line
        self._protocol = ClientProtocol(
            dialer.host,
            security.get(target.trust, Security.REQUIRED),
            target.login,
            tls=target.tls_at_once,
        )
        self._events: deque[Event] = deque()
        self._tls_failure: Failed | None = None
        self._end_s = asyncio.get_running_loop().time() + 2 * self._times.reply
        self.messages = 0

    @property
    def tls(self) -> bool:
        """Whether nobody on the way can read."""
        return self._protocol.tls

    @property
    def reports(self) -> bool:
        """Whether the server reports to senders itself (RFC 3461)."""
        return "DSN" in self._protocol.extensions

    @property
    def alive(self) -> bool:
        """Whether a message may be sent, as far as is known."""
        ready = self._protocol.stage is Stage.READY
        return ready and not (self._line.ended or self._line.data or self._events)

    async def begin(self) -> Failed | None:
        """Up to where a message may be sent."""
        free = self._dialer.loopback or self.target.by_operator
        if not free and self._line.leads_home():
            return Failed(True, "5.4.6", f"{self.target.host} leads back to this server")
        event = await self._until(Ready, self._times.greeting)
        if isinstance(event, Broken):
            if self._tls_failure is not None:
                return self._tls_failure
            status = failure_status(event.heard)
            final = event.verdict is Verdict.NEVER
            required = self.target.trust not in (Trust.CLEAR, Trust.ANY)
            stripped = required and event.step in (Step.HELLO, Step.TLS) and not self.tls
            return Failed(final, status, event.why, "starttls-not-supported" if stripped else None)
        if self._dialer.is_us(self._protocol.peer):
            return Failed(True, "5.4.6", f"{self.target.host} is this server itself")
        return None

    async def send(self, envelope: Envelope, raw: bytes) -> Done | Broken:
        """One message, to as many recipients as the server takes at once."""
        if self._protocol.stage is not Stage.READY:
            why = "it spoke out of turn"  # or said goodbye, right behind its last answer
            results = tuple(
                Result(to, Verdict.LATER, Step.MAIL, None, "4.4.2", why)
                for to in envelope.recipients
            )
            return Broken(Step.MAIL, Verdict.LATER, None, why, results)
        self.messages += 1
        self._end_s = asyncio.get_running_loop().time() + limits.SMTP_CLIENT_MESSAGE_MAX_MS / 1000
        self._events.extend(self._protocol.send(envelope))
        event = await self._until((Done, SendBody), self._times.reply)
        if isinstance(event, SendBody):
            await self._send_body(raw)
            event = await self._until(Done, self._times.end)
        if isinstance(event, Done):
            # RSET may have been said: what follows is the server's readiness for more
            self._events = deque(one for one in self._events if not isinstance(one, Ready))
        return cast("Done | Broken", event)

    async def quit(self) -> None:
        """Says goodbye and closes."""
        self._protocol.quit()
        self._line.write(self._protocol.take())
        try:
            async with asyncio.timeout(self._times.goodbye):
                await self._line.read()
        except TimeoutError:
            pass
        self.close()

    def close(self) -> None:
        """Closes, whatever is under way."""
        self._line.close()

    # --- inside

    async def _send_body(self, raw: bytes) -> None:
        for at in range(0, len(raw), _PIECE):
            if self._protocol.stage is not Stage.BODY:
                return  # it has answered already: it will not have the message
            self._protocol.body(raw[at : at + _PIECE])
            self._line.write(self._protocol.take())
            try:
                async with asyncio.timeout(self._times.block):
                    await self._line.drained()
            except TimeoutError:
                self._events.extend(self._protocol.closed("it takes the message too slowly"))
                return
            if self._line.data or self._line.ended:
                await self._hear()
        if self._protocol.stage is Stage.BODY:
            self._protocol.end_body()

    async def _until(self, wanted: type[E] | tuple[type[Event], ...], patience_s: float) -> Event:
        """The next event that is wanted, or `Broken`."""
        clock = asyncio.get_running_loop().time
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(
                    event, (Broken, *(wanted if isinstance(wanted, tuple) else [wanted]))
                ):
                    return event
                if isinstance(event, StartTls):
                    await self._shake_hands()
            self._line.write(self._protocol.take())
            try:
                async with asyncio.timeout(min(patience_s, max(self._end_s - clock(), 0))):
                    await self._hear()
            except TimeoutError:
                self._events.extend(self._protocol.closed("no answer in time"))

    async def _hear(self) -> None:
        data = await self._line.read()
        self._events.extend(self._protocol.feed(data) if data else self._protocol.closed())

    async def _shake_hands(self) -> None:
        target = self.target
        try:
            if self._line.data:
                raise ssl.SSLError("it spoke before hands were shaken")
            context = self._dialer.context(target.trust)
            await self._line.start_tls(context, _server_name(target.host), self._times.tls)
            chain = self._line.chain()
            if target.trust is Trust.BOUND and not dane.fits(
                target.tlsa, chain, target.names or (target.host,), time.time()
            ):
                self._fail_tls(
                    "its certificate does not fit its TLSA records", "validation-failure"
                )
                return
        except (ssl.SSLError, OSError, TimeoutError, EOFError) as error:
            self._fail_tls(_words(error), _kind(error))
            return
        self._events.extend(self._protocol.tls_started())

    def _fail_tls(self, why: str, kind: str) -> None:
        why = f"{self.target.host}: TLS failed: {why}"
        self._tls_failure = Failed(False, "4.7.5", why, kind)
        self._events.extend(self._protocol.tls_failed(why))


class _Wire(asyncio.Protocol):
    """Bytes from and to a socket, under flow control."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self._transport: Any = None
        self._heard = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open; after STARTTLS once more."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The server says something."""
        self.data += data
        if len(self.data) > _READ_MAX:
            self._transport.pause_reading()
        self._heard.set()

    def eof_received(self) -> None:
        """The server says no more."""
        self.ended = True
        self._heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self.ended = True
        self._heard.set()
        self._free.set()

    def pause_writing(self) -> None:
        """The socket is full."""
        self._free.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._free.set()

    async def read(self) -> bytes:
        """What came; waits for something. Empty at the end."""
        while not self.data and not self.ended:
            self._heard.clear()
            await self._heard.wait()
        data = bytes(self.data)
        if len(self.data) > _READ_MAX and not self.ended:
            self._transport.resume_reading()
        self.data.clear()
        return data

    def write(self, data: bytes) -> None:
        """Says something, if anybody hears."""
        if data and not self.ended:
            self._transport.write(data)

    async def drained(self) -> None:
        """Waits until there is room for more."""
        await self._free.wait()

    async def start_tls(self, context: ssl.SSLContext, name: str | None, patience_s: float) -> None:
        """Shakes hands; nothing that was heard before counts any more."""
        loop = asyncio.get_running_loop()
        if self.ended:
            raise EOFError("the connection ended")
        async with asyncio.timeout(patience_s + 1):
            made = await loop.start_tls(
                self._transport, self, context,
                server_hostname=name, ssl_handshake_timeout=patience_s,
            )  # fmt: skip
        if made is None:
            raise EOFError("the connection ended")
        self._transport = made
        self.data.clear()

    def chain(self) -> list[bytes]:
        """The certificates that the server showed, its own first (DER)."""
        shown = self._transport.get_extra_info("ssl_object")
        inner = getattr(shown, "_sslobj", None)
        if inner is not None and hasattr(inner, "get_unverified_chain"):
            # public from Python 3.13 on; the same method stands behind it since 3.10
            return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in
                    inner.get_unverified_chain() or ()]  # fmt: skip
        own = shown.getpeercert(binary_form=True) if shown else None
        return [own] if own else []

    def leads_home(self) -> bool:
        """Whether both ends are the same address: it is this machine itself."""
        ends = [self._transport.get_extra_info(one) for one in ("sockname", "peername")]
        return all(ends) and ends[0][0] == ends[1][0]

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.abort()


def _server_name(host: str) -> str | None:
    """What SNI may say: no address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error.args[-1] if error.args else "")).replace("_", " ").lower()
    return "no handshake in time" if isinstance(error, TimeoutError) else "the connection ended"


def _kind(error: BaseException) -> str:
    """RFC 8460 §4.3."""
    if isinstance(error, ssl.SSLCertVerificationError):
        codes = {10: "certificate-expired", 62: "certificate-host-mismatch"}
        return codes.get(error.verify_code, "certificate-not-trusted")
    return "validation-failure"


def is_reachable(address: str, *, dev: bool) -> bool:
    """Whether mail may go to an address: in development loopback only, elsewhere anything that is
    another machine (a company's own network is one)."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if dev:
        return found.is_loopback
    return not (found.is_loopback or found.is_unspecified or found.is_multicast)
