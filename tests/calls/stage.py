"""A network of one machine that no packet leaves, with Kerwen, Janus and coturn in it.

    python -m tests.calls.scenes NAME      runs a scene there

A namespace of its own has an address that is not loopback (Janus offers no other), and lets a test
break lines as it likes. Without the right to make one, the scenes cannot run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from kerwen.base.config import PORTS
from tests.conftest import Server
from tools.media_servers import MediaServers, missing

HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE.parent / "clients" / "js" / "node_modules"
LIVEKIT = NODE_MODULES / "livekit-client" / "dist"
ELEMENT_CALL = HERE / "js" / "node_modules" / "@element-hq" / "element-call-embedded" / "dist"
SHOW = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
"""
ADDRESS = "10.77.0.1"
PORT_BASE = 20_000
PASSWORD = "Gara-gum-19-dag"
PAGES_PORT = 19_000
_IN = "KERWEN_CALLS_STAGE"


def lacking() -> str:
    """What keeps the scenes from running; '' for nothing."""
    if packages := missing():
        return f"not installed: {', '.join(packages)}"
    if not _unshare():
        return "no right to make a network namespace"
    return ""


@functools.cache
def _unshare() -> list[str]:
    """The command that makes a namespace in which a bridge can be made; empty if none does."""
    for flags in (["-n"], ["-rn"]):
        command = ["unshare", *flags]
        done = shutil.which("unshare") and subprocess.run(
            [*command, "ip", "link", "add", "d0", "type", "bridge"],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        if done and not done.returncode:
            return command
    return []


def run(scene: str, seconds: float = 100) -> str:
    """Runs a scene in a namespace of its own; what it printed. Fails if it failed."""
    command = [*_unshare(), sys.executable, "-m", "tests.calls.scenes", scene]
    env = {**os.environ, _IN: "1"}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert not done.returncode, f"{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def make_network() -> None:
    """Gives a fresh namespace its loopback and one more address."""
    assert os.environ.get(_IN), "only in a namespace of its own"
    for words in (
        "link set lo up",
        "link del d0",
        "link add d0 type bridge",
        f"addr add {ADDRESS}/24 dev d0",
        "link set d0 up",
    ):
        subprocess.run(["ip", *words.split()], check="del" not in words, stderr=-3)


class Person:
    """Somebody with an account, by plain requests."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.token = url, ""
        body = {
            "username": name + secrets.token_hex(3),
            "password": PASSWORD,
            "auth": {"type": "m.login.dummy"},
        }
        made = self.ask("POST", "/_matrix/client/v3/register", body)
        self.token, self.user_id = made["access_token"], made["user_id"]
        self.device_id = made["device_id"]

    def log_in(self) -> None:
        """Another device of the same person's, which this one is from now on."""
        who = {"type": "m.id.user", "user": self.user_id}
        body = {"type": "m.login.password", "identifier": who, "password": PASSWORD}
        made = self.ask("POST", "/_matrix/client/v3/login", body)
        self.token, self.device_id = made["access_token"], made["device_id"]

    @property
    def identity(self) -> str:
        """In calls."""
        return f"{self.user_id}:{self.device_id}"

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request; its answer."""
        url = path if path.startswith("http") else self.url + path
        headers = {"content-type": "application/json"}
        if self.token and not path.startswith("http"):
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from None

    def room(self, *others: Person) -> str:
        """A new room with others in it."""
        made = self.ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
        for other in others:
            other.ask("POST", f"/_matrix/client/v3/join/{made['room_id']}", {})
        return str(made["room_id"])

    def call_pass(self, room_id: str, **more: Any) -> dict[str, Any]:
        """Where a call is and a token for it, the way of Element Call."""
        proof = self.ask("POST", f"/_matrix/client/v3/user/{self.user_id}/openid/request_token", {})
        found = self.ask("GET", "/_matrix/client/v1/rtc/transports")["rtc_transports"]
        service = found[0]["livekit_service_url"]
        body = {"room": room_id, "openid_token": proof, "device_id": self.device_id, **more}
        return self.ask("POST", f"{service}/sfu/get", body)


class Stage:
    """Kerwen with its media servers, and pages of LiveKit's client."""

    def __init__(self, server: Server, media: MediaServers, authority: Path | None) -> None:
        self.server = server
        self.media = media
        self.authority = authority  # of the TURN server's certificate

    def person(self, name: str) -> Person:
        """A new person."""
        return Person(self.server.url, name)

    @staticmethod
    def page(name: str) -> str:
        """The address of a page; loopback is a secure place for browsers."""
        return f"http://127.0.0.1:{PAGES_PORT}/{name}"


@contextlib.asynccontextmanager
async def stage(*flags: str, turn: str = "") -> AsyncIterator[Stage]:
    """Everything started, and ended after; `turn` is the one way (udp, tcp, tls) of a TURN server
    that clients are told of."""
    make_network()
    with tempfile.TemporaryDirectory(prefix="kerwen-calls") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        tls = _certificate(Path(folder)) if turn else None
        media = MediaServers(Path(folder) / "media", PORT_BASE, address=ADDRESS)
        media.turn, media.tls = bool(turn), tls[:2] if tls else None
        more = _one_way(media.start(), turn)
        server = Server(data, PORT_BASE, "kerwen.test", (*more, "--cheap-passwords", *flags))
        pages = web.AppRunner(_pages())
        await pages.setup()
        await web.TCPSite(pages, "127.0.0.1", PAGES_PORT).start()
        try:
            await asyncio.to_thread(server.start)
            yield Stage(server, media, tls[2] if tls else None)
        except BaseException:
            print(server.log.read_text()[-6000:] if server.log.exists() else "")
            for name in ("janus", "turnserver"):
                path = Path(folder) / "media" / f"{name}.log"
                print(path.read_text()[-3000:] if path.exists() else "")
            raise
        finally:
            server.stop()
            media.stop()
            await pages.cleanup()


def _pages() -> web.Application:
    """The pages: each name leads to one file, and Element Call is told to show its connections."""
    app = web.Application()
    widgets = ELEMENT_CALL.parents[2] / "matrix-widget-api" / "dist"
    own = {"call.html": HERE, "element_call.html": HERE, "mxwidgets.js": widgets}

    async def page(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = own.get(name, LIVEKIT) / name.replace("mxwidgets", "api")
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    async def element_call(request: web.Request) -> web.StreamResponse:
        path = ELEMENT_CALL / request.match_info["name"]
        if path.name == "index.html":
            text = path.read_text().replace("<head>", f"<head><script>{SHOW}</script>", 1)
            return web.Response(text=text, content_type="text/html")
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    app.router.add_get("/element-call/{name:[a-zA-Z0-9_./-]+}", element_call)
    app.router.add_get("/{name}", page)
    return app


def _one_way(flags: list[str], turn: str) -> list[str]:
    """Flags without the TURN URIs of other ways."""
    kept = []
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        ends = value.startswith("turns:") if turn == "tls" else value.endswith(f"={turn}")
        ends = ends and (turn == "tls" or not value.startswith("turns:"))
        if flag != "--turn-uris" or ends:
            kept += [flag, value]
    return kept


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate for the TURN server, by an authority that Chromium is told to trust."""
    from kerwen.net import certificates

    (folder / "turn").mkdir()
    made = certificates.for_development(folder / "turn", ADDRESS)
    return Path(made.cert), Path(made.key), folder / "turn" / "dev-ca.pem"


assert PORT_BASE + max(PORTS.values()) < 65_536
