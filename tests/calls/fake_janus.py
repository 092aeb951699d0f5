"""A Janus that carries no media: it answers as VideoRoom does, and says what a test tells it to."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

SECRET = "fake-secret"


class FakeHandle:
    """What stands behind a handle: who it is in which room, or what it receives."""

    def __init__(self) -> None:
        self.room = ""
        self.name = ""
        self.streams: list[dict[str, Any]] = []  # of a receiver


class FakeJanus:
    """The server. `asked` are the bodies of all requests, in order."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.trickled: list[Any] = []
        self.met = asyncio.Event()  # Kerwen has a session
        self.completed = asyncio.Event()  # a client has no more candidates
        self.rooms: set[str] = set()
        self.handles: dict[int, FakeHandle] = {}
        self._numbers = itertools.count(100)
        self._socket: ServerConnection | None = None
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens; on the same port as before, if there was one."""
        self._server = await serve(
            self._talk, "127.0.0.1", self.port, subprotocols=["janus-protocol"], compression=None
        )  # type: ignore[list-item]
        self.port = self._server.sockets[0].getsockname()[1]

    async def fall(self) -> None:
        """Is gone, with all that it knew."""
        assert self._server is not None, "it stands"
        self._server.close()
        await self._server.wait_closed()
        self.rooms.clear()
        self.handles.clear()

    async def _talk(self, socket: ServerConnection) -> None:
        self._socket = socket
        async for text in socket:
            message = json.loads(text)
            assert message["apisecret"] == SECRET
            for answer in self._answers(message):
                await socket.send(json.dumps({"transaction": message["transaction"], **answer}))

    def _answers(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        kind = message["janus"]
        number = message.get("handle_id", 0)
        if kind == "create":
            self.met.set()
            return [{"janus": "success", "data": {"id": next(self._numbers)}}]
        if kind == "attach":
            made = next(self._numbers)
            self.handles[made] = FakeHandle()
            return [{"janus": "success", "data": {"id": made}}]
        if kind == "detach":
            self.handles.pop(number, None)
            return [{"janus": "success"}]
        if kind == "trickle":
            self.trickled.append(message["candidate"])
            if "completed" in message["candidate"]:
                self.completed.set()
        if kind != "message":
            return [{"janus": "ack"}]
        body = message["body"]
        self.asked.append({**body, "handle": number})
        data, jsep = self._plugin(self.handles[number], body, message.get("jsep"))
        event = {"sender": number, "plugindata": {"data": data}}
        if body["request"] in ("create", "destroy", "moderate"):
            return [{"janus": "success", **event}]
        found: list[dict[str, Any]] = [{"janus": "ack"}, {"janus": "event", **event}]
        if jsep:
            found[1]["jsep"] = jsep
        if body["request"] in ("publish", "start"):
            found.append({"janus": "webrtcup", "sender": number, "transaction": ""})
        return found

    def _plugin(
        self, handle: FakeHandle, body: dict[str, Any], jsep: Any
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        kind = body["request"]
        if kind == "create":
            self.rooms.add(body["room"])
        elif kind == "destroy":
            self.rooms.discard(body["room"])
        elif kind == "join" and body["ptype"] == "publisher":
            handle.room, handle.name = body["room"], body["id"]
            return {"videoroom": "joined", "publishers": [{"id": "nobody", "dummy": True}]}, None
        elif kind in ("join", "update"):
            for one in body.get("streams", body.get("subscribe", [])):
                self._take(handle, one)
            gone = {one["sub_mid"] for one in body.get("unsubscribe", [])}
            for stream in handle.streams:
                stream["active"] = stream["active"] and stream["mid"] not in gone
            return {"streams": handle.streams}, self._offer(handle)
        elif kind in ("publish", "configure") and jsep:
            return {"videoroom": "event"}, {"type": "answer", "sdp": "v=0\r\ns=answer\r\n"}
        elif kind == "configure" and body.get("restart"):
            return {"videoroom": "event"}, self._offer(handle)
        return {"videoroom": "event"}, None

    @staticmethod
    def _take(handle: FakeHandle, one: dict[str, Any]) -> None:
        mid = str(len(handle.streams))
        handle.streams.append(
            {"mid": mid, "feed_id": one["feed"], "feed_mid": one.get("mid", "0"), "active": True}
        )

    @staticmethod
    def _offer(handle: FakeHandle) -> dict[str, Any]:
        lines = ["v=0", "s=offer"]
        for stream in handle.streams:
            way = "sendonly" if stream["active"] else "inactive"
            lines += ["m=video 9 UDP/TLS/RTP/SAVPF 96", f"a=mid:{stream['mid']}", f"a={way}"]
            lines += ["a=msid:janus janus"]
        return {"type": "offer", "sdp": "\r\n".join(lines) + "\r\n"}

    # --- what a test says

    def of(self, name: str) -> int:
        """The handle on which a participant sends."""
        return next(number for number, h in self.handles.items() if h.name == name)

    async def say(self, number: int, **event: Any) -> None:
        """Something unasked, from a handle."""
        assert self._socket is not None, "somebody is there"
        await self._socket.send(json.dumps({"sender": number, **event}))

    async def plugin_says(self, number: int, **data: Any) -> None:
        """The same from the plugin."""
        await self.say(number, janus="event", plugindata={"data": data})

    async def until(self, request: str, **has: Any) -> dict[str, Any]:
        """Waits for a request with such fields; the last of them."""
        async with asyncio.timeout(8):
            while True:
                for body in reversed(self.asked):
                    if body["request"] == request and has.items() <= body.items():
                        return body
                await asyncio.sleep(0.01)
