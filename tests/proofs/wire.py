"""A small, quick HTTP client for loads: one connection, one request after the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httptools
import orjson

PATIENCE_S = 20.0
Json = dict[str, Any]


class Cut(Exception):
    """The connection ended before the answer was whole."""


@dataclass(slots=True)
class Answer:
    """What came back. `error` names a body that is not a whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def must(self) -> Any:
        """The JSON of a 200."""
        assert self.status == 200, self
        return self.json

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"


class _Reply:
    """Callbacks of the parser for one answer."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.done = True


class Wire:
    """A connection to a server, opened when first used and again after it was cut."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port, self.token = parts.hostname, parts.port, token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        kind: str = "application/json",
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """One request; `body` is bytes as they are, or JSON. Raises `Cut`, `TimeoutError`."""
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        token = token or self.token
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        if token is not None:
            head += f"authorization: Bearer {token}\r\n"
        head += f"content-length: {len(raw)}\r\n\r\n"
        return await self.exchange(method, head.encode("utf-8") + raw, patience_s)

    async def exchange(self, method: str, data: bytes, patience_s: float = PATIENCE_S) -> Answer:
        """Sends bytes as they are and reads one answer."""
        try:
            async with asyncio.timeout(patience_s):
                await self._open()
                assert self._writer is not None
                self._writer.write(data)
                return await self._read(method)
        except OSError as error:
            self.close()
            raise error if isinstance(error, TimeoutError) else Cut(str(error)) from None
        except BaseException:
            self.close()
            raise

    async def _open(self) -> None:
        """Connects, if there is no connection or the server has closed it since."""
        if self._writer is not None:
            assert self._reader is not None
            if not (self._reader.at_eof() or self._writer.transport.is_closing()):
                return
            self.close()
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port)

    async def _read(self, method: str) -> Answer:
        assert self._reader is not None
        reply = _Reply()
        parser = httptools.HttpResponseParser(reply)
        if method == "HEAD":
            return await self._read_head(parser, reply)
        while not reply.done:
            data = await self._reader.read(65_536)
            if not data:
                raise Cut("closed")
            parser.feed_data(data)
        if reply.headers.get("connection") == "close":
            self.close()
        return Answer(parser.get_status_code(), reply.headers, b"".join(reply.parts))

    async def _read_head(self, parser: Any, reply: _Reply) -> Answer:
        assert self._reader is not None
        try:
            parser.feed_data(await self._reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            raise Cut("closed") from None
        if reply.headers.get("connection") == "close":
            self.close()
        return Answer(parser.get_status_code(), reply.headers, b"")

    def half_close(self) -> None:
        """Says that nothing more will come."""
        assert self._writer is not None
        self._writer.write_eof()

    def close(self) -> None:
        """Hangs up."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def q(*parts: str) -> str:
    """A path below the client API's third version."""
    return "/_matrix/client/v3/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(slots=True)
class Person:
    """Somebody with one device and one connection."""

    user_id: str
    device_id: str
    wire: Wire

    @property
    def token(self) -> str:
        assert self.wire.token is not None
        return self.wire.token

    async def post(self, *parts: str, **body: Any) -> Any:
        return (await self.wire.call("POST", q(*parts), body)).must()

    async def put(self, *parts: str, **body: Any) -> Any:
        return (await self.wire.call("PUT", q(*parts), body)).must()

    async def get(self, *parts: str, query: str = "") -> Any:
        return (await self.wire.call("GET", q(*parts) + (f"?{query}" if query else ""))).must()

    async def say(self, room: str, txn: str, text: str) -> str:
        """Sends a text message; its event id."""
        body = {"msgtype": "m.text", "body": text}
        sent = await self.put("rooms", room, "send", "m.room.message", txn, **body)
        return str(sent["event_id"])

    async def sync(self, since: str | None = None, timeout_ms: int = 0, limit: int = 1000) -> Any:
        """One `/sync`."""
        query = f'timeout={timeout_ms}&filter={{"room":{{"timeline":{{"limit":{limit}}}}}}}'
        query = query.replace("{", "%7B").replace("}", "%7D").replace('"', "%22")
        return await self.get("sync", query=query + (f"&since={since}" if since else ""))

    async def upload(self, data: bytes, kind: str = "application/octet-stream") -> str:
        """Uploads a file; its `mxc:` address."""
        answer = await self.wire.call("POST", "/_matrix/media/v3/upload", data, kind=kind)
        return str(answer.must()["content_uri"])

    async def download(self, mxc: str) -> Answer:
        """Downloads a file."""
        path = "/_matrix/client/v1/media/download/" + mxc.removeprefix("mxc://")
        return await self.wire.call("GET", path)


async def register(url: str, name: str, password: str = "a-password-for-the-proofs") -> Person:
    """A new account with one device."""
    wire = Wire(url)
    body = {"username": name, "password": password, "auth": {"type": "m.login.dummy"}}
    made = (await wire.call("POST", q("register"), body)).must()
    wire.token = made["access_token"]
    return Person(made["user_id"], made["device_id"], wire)
