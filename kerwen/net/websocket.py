"""One WebSocket: messages in and out over a transport that is open already; no meaning.

The frames are `websockets`' (its part without sockets). What stands here is what a connection
needs around it: whole messages, limits, back-pressure, life signs and a clean end.
"""

# RFC 6455, RFC 7692

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.headers import build_extension, parse_connection, parse_extension, parse_upgrade
from websockets.protocol import Protocol, Side, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from kerwen.base import limits

GOING_AWAY: Final = int(CloseCode.GOING_AWAY)
POLICY: Final = int(CloseCode.POLICY_VIOLATION)
BROKEN: Final = int(CloseCode.INTERNAL_ERROR)
QUIET_S: Final = 60.0  # without a word of the peer, we ask whether it is there
ANSWER_S: Final = 30.0  # for its answer
CLOSE_S: Final = 5.0  # between our word of farewell and the peer's
MESSAGES_AHEAD_MAX: Final = 64  # messages that nobody has read yet

_FRAMES_LOG: Final = logging.getLogger("kerwen.net.websocket")
_FRAMES_LOG.setLevel(logging.WARNING)  # it would tell of every connection


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request for a WebSocket says."""

    key: str
    protocols: tuple[str, ...]  # sub-protocols that the client would speak
    extensions: str


def offer_of(headers: Iterable[tuple[bytes, bytes]]) -> Offer | None:
    """The offer in a request's headers; None if it is no handshake (RFC 6455 §4.2.1)."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    keys = found.get("sec-websocket-key", [])
    if len(keys) != 1 or len(keys[0]) != 24 or found.get("sec-websocket-version") != ["13"]:
        return None
    try:
        upgrades = [u for value in found.get("upgrade", ()) for u in parse_upgrade(value)]
        offered = [c for v in found.get("sec-websocket-protocol", ()) for c in parse_connection(v)]
    except InvalidHeader:
        return None
    if "websocket" not in [upgrade.lower() for upgrade in upgrades]:
        return None
    extensions = ", ".join(found.get("sec-websocket-extensions", ()))
    return Offer(keys[0], tuple(offered), extensions)


def accept(offer: Offer, protocol: str, deflate: bool) -> tuple[list[tuple[bytes, bytes]], Any]:
    """The headers of our 101, and the extension that both will use, or None."""
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", accept_key(offer.key).encode()),
    ]
    if protocol:
        headers.append((b"sec-websocket-protocol", protocol.encode()))
    found = _deflate(offer.extensions) if deflate and offer.extensions else None
    if found is not None:
        headers.append((b"sec-websocket-extensions", found[0].encode()))
    return headers, found[1] if found else None


def _deflate(offered: str) -> tuple[str, Extension] | None:
    # a fresh dictionary for each message: one that is kept costs 300 kB a connection
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        compress_settings={"level": 3, "memLevel": 5},
    )
    try:
        for name, params in parse_extension(offered):
            if name == factory.name:
                answer, extension = factory.process_request_params(params, [])
                return build_extension([(name, answer)]), extension
    except (InvalidHeader, NegotiationError):
        pass
    return None


def server_side(extension: Any, message_max: int) -> Protocol:
    """The frames of a server's end."""
    found = Protocol(Side.SERVER, state=State.OPEN, max_size=message_max, logger=_FRAMES_LOG)
    if extension is not None:
        found.extensions = [extension]
    return found


