"""The door of the web app: what it serves, how it is kept, and what it never serves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kerwen.api.http import App
from kerwen.api.router import Router
from kerwen.api.web import WebApp, takes_brotli

PAGE = b"<!doctype html>" + b"x" * 500
SCRIPT = b"y" * 200_000


class NoLimit:
    def spend(self, cost: Any, account_no: int, address: str) -> None:
        assert cost.value == "free"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    files = {}
    for name, kind, body, pressed in (
        ("index.html", "text/html; charset=utf-8", PAGE, b"small page"),
        ("assets/a-1.js", "text/javascript", SCRIPT, b"small script"),
        ("sw.js", "text/javascript", b"worker", b""),
    ):
        (tmp_path / name).write_bytes(body)
        if pressed:
            (tmp_path / f"{name}.br").write_bytes(pressed)
        etag = hashlib.sha256(body).hexdigest()[:20]
        files[name] = {"type": kind, "size": len(body), "brotli": len(pressed), "etag": etag}
    (tmp_path / "files.json").write_text(json.dumps(files))
    (tmp_path / "secret.txt").write_text("not listed")
    return tmp_path


async def ask(
    folder: Path, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    web = WebApp(folder)
    app = App(Router(web.routes(), [web.later()]), None, NoLimit())  # type: ignore[arg-type]
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": named, "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    told = {k.decode(): v.decode() for k, v in said[0]["headers"]}
    return said[0]["status"], told, b"".join(part.get("body", b"") for part in said[1:])


@pytest.mark.parametrize("path", ["/", "/chats", "/chats/!a:b", "/mail/x/y", "/join/abc"])
async def test_every_view_is_the_one_page(built: Path, path: str) -> None:
    status, headers, body = await ask(built, path)
    assert (status, body) == (200, PAGE)
    assert headers["cache-control"] == "no-cache"
    assert headers["content-length"] == str(len(PAGE))


async def test_policy_is_strict(built: Path) -> None:
    _, headers, _ = await ask(built, "/")
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_hashed_files_are_kept_for_ever_and_pressed(built: Path) -> None:
    status, headers, body = await ask(built, "/assets/a-1.js", accept_encoding="gzip, br")
    assert (status, body) == (200, b"small script")
    assert headers["content-encoding"] == "br"
    assert "immutable" in headers["cache-control"]
    status, plain, body = await ask(built, "/assets/a-1.js", accept_encoding="gzip, br;q=0")
    assert (status, body) == (200, SCRIPT)
    assert "content-encoding" not in plain
    assert plain["etag"] != headers["etag"]
    assert plain["vary"] == "accept-encoding"


async def test_who_has_it_already_gets_nothing(built: Path) -> None:
    _, headers, _ = await ask(built, "/")
    status, _, body = await ask(built, "/", if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    status, headers, body = await ask(built, "/sw.js", method="HEAD")
    assert (status, headers["content-length"], body) == (200, "6", b"")


@pytest.mark.parametrize(
    "path",
    ["/assets/..", "/assets/%2e%2e%2fsecret.txt", "/assets/files.json", "/icons/nothing.png"],
)
async def test_only_listed_files_are_served(built: Path, path: str) -> None:
    status, _, body = await ask(built, path)
    assert status == 404
    assert b"not listed" not in body


async def test_a_build_while_it_runs_is_seen(built: Path) -> None:
    web = WebApp(built)
    files = json.loads((built / "files.json").read_text())
    web._read()
    (built / "assets" / "b-2.js").write_text("new")
    files["assets/b-2.js"] = {"type": "text/javascript", "size": 3, "brotli": 0, "etag": "b"}
    (built / "files.json").write_text(json.dumps(files))
    assert "assets/b-2.js" in await web._listed("assets/b-2.js")
    assert "assets/b-2.js" in await web._listed("index.html")


async def test_without_a_build_it_says_so(tmp_path: Path) -> None:
    status, _, body = await ask(tmp_path, "/")
    assert status == 404
    assert b"make web" in body
    assert (await ask(tmp_path, "/assets/x.js"))[0] == 404


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        (None, False), ("", False), ("gzip", False), ("br", True), ("gzip, deflate, br", True),
        ("BR", True), ("br;q=0", False), ("br; q=0.0", False), ("br;q=0.5", True), ("abr", False),
    ],
)  # fmt: skip
def test_brotli_is_sent_to_who_takes_it(accepted: str | None, takes: bool) -> None:
    assert takes_brotli(accepted) is takes
