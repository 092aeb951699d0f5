"""What links lead to: only where we may go, in a few words, without trusting a byte of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Refused, Unavailable
from kerwen.media import open_graph as og
from kerwen.media.actions import preview
from kerwen.media.actions.preview import Previews
from kerwen.net.outgoing import Outgoing
from kerwen.storage.blobs_files import FileBlobs
from tests.media.images import picture
from tests.rooms.house import House, sqlite_house

HERE = "https://a.test/dir/page"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("", {}),
        ("<title> A  &amp;\nB </title>", {"og:title": "A & B"}),
        ("<title>one</title><title>two</title>", {"og:title": "one"}),
        ('<meta property="og:title" content="T"><title>x</title>', {"og:title": "T"}),
        ('<META NAME="Description" CONTENT="D">', {"og:description": "D"}),
        (
            '<meta name=twitter:description content=t><meta name=description content="d">',
            {"og:description": "t"},
        ),
        ('<meta property=og:image content="../i.png">', {"og:image": "https://a.test/i.png"}),
        ('<meta property=og:image content="//b.test/i">', {"og:image": "https://b.test/i"}),
        ('<meta property=og:image content="javascript:alert(1)">', {}),
        ('<meta property=og:image content="http://[">', {}),
        ('<meta property=og:image:width content="9">', {}),  # of no picture
        ('<meta property="og:x" content="y"><meta property="og:title">', {}),
        ('<meta property="og:title" content="a\x00\u202e\x1b[0m b">', {"og:title": "a [0m b"}),
        ("<title>cut off", {"og:title": "cut off"}),
        ("<title>a</title><![<![", {"og:title": "a"}),
    ],
)
def test_pages(page: str, found: dict[str, str]) -> None:
    assert og.open_graph(page, HERE) == found


def test_values_are_short() -> None:
    page = f'<meta property="og:title" content="{"x" * 100_000}">'
    assert len(og.open_graph(page, HERE)["og:title"]) == 1_000


@pytest.mark.parametrize(
    ("page", "charset", "text"),
    [
        ("ä".encode(), None, "ä"),
        ("ж".encode("cp1251"), "windows-1251", "ж"),
        (b'<meta charset="cp1251">' + "ж".encode("cp1251"), None, '<meta charset="cp1251">ж'),
        ("ä".encode(), "no-such-charset", "ä"),
        ("ä".encode(), "base64", "ä"),  # no text encoding
        (b"\xff", None, "\ufffd"),
    ],
)
def test_charsets(page: bytes, charset: str | None, text: str) -> None:
    assert og.text_of(page, charset) == text


@given(st.binary(max_size=500), st.sampled_from(["", "text/html; charset=x", 'charset="utf-16"']))
def test_any_bytes(page: bytes, content_type: str) -> None:
    text = og.text_of(b'<meta property="og:title" content="' + page, og.charset_of(content_type))
    found = og.open_graph(text, HERE)
    assert all(isinstance(v, str) and v.isprintable() for v in found.values())


# --- going there ----------------------------------------------------------------------------

PAGE = """<meta property="og:title" content="A page"><meta property="og:image" content="/i.png">
<meta property="og:image:alt" content="a picture">"""


class Site:
    """A web site on this machine; `seen` are the paths that were asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[str] = []
        self.image = picture("PNG", (8, 8))
        self.slow = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        match request.path:
            case "/page":
                return web.Response(text=PAGE, content_type="text/html")
            case "/i.png":
                return web.Response(body=self.image, content_type="image/png")
            case "/big":
                return web.Response(body=b"x" * 5_000_000, content_type="text/html")
            case "/file":
                return web.Response(body=b"x", content_type="application/pdf")
            case "/once":
                raise web.HTTPFound("/page")
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/inside":
                raise web.HTTPFound("http://10.0.0.1/")
            case "/odd":
                raise web.HTTPFound("http://[")
            case "/slow":
                await self.slow.wait()
                return web.Response(text="<title>slow</title>", content_type="text/html")
        raise web.HTTPNotFound


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.slow.set()
    await runner.cleanup()


