"""What goes up comes down, through the real application."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.errors import Unavailable, Unready
from kerwen.media.actions.clean import ORPHAN_MS, Clean
from kerwen.media.rules import MediaRules
from kerwen.storage.blobs_disk import Disk
from kerwen.storage.blobs_files import FileBlobs
from tests.media.house import DOMAIN, House
from tests.media.images import picture

UPLOAD = "/_matrix/media/v3/upload"
V1 = "/_matrix/client/v1/media/download/"
MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 1000, 256 * 1024, MIB, MIB + 1, 3_000_001])
async def test_bytes_come_back(house: House, size: int) -> None:
    data = os.urandom(size)
    name = await house.upload(data, "application/pdf", "War and Peace.pdf")
    answer = await house.download(name)
    assert answer.status == 200
    assert answer.body == data
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["content-disposition"] == 'attachment; filename="War and Peace.pdf"'


async def test_safe_headers(house: House) -> None:
    answer = await house.download(await house.upload(b"x", "text/html"))
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["accept-ranges"] == "bytes"


async def test_media_ids_cannot_be_guessed(house: House) -> None:
    names = {(await house.upload(b"same")).split("/")[1] for _ in range(50)}
    assert len(names) == 50
    assert all(len(name) == 22 for name in names)  # 128 bits


async def test_a_type_is_opaque_by_default(house: House) -> None:
    answer = await house.download(await house.upload(picture()))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"


async def test_the_name_in_the_path_wins(house: House) -> None:
    name = await house.upload(b"x", "image/png", "mine.png")
    answer = await house.call("GET", f"{V1}{name}/your%20gutla%C3%BD.png")
    assert answer.headers["content-disposition"] == (
        "inline; filename*=UTF-8''your%20gutla%C3%BD.png"
    )


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=-5", -5, None), ("bytes=7-", 7, None)],
)
async def test_ranges(
    house: House, header: str, start: int, end: int | None, at_once: bool
) -> None:
    data = os.urandom(1000 if at_once else 2 * MIB + 77)
    name = await house.upload(data)
    answer = await house.download(name, headers={"Range": header})
    assert answer.status == 206
    assert answer.body == data[start:end]
    first, last = data.index(answer.body), data.index(answer.body) + len(answer.body) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_range_behind_the_end(house: House) -> None:
    name = await house.upload(b"12345")
    answer = await house.download(name, headers={"Range": "bytes=5-"})
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */5"
    assert answer.errcode == "M_UNKNOWN"


async def test_conditions(house: House) -> None:
    name = await house.upload(b"12345", "image/png")
    etag = (await house.download(name)).headers["etag"]
    same = await house.download(name, headers={"If-None-Match": etag})
    assert (same.status, same.body) == (304, b"")
    assert same.headers["etag"] == etag
    part = await house.download(name, headers={"Range": "bytes=1-2", "If-Range": etag})
    assert (part.status, part.body) == (206, b"23")
    whole = await house.download(name, headers={"Range": "bytes=1-2", "If-Range": '"old"'})
    assert (whole.status, whole.body) == (200, b"12345")


@pytest.mark.parametrize("size", [10, 2 * MIB])
async def test_head(house: House, size: int) -> None:
    name = await house.upload(bytes(size))
    answer = await house.call("HEAD", V1 + name)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(size)


NO_TOKEN: list[tuple[str, str]] = [
    ("POST", UPLOAD),
    ("POST", "/_matrix/media/v1/create"),
    ("PUT", f"{UPLOAD}/{DOMAIN}/x"),
    ("GET", f"{V1}{DOMAIN}/x"),
    ("GET", f"/_matrix/client/v1/media/thumbnail/{DOMAIN}/x?width=1&height=1"),
    ("GET", "/_matrix/client/v1/media/config"),
    ("GET", "/_matrix/client/v1/media/preview_url?url=http://x"),
    ("GET", "/_matrix/media/v3/config"),
    ("GET", "/_kerwen/media"),
    ("DELETE", f"/_kerwen/media/{DOMAIN}/x"),
]


@pytest.mark.parametrize(("method", "path"), NO_TOKEN)
async def test_who_may(house: House, method: str, path: str) -> None:
    assert (await house.call(method, path, token=None)).errcode == "M_MISSING_TOKEN"
    assert (await house.call(method, path, token="stranger")).errcode == "M_UNKNOWN_TOKEN"


async def test_a_suspended_account_may_read_but_not_upload(house: House) -> None:
    name = await house.upload(b"x")
    assert (await house.download(name, token="suspended")).status == 200
    for method, path in NO_TOKEN[:3]:
        answer = await house.call(method, path, token="suspended", chunks=[b"x"])
        assert answer.errcode == "M_USER_SUSPENDED"
    assert len(house.files()) == 1


BAD: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", f"{V1}{DOMAIN}/unknown", {}, 404, "M_NOT_FOUND"),
    ("GET", f"{V1}other.test/unknown", {}, 404, "M_NOT_FOUND"),
    ("GET", f"{V1}{DOMAIN}/..%2F..%2Fetc", {}, 404, "M_NOT_FOUND"),
    ("GET", f"{V1}%2E%2E/unknown", {}, 404, "M_NOT_FOUND"),
    ("GET", f"{V1}{DOMAIN}/a%00b", {}, 400, "M_INVALID_PARAM"),
    ("GET", f"{V1}{DOMAIN}/%FF", {}, 400, "M_INVALID_PARAM"),
    ("GET", f"{V1}{DOMAIN}/" + "x" * 300, {}, 404, "M_NOT_FOUND"),
    ("GET", f"{V1}{DOMAIN}/unknown/a%0D%0AX:%20y", {}, 400, "M_INVALID_PARAM"),
    ("GET", f"{V1}{DOMAIN}/unknown?timeout_ms=-1", {}, 400, "M_INVALID_PARAM"),
    ("GET", f"{V1}{DOMAIN}/unknown?timeout_ms=x", {}, 400, "M_INVALID_PARAM"),
    ("GET", f"{V1}{DOMAIN}", {}, 404, "M_UNRECOGNIZED"),
    ("PATCH", UPLOAD, {}, 405, "M_UNRECOGNIZED"),
    ("POST", UPLOAD + "?filename=a%0Ab", {"chunks": [b"x"]}, 400, "M_INVALID_PARAM"),
    ("POST", UPLOAD + "?filename=" + "x" * 1025, {"chunks": [b"x"]}, 400, "M_INVALID_PARAM"),
    ("PUT", f"{UPLOAD}/{DOMAIN}/unknown", {"chunks": [b"x"]}, 404, "M_NOT_FOUND"),
    ("PUT", f"{UPLOAD}/other.test/unknown", {"chunks": [b"x"]}, 404, "M_NOT_FOUND"),
    ("DELETE", f"/_kerwen/media/{DOMAIN}/unknown", {}, 404, "M_NOT_FOUND"),
    ("DELETE", "/_kerwen/media/%2E/unknown", {}, 404, "M_NOT_FOUND"),
    ("GET", "/_kerwen/media?limit=0", {}, 400, "M_INVALID_PARAM"),
    ("GET", "/_matrix/client/v1/media/preview_url?url=http://x", {}, 404, "M_UNRECOGNIZED"),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "errcode"), BAD)
async def test_bad_input(
    house: House, method: str, path: str, more: dict[str, Any], status: int, errcode: str
) -> None:
    answer = await house.call(method, path, **more)
    assert (answer.status, answer.errcode) == (status, errcode)
    assert house.files() == []


async def test_config(house: House) -> None:
    for path in ("/_matrix/client/v1/media/config", "/_matrix/media/v3/config"):
        assert (await house.call("GET", path)).json["m.upload.size"] == 100 * MIB


@pytest.mark.parametrize("declare", [True, False])
async def test_too_large(tmp_path: Path, declare: bool) -> None:
    house = House(tmp_path, rules=MediaRules(upload_bytes_max=500_000))
    answer = await house.call("POST", UPLOAD, chunks=[bytes(100_000)] * 5 + [b"x"], declare=declare)
    assert (answer.status, answer.errcode) == (413, "M_TOO_LARGE")
    assert house.files() == []
    assert (await house.call("POST", UPLOAD, chunks=[bytes(100_000)] * 5)).status == 200
    await house.close()


@pytest.mark.parametrize("chunks", [[], [b"x"], [bytes(200_000)] * 6])
async def test_an_interrupted_upload_leaves_nothing(house: House, chunks: list[bytes]) -> None:
    assert (await house.call("POST", UPLOAD, chunks=chunks, cut=True)).status == 0
    assert house.files() == []
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"], own["media"]) == (0, 0, [])


@pytest.mark.parametrize("declare", [True, False])
async def test_quota(tmp_path: Path, declare: bool) -> None:
    house = House(tmp_path, rules=MediaRules(quota=1000))
    first = await house.upload(bytes(400))
    await house.upload(bytes(400))
    answer = await house.call("POST", UPLOAD, chunks=[bytes(201)], declare=declare)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert len(house.files()) == 2
    assert (await house.call("POST", UPLOAD, token="batyr", chunks=[bytes(900)])).status == 200
    assert (await house.call("DELETE", f"/_kerwen/media/{first}")).status == 200
    assert (await house.call("POST", UPLOAD, chunks=[bytes(600)])).status == 200
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"], own["quota"]) == (1000, 2, 1000)
    await house.api._quota.set_quota(1, 5000)
    assert (await house.call("POST", UPLOAD, chunks=[bytes(4000)])).status == 200
    await house.api._quota.set_quota(1, 0)
    assert (await house.call("POST", UPLOAD, chunks=[b"x"])).status == 403
    await house.api._quota.set_quota(1, None)
    assert (await house.call("GET", "/_kerwen/media")).json["quota"] == 1000
    await house.close()


async def test_own_media_in_pages(house: House) -> None:
    names = []
    for n in range(5):
        house.clock.ms += 1000
        names.append(await house.upload(bytes(n), "image/png", f"{n}.png"))
    await house.upload(b"other", token="batyr")
    first = (await house.call("GET", "/_kerwen/media?limit=3")).json["media"]
    assert [entry["filename"] for entry in first] == ["4.png", "3.png", "2.png"]
    assert first[0] == {
        "content_uri": f"mxc://{names[4]}",
        "content_type": "image/png",
        "filename": "4.png",
        "size": 4,
        "created_ts": house.clock.ms,
        "uploaded": True,
    }
    rest = await house.call("GET", f"/_kerwen/media?limit=3&before={first[-1]['created_ts']}")
    assert [entry["filename"] for entry in rest.json["media"]] == ["1.png", "0.png"]


async def test_delete(house: House) -> None:
    name = await house.upload(picture(), "image/png")
    thumbnail = f"/_matrix/client/v1/media/thumbnail/{name}?width=96&height=96&method=crop"
    assert (await house.call("GET", thumbnail)).status == 200
    kept = await house.upload(b"kept")
    other = await house.call("DELETE", f"/_kerwen/media/{name}", token="batyr")
    assert (other.status, other.errcode) == (403, "M_FORBIDDEN")
    assert (await house.call("DELETE", f"/_kerwen/media/{name}")).status == 200
    assert (await house.download(name)).status == 404
    assert (await house.call("GET", thumbnail)).status == 404
    assert (await house.call("DELETE", f"/_kerwen/media/{name}")).status == 404
    assert (await house.download(kept)).body == b"kept"
    assert len(house.files()) == 1


async def test_an_administrator_deletes(house: House) -> None:
    name = await house.upload(b"bad")
    await house.upload(b"bad too")
    await house.call("POST", "/_matrix/media/v1/create")
    await house.upload(b"fine", token="batyr")
    deletion = house.api.deletion
    await deletion.delete_any(*name.split("/"))
    assert (await house.download(name)).status == 404
    assert await deletion.delete_all(1) == 2
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"], own["media"]) == (0, 0, [])
    assert len(house.files()) == 1


async def test_the_freeze(tmp_path: Path) -> None:
    house = House(tmp_path, rules=MediaRules(legacy_before_ms=1_800_000_005_000))
    old = await house.upload(picture(), "image/png", "old.png")
    house.clock.ms += 5000
    new = await house.upload(picture(), "image/png")
    legacy = "/_matrix/media/v3/"
    for path in (
        f"download/{old}",
        f"download/{old}/x.png",
        f"download/{old}?allow_remote=false",
        f"thumbnail/{old}?width=96&height=96&method=crop",
    ):
        assert (await house.call("GET", legacy + path, token=None)).status == 200
    for path in (
        f"download/{new}",
        f"download/{new}/x.png",
        "download/other.test/x",
        f"thumbnail/{new}?width=96&height=96&method=crop",
    ):
        answer = await house.call("GET", legacy + path, token=None)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
        answer = await house.call("GET", legacy + path)  # a token opens nothing here
        assert answer.status == 404
    assert (await house.call("GET", f"/_matrix/media/r0/download/{old}", token=None)).status == 200
    await house.close()


async def test_all_is_frozen_by_default(house: House) -> None:
    name = await house.upload(b"x")
    answer = await house.call("GET", f"/_matrix/media/v3/download/{name}", token=None)
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


class FullDisk(Disk):
    """Has room for `left` bytes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, fd: int, parts: Any) -> int:
        self.left -= sum(map(len, parts))
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return super().write(fd, parts)


