"""The web app's door: the built files of `web/`, with long cache times, Brotli and a strict policy.

`web/tools/pack.js` writes `files.json` beside what Vite built; only what stands there is served. It
is read with the first request, and again after a build; no file is kept in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from kerwen.api.http import Access, Cost, Handler, Reply, Request, Route
from kerwen.api.router import Later
from kerwen.base.errors import Reason, Refused
from kerwen.media.ranges import matches

BUILT: Final = Path(__file__).resolve().parent.parent / "web_dist"
VIEWS: Final = ("chats", "mail", "calls", "people", "settings", "admin", "join", "start")
"""First parts of the app's own addresses: each is answered with its one page."""

_DEPTH: Final = 4  # parts of a view's address, at most
_PIECE: Final = 65_536  # bytes that are read and sent at once
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self' blob:; worker-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'; "
    "require-trusted-types-for 'script'; "
    "trusted-types kerwen kerwen-letter svelte-trusted-html dompurify"
)
_HEADERS: Final = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), geolocation=(self)"),
    (b"vary", b"accept-encoding"),
]
_FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK_FIRST: Final = (b"cache-control", b"no-cache")
_MISSING: Final = (
    b"The web app is not built here. In the source, `make web` builds it; then start again.\n"
    b"Any Matrix client and any mail program works with this server meanwhile.\n"
)


class File(msgspec.Struct, frozen=True):
    """One file of the build, as `pack.js` describes it; sizes in bytes, `brotli` 0 if none."""

    type: str
    size: int
    brotli: int
    etag: str


_LISTS = msgspec.json.Decoder(dict[str, File])


class WebApp:
    """The routes of the built app in `folder`."""

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self._files: dict[str, File] = {}
        self._built = 0

    def routes(self) -> list[Route]:
        """The line that is always there."""
        return [_route("/", self.page)]

    def later(self) -> Later:
        """The lines for its views and files."""
        prefixes = [f"/{view}" for view in VIEWS]
        prefixes += ["/assets/", "/icons/", "/sw.js", "/manifest.webmanifest"]
        return Later(tuple(prefix.encode() for prefix in prefixes), self._other_routes)

    def _other_routes(self) -> list[Route]:
        found = [
            _route("/assets/{name}", self.asset),
            _route("/icons/{name}", self.icon),
            _route("/sw.js", self.worker),
            _route("/manifest.webmanifest", self.manifest),
        ]
        for view in VIEWS:
            path = f"/{view}"
            for depth in range(_DEPTH):
                found.append(_route(path, self.page))
                path += f"/{{part{depth}}}"
        return found

    async def page(self, request: Request) -> Reply:
        """GET / and every view's address: the app's one page."""
        return await self._serve(request, "index.html")

    async def asset(self, request: Request) -> Reply:
        """GET /assets/{name}: what has its hash in its name."""
        return await self._serve(request, "assets/" + request.params["name"])

    async def icon(self, request: Request) -> Reply:
        """GET /icons/{name}"""
        return await self._serve(request, "icons/" + request.params["name"])

    async def worker(self, request: Request) -> Reply:
        """GET /sw.js: the service worker."""
        return await self._serve(request, "sw.js")

    async def manifest(self, request: Request) -> Reply:
        """GET /manifest.webmanifest"""
        return await self._serve(request, "manifest.webmanifest")

    async def _serve(self, request: Request, name: str) -> Reply:
        file = (await self._listed(name)).get(name)
        if file is None:
            if name == "index.html":
                return Reply(_MISSING, 404, [(b"content-type", b"text/plain; charset=utf-8")])
            raise Refused(Reason.NOT_FOUND, "The web app has no such file")
        age = _FOR_EVER if name.startswith("assets/") else _ASK_FIRST
        etag, size, path = file.etag, file.size, self._folder / name
        headers = [*_HEADERS, (b"content-type", file.type.encode()), age]
        if file.brotli and takes_brotli(request.header(b"accept-encoding")):
            etag, size, path = etag + "-br", file.brotli, path.with_name(path.name + ".br")
            headers.append((b"content-encoding", b"br"))
        etag = f'"{etag}"'
        headers.append((b"etag", etag.encode()))
        if matches(request.header(b"if-none-match"), etag):
            return Reply(_nothing(), 304, headers)
        headers.append((b"content-length", b"%d" % size))
        return Reply(_nothing() if request.method == "HEAD" else _pieces(path), 200, headers)

    async def _listed(self, name: str) -> dict[str, File]:
        """The list; read anew where it is older than the build, which may come while we run."""
        if name not in self._files or name == "index.html":
            try:
                await asyncio.to_thread(self._read)
            except FileNotFoundError:
                return {}
        return self._files

    def _read(self) -> None:
        path = self._folder / "files.json"
        built = path.stat().st_mtime_ns
        if built != self._built:
            self._files = _LISTS.decode(path.read_bytes())
            self._built = built


def takes_brotli(accepted: str | None) -> bool:
    """Whether an `Accept-Encoding` names Brotli, and not to refuse it (RFC 9110 §12.5.3)."""
    for offer in (accepted or "").lower().split(","):
        coding, *settings = (part.strip() for part in offer.split(";"))
        if coding == "br":
            weights = [s.removeprefix("q=") for s in settings if s.startswith("q=")]
            return not weights or weights[0].strip("0.") != ""
    return False


def _route(path: str, handler: Handler) -> Route:
    return Route("GET", path, handler, Access.ANYONE, Cost.FREE)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
    finally:
        file.close()


async def _nothing() -> AsyncIterator[bytes]:
    """No body at all: the headers stand as they are."""
    return
    yield b""  # pragma: no cover
