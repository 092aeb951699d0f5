"""A proxy that writes down what clients ask: `python -m tests.clients.record URL PORT FILE`.

Each request becomes one line `METHOD path-template status`; answers outside of 2xx are printed in
full with their request (tokens left out). At the end (SIGINT, SIGTERM) FILE holds each line once,
with how often it came.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections import Counter
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, web

IDS = {"!": "{roomId}", "@": "{userId}", "$": "{eventId}", "#": "{roomAlias}"}
AFTER = {
    "rooms": "{roomId}",
    "join": "{roomIdOrAlias}",
    "sendToDevice": "{eventType}",
    "account_data": "{type}",
    "devices": "{deviceId}",
    "filter": "{filterId}",
    "download": "{serverName}/{mediaId}",
    "thumbnail": "{serverName}/{mediaId}",
}
HOP = {"host", "transfer-encoding", "content-encoding", "content-length", "connection"}


def template(path: str, query: str) -> str:
    """The path with its ids replaced by names, and the names of the query's parameters."""
    out: list[str] = []
    before = ""
    for part in path.strip("/").split("/"):
        shown = IDS.get(part[:1], part)
        if before in AFTER and shown == part and "room_keys" not in out[-2:]:
            shown = part if part.startswith("m.") and before == "account_data" else AFTER[before]
        if before.startswith("m.") and out and out[-2:-1] in (["send"], ["{eventType}"]):
            shown = "{txnId}"
        out.append(shown)
        before = part
    text = "/" + "/".join(out)
    text = re.sub(r"(/sendToDevice/[^/]+)/.*", r"\1/{txnId}", text)
    text = re.sub(r"(/(?:download|thumbnail)/\{serverName\}/\{mediaId\})/.*", r"\1", text)
    text = re.sub(r"(/room_keys/keys/\{roomId\})/.+", r"\1/{sessionId}", text)
    text = re.sub(r"(/send/[^/]+)/.*", r"\1/{txnId}", text)
    text = re.sub(r"m\.secret_storage\.key\.\w+", "m.secret_storage.key.{keyId}", text)
    names = sorted({pair.split("=")[0] for pair in query.split("&") if pair})
    return text + (f"?{'&'.join(names)}" if names else "")


class Recorder:
    """Counts the requests that pass."""

    def __init__(self, target: str, session: ClientSession) -> None:
        self.target, self.session = target.rstrip("/"), session
        self.seen: Counter[str] = Counter()

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Hand one request on, and its answer back."""
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
        url = self.target + request.raw_path
        async with self.session.request(
            request.method, url, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            data = await answer.read()
            query = request.rel_url.raw_query_string
            line = f"{request.method} {template(request.path, query)} {answer.status}"
            self.seen[line] += 1
            if answer.status >= 300:
                print(f"{request.method} {request.raw_path} {body[:600]!r}")
                print(f"   -> {answer.status} {data[:600]!r}", flush=True)
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP}
            return web.Response(status=answer.status, body=data, headers=kept)


async def record(target: str, port: int) -> list[str]:
    """Serve on loopback until a signal, then give the list."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:
        recorder = Recorder(target, session)
        app = web.Application(client_max_size=200 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", recorder.forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await stop.wait()
        return sorted(f"{line}  x{count}" for line, count in recorder.seen.items())


if __name__ == "__main__":
    seen = asyncio.run(record(sys.argv[1], int(sys.argv[2])))
    Path(sys.argv[3]).write_text("\n".join(seen) + "\n")
