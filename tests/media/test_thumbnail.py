"""Thumbnails through the application and the real worker process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.media.thumbnail_sizes import Variant
from kerwen.media.thumbnailer import Thumbnailer
from tests.media.house import House, until
from tests.media.images import bare, film, opened, picture

V1 = "/_matrix/client/v1/media/thumbnail/"
CROP96 = Variant(96, 96, True, False)


def _of_process(pid: int, name: str) -> Path:
    return Path(f"/proc/{pid}/{name}")


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("width=96&height=96&method=crop", (96, 96)),
        ("width=320&height=240&method=scale", (320, 160)),
        ("width=640&height=480", (640, 320)),
        ("width=90&height=45&method=crop", (96, 48)),
    ],
)
async def test_thumbnail(house: House, query: str, size: tuple[int, int]) -> None:
    name = await house.upload(picture("PNG", (2000, 1000)), "image/png", "holiday.png")
    answer = await house.call("GET", f"{V1}{name}?{query}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == 'inline; filename="thumbnail.jpeg"'
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert opened(answer.body).size == size


async def test_it_is_made_once_and_kept(house: House) -> None:
    name = await house.upload(picture("JPEG", (2000, 1000)), "image/jpeg")
    path = f"{V1}{name}?width=96&height=96&method=crop"
    many = await asyncio.gather(*(house.call("GET", path) for _ in range(10)))
    assert {answer.status for answer in many} == {200}
    assert len({answer.body for answer in many}) == 1
    assert len(house.files()) == 2  # the image and one thumbnail
    await house.thumbnailer.stop()
    again = await house.call("GET", path)
    assert again.body == many[0].body
    assert house.thumbnailer.pid is None  # nothing had to be made
    etag = again.headers["etag"]
    assert (await house.call("GET", path, headers={"If-None-Match": etag})).status == 304
    other = await house.call("GET", f"{V1}{name}?width=320&height=240")
    assert other.headers["etag"] != etag


async def test_a_small_image_needs_no_second_blob(house: House) -> None:
    data = picture("PNG", (40, 30))
    name = await house.upload(data, "image/png")
    for query in ("width=320&height=240", "width=640&height=480"):
        answer = await house.call("GET", f"{V1}{name}?{query}")
        assert answer.body == data
        assert answer.headers["content-type"] == "image/png"
    assert len(house.files()) == 1


async def test_animation(house: House) -> None:
    name = await house.upload(film("GIF"), "image/gif")
    path = f"{V1}{name}?width=96&height=96&method=crop"
    moving = await house.call("GET", path + "&animated=true")
    assert moving.headers["content-type"] == "image/webp"
    assert opened(moving.body).n_frames == 3
    for still_query in ("", "&animated=false"):
        still = await house.call("GET", path + still_query)
        assert getattr(opened(still.body), "n_frames", 1) == 1


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("image/png", b""),
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("image/png", picture()[:200]),
        ("image/png", os.urandom(5000)),  # an encrypted file with its type left on
        ("image/jpeg", b"\xff\xd8\xff" + bytes(3000)),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("application/octet-stream", picture()),  # opaque: nobody looks into it
        (None, picture()),
        ("application/pdf", b"%PDF-1.7"),
        ("video/mp4", bytes(100)),
    ],
)
async def test_what_has_no_thumbnail(house: House, content_type: str | None, data: bytes) -> None:
    name = await house.upload(data, content_type)
    for _ in range(2):
        answer = await house.call("GET", f"{V1}{name}?width=96&height=96&method=crop")
        assert (answer.status, answer.errcode) == (400, "M_UNKNOWN")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "width=96",
        "height=96",
        "width=a&height=96",
        "width=0&height=96",
        "width=96&height=-1",
        "width=96.5&height=96",
        "width=96&height=96&method=stretch",
        "width=96&height=96&animated=maybe",
        "width=96&height=96&timeout_ms=soon",
    ],
)
async def test_bad_wishes(house: House, query: str) -> None:
    name = await house.upload(picture(), "image/png")
    answer = await house.call("GET", f"{V1}{name}?{query}")
    assert answer.status == 400
    assert answer.errcode in ("M_INVALID_PARAM", "M_MISSING_PARAM")


async def test_too_many_pixels(house: House) -> None:
    name = await house.upload(bare((8000, 6300)), "image/png")
    answer = await house.call("GET", f"{V1}{name}?width=96&height=96&method=crop")
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")


async def test_unknown_media(house: House) -> None:
    answer = await house.call("GET", V1 + "kerwen.test/nothing?width=96&height=96")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


async def test_the_number_kept_is_limited(house: House) -> None:
    name = await house.upload(picture("PNG", (500, 500)), "image/png")
    for width in range(1, 31):
        answer = await house.call("GET", f"{V1}{name}?width={width}&height=32&method=crop")
        assert answer.status == 200
        assert len(house.files()) <= 25
    assert len(house.files()) < 25  # the older ones went


async def test_the_worker_is_confined_and_comes_back() -> None:
    worker = Thumbnailer()
    async with worker.turn():
        await worker.make(picture(), CROP96)
    first = worker.pid
    assert first is not None
    assert "Max file size             0" in _of_process(first, "limits").read_text()
    os.kill(first, signal.SIGKILL)
    async with worker.turn():
        made = await worker.make(picture(), CROP96)
    assert made.content_type == "image/jpeg"
    assert worker.pid not in (None, first)
    await worker.close()
    assert worker.pid is None


async def test_a_job_that_takes_too_long_costs_the_worker() -> None:
    worker = Thumbnailer(time_ms=1)
    async with worker.turn():
        with pytest.raises(Refused) as caught:
            await worker.make(picture("PNG", (3000, 3000)), CROP96)
    assert caught.value.reason is Reason.TOO_LARGE
    assert worker.pid is None
    await worker.close()


async def test_a_job_that_wants_too_much_memory() -> None:
    worker = Thumbnailer(memory=200 << 20)
    async with worker.turn():
        with pytest.raises(Refused) as caught:
            await worker.make(bare((7000, 7000), transparency=0), CROP96)
        assert caught.value.reason is Reason.TOO_LARGE
        assert (await worker.make(picture("PNG", (500, 500)), CROP96)).data is not None
    await worker.close()


async def test_an_idle_worker_goes_away() -> None:
    worker = Thumbnailer(idle_ms=1)
    async with worker.turn():
        await worker.make(picture(), CROP96)
    pid = worker.pid
    assert pid is not None
    await until(lambda: worker.pid is None)
    await until(lambda: not _of_process(pid, "limits").exists())
    async with worker.turn():
        assert (await worker.make(picture(), CROP96)).data is not None
    await worker.close()


async def test_too_many_wait() -> None:
    worker = Thumbnailer(waiting_max=1)
    async with worker.turn():
        with pytest.raises(Unavailable):
            async with worker.turn():
                pass
    await worker.close()


async def test_a_cancelled_job_leaves_no_confused_worker() -> None:
    worker = Thumbnailer()

    async def job() -> None:
        async with worker.turn():
            await worker.make(picture("PNG", (3000, 3000)), CROP96)

    task = asyncio.create_task(job())
    await until(lambda: worker.pid is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with worker.turn():
        made = await worker.make(picture("PNG", (600, 600)), CROP96)
    assert made.data is not None
    assert opened(made.data).size == (96, 96)
    await worker.close()
