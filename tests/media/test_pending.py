"""Media that is announced first and uploaded later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kerwen.media.actions.clean import Clean
from kerwen.media.rules import MediaRules
from tests.media.house import Answer, House, until

UPLOAD = "/_matrix/media/v3/upload/"


async def create(house: House, token: str = "ayna") -> str:
    answer = await house.call("POST", "/_matrix/media/v1/create", token=token)
    assert answer.status == 200
    assert answer.json["unused_expires_at"] == house.clock.ms + 24 * 3_600_000
    uri: str = answer.json["content_uri"]
    return uri.removeprefix("mxc://")


async def fill(house: House, name: str, data: bytes = b"here", token: str = "ayna") -> Answer:
    return await house.call(
        "PUT",
        f"{UPLOAD}{name}?filename=a.txt",
        token=token,
        headers={"Content-Type": "text/plain"},
        chunks=[data],
    )


async def test_create_then_upload(house: House) -> None:
    name = await create(house)
    answer = await fill(house, name)
    assert (answer.status, answer.json) == (200, {})
    down = await house.download(name)
    assert (down.body, down.headers["content-type"]) == (b"here", "text/plain")
    assert down.headers["content-disposition"] == 'inline; filename="a.txt"'
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"]) == (4, 1)


async def test_it_is_filled_once_and_by_its_owner(house: House) -> None:
    name = await create(house)
    other = await fill(house, name, token="batyr")
    assert (other.status, other.errcode) == (403, "M_FORBIDDEN")
    assert (await fill(house, name)).status == 200
    again = await fill(house, name, b"again")
    assert (again.status, again.errcode) == (409, "M_CANNOT_OVERWRITE_MEDIA")
    plain = await house.upload(b"plain")
    assert (await fill(house, plain)).errcode == "M_CANNOT_OVERWRITE_MEDIA"
    assert (await house.download(name)).body == b"here"
    assert len(house.files()) == 2


async def test_two_fill_at_the_same_time(house: House) -> None:
    name = await create(house)
    answers = await asyncio.gather(*(fill(house, name, b"%d" % n) for n in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
    assert len(house.files()) == 1
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"]) == (1, 1)


async def test_an_interrupted_upload_may_be_tried_again(house: House) -> None:
    name = await create(house)
    await house.call("PUT", UPLOAD + name, chunks=[b"half"], cut=True)
    assert house.files() == []
    assert (await fill(house, name)).status == 200


@pytest.mark.parametrize("kind", ["download", "thumbnail"])
async def test_not_yet_uploaded(house: House, kind: str) -> None:
    name = await create(house)
    answer = await house.call(
        "GET", f"/_matrix/client/v1/media/{kind}/{name}?timeout_ms=0&width=1&height=1"
    )
    assert (answer.status, answer.errcode) == (504, "M_NOT_YET_UPLOADED")
    late = await house.call(
        "GET", f"/_matrix/client/v1/media/{kind}/{name}?timeout_ms=30&width=1&height=1"
    )
    assert late.errcode == "M_NOT_YET_UPLOADED"
    await until(lambda: house.api.downloads._arrivals._waiting == {})


async def test_who_waits_is_woken(house: House) -> None:
    name, other = await create(house), await create(house)
    waiting = [asyncio.create_task(house.download(name)) for _ in range(3)]
    longer = asyncio.create_task(house.download(other))
    arrivals = house.api.downloads._arrivals
    await until(lambda: arrivals._count == 4)
    assert (await fill(house, name)).status == 200
    for answer in await asyncio.gather(*waiting):
        assert (answer.status, answer.body) == (200, b"here")
    assert not longer.done()  # woken by the same account, it saw that it is not its turn
    assert (await fill(house, other, b"there")).status == 200
    assert (await longer).body == b"there"
    await until(lambda: arrivals._count == 0)
    assert arrivals._waiting == {}


async def test_a_waiter_learns_of_deletion(house: House) -> None:
    name = await create(house)
    waiting = asyncio.create_task(house.download(name))
    await until(lambda: house.api.downloads._arrivals._count == 1)
    assert (await house.call("DELETE", f"/_kerwen/media/{name}")).status == 200
    assert (await waiting).status == 404


async def test_an_upload_expires(house: House) -> None:
    name, kept = await create(house), await create(house)
    assert (await fill(house, kept)).status == 200
    house.clock.ms += 24 * 3_600_000 + 1
    assert (await house.download(name)).status == 404
    answer = await fill(house, name)
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
    clean = Clean(house.db, house.blobs, house.clock)
    assert await clean.expire() == 1
    assert await clean.expire() == 0
    assert (await house.download(kept)).body == b"here"


async def test_not_too_many_are_pending(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(pending_max=2))
    first = await create(house)
    house.clock.ms += 1000
    await create(house)
    answer = await house.call("POST", "/_matrix/media/v1/create")
    assert (answer.status, answer.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert answer.json["retry_after_ms"] == 24 * 3_600_000 - 1000
    await create(house, token="batyr")
    assert (await fill(house, first)).status == 200
    await create(house)
    house.clock.ms += 24 * 3_600_000 + 1
    await create(house)
    await house.close()


async def test_an_announced_file_has_no_way_around_the_limits(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(upload_bytes_max=100, quota=150))
    name = await create(house)
    assert (await fill(house, name, bytes(101))).errcode == "M_TOO_LARGE"
    await house.upload(bytes(60))
    assert (await fill(house, name, bytes(91))).errcode == "M_FORBIDDEN"
    assert (await fill(house, name, bytes(90))).status == 200
    await house.close()


async def test_announced_media_is_not_open_to_anyone(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(legacy_before_ms=2**60))
    name = await create(house)
    answer = await house.call("GET", f"/_matrix/media/v3/download/{name}", token=None)
    assert answer.errcode == "M_NOT_FOUND"
    await house.close()


KIB = 1024


async def piece(
    house: House, name: str, data: bytes, range_: str, token: str = "ayna", *, cut: bool = False
) -> Answer:
    headers = {"Content-Type": "text/plain", "Content-Range": range_}
    return await house.call(
        "PUT",
        f"{UPLOAD}{name}?filename=a.txt",
        token=token,
        headers=headers,
        chunks=[data],
        cut=cut,
    )


async def test_in_pieces(house: House) -> None:
    name, whole = await create(house), bytes(range(256)) * 160  # 40 KiB
    first, second, last = whole[: 16 * KIB], whole[16 * KIB : 32 * KIB], whole[32 * KIB :]
    config = await house.call("GET", "/_matrix/client/v1/media/config")
    assert config.json["org.kerwen.upload.pieces"] is True
    assert (await piece(house, name, b"", "bytes */40960")).json == {"received": 0}
    assert (await piece(house, name, first, "bytes 0-16383/40960")).json == {"received": 16384}
    twice = await piece(house, name, first, "bytes 0-16383/40960")
    assert twice.json == {"received": 16384}, "its answer was lost: nothing comes double"
    ahead = await piece(house, name, last, "bytes 32768-40959/40960")
    assert ahead.json == {"received": 16384}
    await piece(house, name, second[:100], "bytes 16384-32767/40960", cut=True)
    assert (await piece(house, name, b"", "bytes */40960")).json == {"received": 16384}
    assert (await piece(house, name, second, "bytes 16384-32767/40960")).json["received"] == 32768
    assert (await piece(house, name, last, "bytes 32768-40959/40960")).json["received"] == 40960
    down = await house.download(name)
    assert (down.body, down.headers["content-type"]) == (whole, "text/plain")
    again = await piece(house, name, b"", "bytes */40960")
    assert again.errcode == "M_CANNOT_OVERWRITE_MEDIA"
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"], len(house.files())) == (40960, 1, 1)


@pytest.mark.parametrize(
    ("data", "range_", "status", "errcode"),
    [
        (b"x" * 100, "bytes 0-99/40960", 400, "M_INVALID_PARAM"),  # too small
        (b"x" * 100, "bytes 0-16383/40960", 400, "M_INVALID_PARAM"),  # shorter than it says
        (b"x" * 20000, "bytes 0-16383/40960", 413, "M_TOO_LARGE"),  # longer
        (b"x", "bytes 5-4/10", 400, "M_INVALID_PARAM"),
        (b"x", "bytes 0-10/10", 400, "M_INVALID_PARAM"),
        (b"x", "lines 0-1/2", 400, "M_INVALID_PARAM"),
        (b"x" * 16384, "bytes 0-16383/999999999999", 413, "M_TOO_LARGE"),
    ],
)
async def test_bad_pieces(
    house: House, data: bytes, range_: str, status: int, errcode: str
) -> None:
    name = await create(house)
    answer = await piece(house, name, data, range_)
    assert (answer.status, answer.errcode) == (status, errcode)
    assert house.files() == []
    assert (await piece(house, name, b"x", "bytes 0-0/1", "batyr")).errcode == "M_FORBIDDEN"


async def test_pieces_at_the_same_time(house: House) -> None:
    name, data = await create(house), b"x" * 16384
    answers = await asyncio.gather(
        *(piece(house, name, data, "bytes 0-16383/32768") for _ in range(5))
    )
    assert {answer.json["received"] for answer in answers} == {16384}
    assert len(house.files()) == 1


async def test_pieces_go_with_their_time_and_count_in_the_quota(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(quota=40_000))
    name, other = await create(house), await create(house)
    data = b"x" * 16384
    assert (await piece(house, name, data, "bytes 0-16383/32768")).status == 200
    assert (await piece(house, other, data, "bytes 0-16383/32768")).status == 200
    over = await piece(house, other, data, "bytes 16384-32767/32768")
    assert over.status == 403
    clean = Clean(house.db, house.blobs, house.clock)
    house.clock.ms += 2 * 24 * 3_600_000
    assert await clean.sweep() == 0, "a row names them"
    assert await clean.expire() == 2
    assert house.files() == []
