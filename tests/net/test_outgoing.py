"""Requests of ours go where they may, and nowhere else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from kerwen.net.outgoing import Outgoing, Unanswered, Why, is_loopback, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::93.184.216.34", True),
        ("2002:0a00:0001::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_what_is_loopback() -> None:
    good = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")
    assert [a for a in good if not is_loopback(a)] == []
    assert [a for a in ("10.0.0.1", "", "::ffff:10.0.0.1", "x") if is_loopback(a)] == []


@pytest.fixture
async def there() -> AsyncIterator[str]:
    """Somebody on loopback who answers."""
    over = asyncio.Event()

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"X-Word": "salam"})

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://10.0.0.1/")

    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    async def never(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/away", away)
    app.router.add_get("/long", long)
    app.router.add_get("/never", never)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    over.set()
    await runner.cleanup()


@pytest.fixture
async def dev() -> AsyncIterator[Outgoing]:
    made = Outgoing(dev=True, own_names=["kerwen.test"])
    yield made
    await made.close()


@pytest.fixture
async def real() -> AsyncIterator[Outgoing]:
    made = Outgoing()
    yield made
    await made.close()


async def refused(out: Outgoing, url: str, why: Why, **more: object) -> None:
    with pytest.raises(Unanswered) as caught:
        await out.ask("GET", url, **more)  # type: ignore[arg-type]
    assert caught.value.why is why, caught.value.detail


async def test_in_development_this_machine_answers(dev: Outgoing, there: str) -> None:
    answer = await dev.ask("POST", f"{there}/echo", body=b"text", headers={"X-A": "b"})
    assert (answer.status, answer.body, answer.good) == (200, b"text", True)
    assert answer.headers["x-word"] == "salam"
    by_name = there.replace("127.0.0.1", "push.kerwen.test")
    assert (await dev.ask("GET", f"{by_name}/echo")).good


async def test_in_development_nothing_leaves_it(dev: Outgoing) -> None:
    await refused(dev, "http://93.184.216.34/", Why.FORBIDDEN)
    await refused(dev, "http://93.184.216.34/", Why.FORBIDDEN, by_operator=True)
    await refused(dev, "https://example.org/", Why.UNREACHABLE)


async def test_what_others_name_must_be_public(real: Outgoing, there: str) -> None:
    await refused(real, f"{there}/echo", Why.FORBIDDEN)
    await refused(real, there.replace("127.0.0.1", "localhost") + "/echo", Why.FORBIDDEN)
    await refused(real, there.replace("127.0.0.1", "[::ffff:127.0.0.1]") + "/", Why.FORBIDDEN)
    await refused(real, "http://[fe80::1]/", Why.FORBIDDEN)
    await refused(real, "http://0x7f000001/", Why.FORBIDDEN)
    answer = await real.ask("GET", f"{there}/echo", by_operator=True)
    assert answer.good


@pytest.mark.parametrize(
    "url",
    ["ftp://a.test/", "file:///etc/passwd", "http:///x", "http://a:b@c.test/", "x", "http://[/"],
)
async def test_what_is_no_url_of_ours(real: Outgoing, url: str) -> None:
    await refused(real, url, Why.FORBIDDEN)


async def test_reserved_ports_are_not_for_others(real: Outgoing) -> None:
    await refused(real, "http://93.184.216.34:25/", Why.FORBIDDEN)


async def test_limits(dev: Outgoing, there: str) -> None:
    await refused(dev, f"{there}/long", Why.TOO_LARGE, answer_max=99_999)
    assert len((await dev.ask("GET", f"{there}/long", answer_max=100_000)).body) == 100_000
    await refused(dev, f"{there}/never", Why.TIMEOUT, timeout_ms=50)
    await refused(dev, "http://127.0.0.1:1/", Why.UNREACHABLE)


async def test_a_redirect_is_an_answer(dev: Outgoing, there: str) -> None:
    answer = await dev.ask("GET", f"{there}/away")
    assert (answer.status, answer.headers["location"]) == (302, "http://10.0.0.1/")


async def test_what_does_not_speak_http(dev: Outgoing) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unanswered) as caught:
        await dev.ask("GET", f"http://127.0.0.1:{port}/")
    assert caught.value.why in (Why.NOT_HTTP, Why.UNREACHABLE)
    server.close()


def test_the_library_is_imported_late() -> None:
    code = "import sys, kerwen.messenger, kerwen.main; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
