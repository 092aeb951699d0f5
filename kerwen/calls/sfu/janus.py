"""Our line to Janus: one WebSocket, one session, a handle for each connection of a client.

Janus forgets everything of ours when the line breaks, and so do we: `on_down` is told, the line
is made anew, `on_up` is told.
"""

# janus.conf.meetecho.com/docs/rest.html (the messages), "janus-protocol" over WebSocket

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.net.websocket import WebSocket, connect

log = logging.getLogger("kerwen.calls.janus")

KEEP_ALIVE_S: Final = 20.0  # Janus ends a session after 60
ANSWER_S: Final = 8.0
RETRY_S: Final = 0.5
OPEN_S: Final = 3.0
_ANSWERS: Final = frozenset({"success", "error", "event"})

Event = dict[str, Any]


class JanusError(Exception):
    """Janus says no: its code and its words, for the log."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, words)
        self.code = code


class Handle:
    """One connection of a client, as Janus has it. Ends with `detach` or with the line."""

    __slots__ = ("_janus", "number", "told")

    def __init__(self, janus: Janus, number: int, told: Callable[[Event], None]) -> None:
        self._janus = janus
        self.number = number
        self.told = told  # hears what Janus says unasked; must be quick

    async def ask(self, body: Event, jsep: Event | None = None) -> tuple[Event, Event | None]:
        """The plugin's answer to a request, and a session description if it brings one.

        Raises `JanusError`, `Unavailable`.
        """
        message: Event = {"janus": "message", "handle_id": self.number, "body": body}
        if jsep is not None:
            message["jsep"] = jsep
        answer = await self._janus.ask(message)
        data: Event = answer.get("plugindata", {}).get("data", {})
        if "error_code" in data:
            raise JanusError(data["error_code"], str(data.get("error")))
        return data, answer.get("jsep")

    def trickle(self, candidate: Event | None) -> None:
        """A candidate of the client's; None when there are no more."""
        shown = candidate if candidate is not None else {"completed": True}
        self._janus.say({"janus": "trickle", "handle_id": self.number, "candidate": shown})

    def detach(self) -> None:
        """Ends it; what Janus says after is not heard."""
        if self._janus.handles.pop(self.number, None) is not None:
            self._janus.say({"janus": "detach", "handle_id": self.number})


class Janus:
    """The line, made again whenever it breaks."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._socket: WebSocket | None = None
        self._session = 0
        self._names = itertools.count(1)
        self._asked: dict[str, asyncio.Future[Event]] = {}
        self.handles: dict[int, Handle] = {}
        self.up = asyncio.Event()
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[], None] = lambda: None
        self._heard = 0.0  # when Janus last acknowledged something
        self.lost = 0  # how often the line broke

    async def run(self) -> None:
        """The worker: holds the line until it is cancelled."""
        told = False
        while True:
            try:
                await self._hold()
            except (OSError, TimeoutError, Unavailable, JanusError) as error:
                if not told:
                    log.warning("Janus is away", extra={"why": str(error) or type(error).__name__})
                    told = True
            else:
                told = False
            await asyncio.sleep(RETRY_S)

    async def _hold(self) -> None:
        async with asyncio.timeout(OPEN_S):
            socket = await connect(self._url, "janus-protocol", limits.JANUS_MESSAGE_MAX)
        self._socket = socket
        reader = asyncio.ensure_future(self._read(socket))
        try:
            answer = await self.ask({"janus": "create"})
            self._session = answer["data"]["id"]
            self.up.set()
            log.info("Janus is here")
            self.on_up()
            self._heard = time.monotonic()
            while not reader.done():
                await asyncio.wait([reader], timeout=KEEP_ALIVE_S)
                if time.monotonic() - self._heard > KEEP_ALIVE_S + ANSWER_S:
                    raise Unavailable(Unready.CALLS_AWAY)
                self.say({"janus": "keepalive"})
            reader.result()
        finally:
            reader.cancel()
            socket.cut()
            self._down()

    def _down(self) -> None:
        self._socket, self._session = None, 0
        for waiter in self._asked.values():
            if not waiter.done():
                waiter.set_exception(Unavailable(Unready.CALLS_AWAY))
        self._asked.clear()
        self.handles.clear()
        if self.up.is_set():
            self.up.clear()
            self.lost += 1
            self.on_down()

    async def _read(self, socket: WebSocket) -> None:
        while (text := await socket.receive()) is not None:
            try:
                message = orjson.loads(text)
            except orjson.JSONDecodeError:
                log.error("Janus spoke no JSON")
                return
            self._take(message)

    def _take(self, message: Event) -> None:
        kind = message.get("janus")
        waiter = self._asked.get(message.get("transaction", ""))
        if waiter is not None and kind in _ANSWERS:
            if not waiter.done():
                waiter.set_result(message)
            return
        if kind == "ack":  # an answer follows; a sign of life is not answered otherwise
            self._heard = time.monotonic()
            return
        handle = self.handles.get(message.get("sender", 0))
        if handle is not None:
            handle.told(message)

    async def ask(self, message: Event) -> Event:
        """The answer to a message of ours. Raises `JanusError`, `Unavailable`."""
        name = self._send(message)
        waiter = self._asked[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer: Event = await waiter
        except TimeoutError:
            raise Unavailable(Unready.CALLS_AWAY) from None
        finally:
            self._asked.pop(name, None)
        if answer["janus"] == "error":
            error = answer.get("error", {})
            raise JanusError(error.get("code", 0), str(error.get("reason")))
        return answer

    def say(self, message: Event) -> None:
        """Sends what needs no answer; nothing where the line is broken."""
        if self._socket is not None and self._socket.open and self._session:
            self._send(message)

    def _send(self, message: Event) -> str:
        if self._socket is None or not self._socket.open:
            raise Unavailable(Unready.CALLS_AWAY)
        name = f"k{next(self._names)}"
        message["transaction"] = name
        message["apisecret"] = self._secret
        if self._session:
            message["session_id"] = self._session
        self._socket.send(orjson.dumps(message).decode())
        return name

    async def attach(self, told: Callable[[Event], None]) -> Handle:
        """A new handle of VideoRoom."""
        answer = await self.ask({"janus": "attach", "plugin": "janus.plugin.videoroom"})
        handle = Handle(self, answer["data"]["id"], told)
        self.handles[handle.number] = handle
        return handle
