"""The row of an upload is written while the disk is at its bytes: what a fault leaves of either."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from kerwen.media import store
from kerwen.media.actions.clean import Clean
from kerwen.storage.blobs_disk import Disk
from kerwen.storage.blobs_files import FileBlobs
from tests.media.house import House

UPLOAD = "/_matrix/media/v3/upload"
HOUR_MS = 3_600_000


async def marked(house: House) -> int:
    async with house.db.read() as snap:
        return len(await store.unproved(snap, 2**60, 1_000))


async def until_marked(house: House) -> None:
    for _ in range(10_000):
        if await marked(house):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no row was written")


async def usage(house: House) -> tuple[int, int]:
    async with house.db.read() as snap:
        used = await store.usage(snap, 1)
    return used.bytes, used.files


class SlowDisk(Disk):
    """Syncs when it is let, or fails."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.fails = False

    def sync(self, fd: int) -> None:
        assert self.let.wait(20)
        if self.fails:
            raise OSError(5, "Input/output error")
        super().sync(fd)


async def test_no_answer_before_the_bytes_are_on_disk(tmp_path: Path) -> None:
    disk = SlowDisk()
    house = House(tmp_path, blobs=FileBlobs(tmp_path / "blobs", disk=disk, ready=False))
    answer = asyncio.create_task(house.call("POST", UPLOAD, chunks=[b"salam"]))
    await until_marked(house)
    assert not answer.done()
    disk.let.set()
    assert (await answer).status == 200
    await house.close()


async def test_a_disk_that_fails_after_the_row(tmp_path: Path) -> None:
    disk = SlowDisk()
    disk.fails = True
    house = House(tmp_path, blobs=FileBlobs(tmp_path / "blobs", disk=disk, ready=False))
    answer = asyncio.create_task(house.call("POST", UPLOAD, chunks=[b"salam"]))
    await until_marked(house)
    disk.let.set()
    assert (await answer).status == 503
    assert await usage(house) == (0, 0)
    assert await marked(house) == 0
    assert house.files() == []
    await house.close()


async def test_marks_go_with_the_next_upload(house: House) -> None:
    for _ in range(5):
        await house.upload(b"x")
    assert await marked(house) == 1


async def test_an_announced_upload_is_never_marked(house: House) -> None:
    made = (await house.call("POST", "/_matrix/media/v1/create")).json["content_uri"]
    path = f"/_matrix/media/v3/upload/{made.removeprefix('mxc://')}"
    assert (await house.call("PUT", path, chunks=[b"x"])).status == 200
    assert await marked(house) == 0


async def test_the_cleaner_looks_at_what_a_crash_left(house: House) -> None:
    """A new process knows nothing of what the old one has seen on disk."""
    whole, cut, gone = [await house.upload(b"12345" * n) for n in (1, 2, 3)]
    async with house.db.write() as tx:  # as if none had been seen on disk
        for mxc in (whole, cut):
            media = await store.find(tx, store.OURS, mxc.rpartition("/")[2])
            assert media is not None
            await store.mark_unproved(tx, media)
    by_size = {path.stat().st_size: path for path in house.files()}
    by_size[10].write_bytes(b"1234512")
    by_size[15].unlink()
    clean = Clean(house.db, house.blobs, house.clock)
    assert await clean.prove() == 0, "they may still be on their way"
    assert await marked(house) == 3
    house.clock.ms += HOUR_MS
    assert await clean.prove() == 2
    assert await marked(house) == 0
    assert await usage(house) == (5, 1)
    assert (await house.download(whole)).body == b"12345"
    assert (await house.download(cut)).status == (await house.download(gone)).status == 404
    assert len(house.files()) == 1