@pytest.mark.parametrize("left", [0, 300_000, 1_199_999])
async def test_a_full_disk(tmp_path: Path, left: int) -> None:
    disk = FullDisk(left)
    house = House(tmp_path, blobs=FileBlobs(tmp_path / "blobs", disk=disk, ready=False))
    answer = await house.call("POST", UPLOAD, chunks=[bytes(200_000)] * 6)
    assert (answer.status, answer.errcode) == (507, "M_RESOURCE_LIMIT_EXCEEDED")
    assert house.files() == []
    own = (await house.call("GET", "/_kerwen/media")).json
    assert (own["bytes"], own["files"], own["media"]) == (0, 0, [])
    disk.left = 1_200_000
    assert (await house.call("POST", UPLOAD, chunks=[bytes(200_000)] * 6)).status == 200
    await house.close()


@pytest.mark.parametrize(
    ("why", "left"),
    [
        (Unready.DISK_FULL, 0),
        (Unready.BUSY, 0),
        (Unready.DATABASE_AWAY, 1),  # the row may have been committed: the sweep will know
        (Unready.DISK_FAULT, 1),
    ],
)
async def test_a_row_that_cannot_be_written(
    house: House, monkeypatch: pytest.MonkeyPatch, why: Unready, left: int
) -> None:
    def broken() -> None:
        raise Unavailable(why)

    monkeypatch.setattr(house.db, "write", broken)
    answer = await house.call("POST", UPLOAD, chunks=[b"x"])
    assert answer.status in (503, 507)
    assert len(house.files()) == left


async def test_the_cleaner_knows_orphans(house: House) -> None:
    kept = await house.upload(picture(), "image/png")
    thumbnail = f"/_matrix/client/v1/media/thumbnail/{kept}?width=96&height=96&method=crop"
    assert (await house.call("GET", thumbnail)).status == 200
    await house.blobs.put_bytes(b"its row never came")
    foreign = await house.blobs.put_bytes(b"named by another subject")

    async def other_subject(keys: Any) -> set[str]:
        return {foreign.key} & set(keys)

    clean = Clean(house.db, house.blobs, house.clock, [other_subject])
    house.clock.ms = 0
    assert await clean.sweep() == 0
    house.clock.ms = 2**52 + ORPHAN_MS
    assert await clean.sweep() == 1
    assert len(house.files()) == 3
    await house.thumbnailer.stop()
    assert (await house.download(kept)).status == 200
    assert (await house.call("GET", thumbnail)).status == 200
    assert house.thumbnailer.pid is None