@pytest.fixture
async def house(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[House]:
    made = sqlite_house(tmp_path, sqlite_template, url_previews="on")
    yield made
    for deed in made.messenger.at_end:
        await deed()
    assert not made.bugs, made.bugs


async def ask(house: House, token: str, url: str) -> Any:
    path = "/_matrix/client/v1/media/preview_url"
    return await house.call(token, "GET", path, query=urlencode({"url": url}))


async def test_a_page_with_a_picture(house: House, site: Site) -> None:
    ayna = await house.person("ayna")
    answer = await ask(house, ayna.token, f"{site.url}/once#part")
    found = answer.json
    uri = found.pop("og:image")
    assert found == {
        "og:title": "A page",
        "og:image:alt": "a picture",
        "og:image:type": "image/png",
        "matrix:image:size": len(site.image),
    }
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    assert (await house.call(ayna.token, "GET", path)).body == site.image
    usage = await house.call(ayna.token, "GET", "/_kerwen/media")
    assert usage.json["bytes"] == 0
    # for an hour nobody is asked again
    assert (await ask(house, ayna.token, f"{site.url}/once")).json["og:image"] == uri
    assert site.seen == ["/once", "/page", "/i.png"]
    house.clock.ms += 3_600_000
    assert (await ask(house, ayna.token, f"{site.url}/once")).status == 200
    assert len(site.seen) == 6


@pytest.mark.parametrize(
    ("path", "status"),
    [("/i.png", 200), ("/page", 404), ("/nothing", 404), ("/loop", 404), ("/inside", 404)],
)
async def test_a_picture_that_a_letter_names(
    house: House, site: Site, path: str, status: int
) -> None:
    ayna = await house.person("ayna")
    query = urlencode({"url": site.url + path})
    answer = await house.call(ayna.token, "GET", "/_kerwen/mail/picture", query=query)
    assert answer.status == status
    if status == 200:
        assert answer.body == site.image
    strange = await house.call(None, "GET", "/_kerwen/mail/picture", query=query)
    assert strange.status == 401


async def test_a_house_without_mail_fetches_nothing_that_a_letter_names(
    tmp_path: Path, sqlite_template: Path, site: Site
) -> None:
    chats = sqlite_house(tmp_path, sqlite_template, mail="off")
    ayna = await chats.person("ayna")
    query = urlencode({"url": site.url + "/i.png"})
    answer = await chats.call(ayna.token, "GET", "/_kerwen/mail/picture", query=query)
    assert answer.status == 404
    assert site.seen == []
    await chats.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/i.png", 200),
        ("/file", 200),
        ("/nothing", 404),
        ("/loop", 404),
        ("/inside", 404),
        ("/odd", 404),
        ("/big", 404),
    ],
)
async def test_what_is_no_page(house: House, site: Site, path: str, status: int) -> None:
    ayna = await house.person("ayna")
    answer = await ask(house, ayna.token, site.url + path)
    assert answer.status == status, answer
    if path == "/i.png":
        assert answer.json["og:image"].startswith("mxc://kerwen.test/")
    elif status == 200:
        assert answer.json == {}


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a.test/", "http://", "http://a b/", "http://[", "file:///etc/passwd"]
)
async def test_no_links(house: House, url: str) -> None:
    ayna = await house.person("ayna")
    answer = await ask(house, ayna.token, url)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


async def test_a_picture_that_is_none_is_left_out(house: House, site: Site) -> None:
    ayna = await house.person("ayna")
    site.image = b"<svg onload=alert(1)>"
    answer = await ask(house, ayna.token, f"{site.url}/page")
    assert answer.json == {"og:title": "A page"}


async def test_this_network_is_not_looked_at(house: House, site: Site, tmp_path: Path) -> None:
    outgoing = Outgoing(dev=False)
    looks = Previews(house.db, FileBlobs(tmp_path / "b"), outgoing, "kerwen.test", house.clock)
    with pytest.raises(Refused):
        await looks.of(f"{site.url}/page")
    with pytest.raises(Refused):
        await looks.of("http://[::ffff:127.0.0.1]/")
    assert site.seen == []
    await outgoing.close()


async def test_many_ask_for_one_link(
    house: House, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_WAITING_MAX", 1)
    outgoing = Outgoing(dev=True)
    looks = Previews(house.db, FileBlobs(house.folder / "b"), outgoing, "kerwen.test", house.clock)
    url = f"{site.url}/slow"
    asking = [asyncio.ensure_future(looks.of(url)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await looks.of(f"{site.url}/page")
    asking[0].cancel()  # who asked first hangs up
    site.slow.set()
    found = await asyncio.gather(*asking[1:])
    assert found == [{"og:title": "slow"}] * 4
    assert site.seen == ["/slow"]
    await outgoing.close()
