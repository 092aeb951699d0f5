"""Two devices of a person meet: MSC4108's first form and MSC4388, on one store."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest

from tests.oauth.browser import Heads
from tests.oauth.world import BASE, OAuthWorld

FIRST = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
SECOND = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
PLAIN: Heads = [("content-type", "text/plain")]


@pytest.fixture
def engine() -> str:
    """Nothing of this is in the database."""
    return "sqlite"


async def ask(
    world: OAuthWorld, method: str, path: str, body: bytes = b"", heads: Heads | None = None
) -> tuple[int, dict[str, str], str]:
    status, got, text = await world.call(method, path, heads or [], body)
    return status, dict(got), text


async def begun(world: OAuthWorld, body: bytes = b"Hello from A") -> tuple[str, str]:
    """Path and ETag of a new meeting."""
    status, heads, text = await ask(world, "POST", FIRST, body, PLAIN)
    assert status == 201
    url = orjson.loads(text)["url"]
    assert url.startswith(f"{BASE}{FIRST}/")
    return url.removeprefix(BASE), heads["etag"]


async def test_a_text_is_left_read_replaced_and_ended(world: OAuthWorld) -> None:
    path, first = await begun(world)
    status, heads, text = await ask(world, "GET", path)
    assert (status, text, heads["content-type"]) == (200, "Hello from A", "text/plain")
    assert heads["cache-control"] == "no-store"
    assert heads["access-control-allow-origin"] == "*"
    assert heads["access-control-expose-headers"] == "ETag"
    assert parsedate_to_datetime(heads["expires"]).timestamp() * 1000 == world.clock.ms + 300_000
    status, heads, text = await ask(world, "GET", path, heads=[("if-none-match", first)])
    assert (status, text, heads["etag"]) == (304, "", first)
    put: Heads = [*PLAIN, ("if-match", first)]
    status, heads, _ = await ask(world, "PUT", path, b"Hello from B", put)
    assert status == 202
    assert heads["etag"] != first
    status, late, text = await ask(world, "PUT", path, b"Me too", put)
    assert (status, late["etag"]) == (412, heads["etag"])
    assert orjson.loads(text)["org.matrix.msc4108.errcode"] == "M_CONCURRENT_WRITE"
    assert (await ask(world, "GET", path))[2] == "Hello from B"
    assert (await ask(world, "DELETE", path))[0] == 204
    for method in ("GET", "DELETE"):
        assert (await ask(world, method, path))[0] == 404
    assert (await ask(world, "PUT", path, b"x", put))[0] == 404


async def test_the_allowed_headers_of_other_origins(world: OAuthWorld) -> None:
    _, heads, _ = await ask(world, "OPTIONS", FIRST + "/x")
    allowed = heads["access-control-allow-headers"].lower()
    assert "if-match" in allowed
    assert "if-none-match" in allowed
    assert {"PUT", "DELETE"} <= set(heads["access-control-allow-methods"].split(", "))


@pytest.mark.parametrize(
    ("method", "body", "heads", "status"),
    [
        ("POST", b"x", [], 400),
        ("POST", b"x", [("content-type", "application/json")], 400),
        ("POST", b"x" * 4097, PLAIN, 413),
        ("PUT", b"x", PLAIN, 400),
        ("PUT", b"x", [("if-match", "{tag}")], 400),
        ("PUT", b"x" * 4097, [*PLAIN, ("if-match", "{tag}")], 413),
        ("PUT", b"x", [*PLAIN, ("if-match", "*")], 412),
        ("PUT", b"x", [*PLAIN, ("if-match", "W/{tag}")], 412),
        ("PUT", b"\xff\x00" * 2048, [*PLAIN, ("if-match", "{tag}")], 202),
        ("GET", b"", [("sec-fetch-mode", "navigate")], 403),
    ],
)
async def test_bad_requests(
    world: OAuthWorld, method: str, body: bytes, heads: Heads, status: int
) -> None:
    path, tag = await begun(world)
    sent = [(name, value.replace("{tag}", tag)) for name, value in heads]
    place = FIRST if method == "POST" else path
    assert (await ask(world, method, place, body, sent))[0] == status


async def test_a_meeting_ends_after_five_minutes(world: OAuthWorld) -> None:
    path, tag = await begun(world)
    world.clock.ms += 299_999
    assert (await ask(world, "GET", path))[0] == 200
    put: Heads = [*PLAIN, ("if-match", tag)]
    assert (await ask(world, "PUT", path, b"", put))[0] == 202, "this makes it no longer"
    world.clock.ms += 1
    assert (await ask(world, "GET", path))[0] == 404


async def test_the_second_form(world: OAuthWorld) -> None:
    async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        raw = orjson.dumps(body) if body is not None else b""
        status, _, text = await ask(world, method, path, raw)
        return status, orjson.loads(text)

    assert await call("GET", SECOND) == (200, {"create_available": True})
    status, made = await call("POST", SECOND, {"data": "Hello from A"})
    assert (status, made["expires_in_ms"]) == (200, 300_000)
    path = f"{SECOND}/{made['id']}"
    world.clock.ms += 1_000
    assert await call("GET", path) == (
        200,
        {
            "data": "Hello from A",
            "sequence_token": made["sequence_token"],
            "expires_in_ms": 299_000,
        },
    )
    put = {"sequence_token": made["sequence_token"], "data": "Hello from B"}
    status, done = await call("PUT", path, put)
    assert (status, done["sequence_token"] != made["sequence_token"]) == (200, True)
    assert await call("PUT", path, put) == (200, done), "the answer may have been lost"
    status, late = await call("PUT", path, {**put, "data": "Me too"})
    assert (status, late["errcode"]) == (409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
    named = {"sequence_token": done["sequence_token"], "data": "Hello again"}
    status, third = await call("PUT", path + "/txn1", named)
    assert status == 200
    status, fourth = await call("PUT", path + "/txn2", {**third, "data": "Hello from B again"})
    assert status == 200
    assert await call("PUT", path + "/txn1", named) == (200, third), "asked for once more"
    assert (await call("GET", path))[1]["sequence_token"] == fourth["sequence_token"]
    assert (await call("PUT", path + "/txn3", named))[0] == 409
    assert (await call("POST", SECOND, {"data": "ä" * 2_049}))[0] == 413
    assert (await call("POST", SECOND, {}))[0] == 400
    assert (await call("POST", SECOND, {"data": 7}))[0] == 400
    assert await call("DELETE", path) == (200, {})
    assert (await call("DELETE", path))[0] == 404