class WebSocket(asyncio.Protocol):
    """One end of a WebSocket. Whoever owns it reads with `receive` until that says None."""

    __slots__ = (
        "_ahead", "_deadline", "_frames", "_heard", "_lost", "_messages", "_met", "_parts",
        "_paused", "_pinged", "_reader", "_text", "_transport", "_writable",
    )  # fmt: skip

    def __init__(self, frames: Protocol, transport: Any, lost: Callable[[], None]) -> None:
        self._frames = frames
        self._transport = transport
        self._lost = lost
        self._messages: deque[str | bytes] = deque()
        self._ahead = 0  # bytes of them
        self._parts: bytearray | None = None  # of a message whose end has not come
        self._text = False  # it is text
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._met = True  # the handshake is over
        self._heard = True  # the peer said something since we last looked
        self._pinged = False
        self._deadline = 0.0

    # --- the owner calls

    async def meet(self) -> None:
        """Waits for the answer to our handshake. Raises `OSError` if it is none."""
        assert isinstance(self._frames, ClientProtocol), "the other side asks"
        self._met = False
        self._frames.send_request(self._frames.connect())
        self._flush()
        while self._frames.state is State.CONNECTING and not self._transport.is_closing():
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._met = True
        if not self.open:
            raise ConnectionRefusedError(str(self._frames.handshake_exc or "no WebSocket"))

    @property
    def open(self) -> bool:
        """Whether something can still be said."""
        return self._frames.state is State.OPEN and not self._transport.is_closing()

    @property
    def close_code(self) -> int | None:
        """What the peer said at its end, None while it is open (RFC 6455 §7.4)."""
        return self._frames.close_code

    async def receive(self) -> str | bytes | None:
        """The next message; None when the peer or we ended it. One reader at a time."""
        while not self._messages:
            if not self.open:
                return None
            self._read_on()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._ahead -= len(message)
        if not self._messages:
            self._read_on()
        return message

    def send(self, message: str | bytes) -> None:
        """Sends a message; nothing happens where the line is closed. A peer that takes nothing
        while more than `WEBSOCKET_AHEAD_MAX` bytes wait is cut off."""
        if not self.open:
            return
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        self._flush()

    async def drained(self) -> None:
        """Waits while the peer does not read what we write."""
        if self._writable is not None:
            await self._writable

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Says farewell; what was sent before still arrives, what comes after is not read."""
        if not self.open:
            return
        self._frames.send_close(code, reason[:100])
        self._messages.clear()
        self._ahead = 0
        self._deadline = 0.0  # the next look sets it
        self._flush()
        self._read_on()  # the peer's farewell is behind what we do not read any more
        self._wake()

    # --- whoever looks after connections calls

    def finish(self) -> None:
        """The server stops."""
        self.close(GOING_AWAY)

    def cut(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """Asks a silent peer for a sign of life, and cuts one that gives none."""
        if not self.open:
            if not self._deadline:
                self._deadline = now + CLOSE_S
            elif now >= self._deadline:
                self.cut()
        elif self._heard:
            self._heard = self._pinged = False
            self._deadline = now + QUIET_S
        elif now >= self._deadline:
            if self._pinged:
                self.cut()
                return
            self._pinged = True
            self._frames.send_ping(b"")
            self._flush()
            self._deadline = now + ANSWER_S

    # --- the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self.open and self._is_behind():
            self._pause()
        if not self.open or not self._met:
            self._wake()

    def _is_behind(self) -> bool:
        return self._ahead > limits.WEBSOCKET_AHEAD_MAX or len(self._messages) > MESSAGES_AHEAD_MAX

    def eof_received(self) -> None:
        self._frames.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._frames.receive_eof()
        self.resume_writing()
        self._wake()
        self._lost()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # --- inside

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text = frame.opcode is Opcode.TEXT
            self._parts = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._parts is not None:
            self._parts += frame.data
        else:
            return
        if not frame.fin:
            return
        whole, self._parts = bytes(self._parts), None
        message: str | bytes = whole
        if self._text:
            try:
                message = whole.decode()
            except UnicodeDecodeError:
                self._frames.fail(CloseCode.INVALID_DATA)
                return
        if not self.open:
            return
        self._messages.append(message)
        self._ahead += len(message)
        self._wake()

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if self._transport.is_closing():
                return
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
        if self._transport.get_write_buffer_size() > limits.WEBSOCKET_AHEAD_MAX:
            self.cut()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


async def connect(url: str, protocol: str, message_max: int) -> WebSocket:
    """A WebSocket to a server of our own house (`ws://` or `wss://`). Raises `OSError`."""
    place = parse_uri(url)
    frames = ClientProtocol(
        place,
        subprotocols=[Subprotocol(protocol)],
        max_size=message_max,
        logger=_FRAMES_LOG,
    )
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: WebSocket(frames, None, lambda: None),
        place.host,
        place.port,
        ssl=place.secure or None,
    )
    try:
        await socket.meet()
    except BaseException:
        socket.cut()
        raise
    return socket
