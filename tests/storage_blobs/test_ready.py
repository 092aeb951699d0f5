"""Files that lie ready: taken, cut, restocked, and never a way to lose bytes."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from kerwen.base.errors import Unavailable
from kerwen.storage import blobs_ready
from kerwen.storage.blobs_disk import Disk
from kerwen.storage.blobs_files import FileBlobs
from tests.storage_blobs.test_files import MOST, files, stream

HOUR = 3_600_000
SMALL, BIG = (size for size, _ in blobs_ready.SHELVES)
COUNT = sum(count for _, count in blobs_ready.SHELVES)


class CountingDisk(Disk):
    """Notes which calls a blob costs."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def create(self, path: str) -> int:
        self.calls.append("create")
        return super().create(path)

    def sync(self, fd: int) -> None:
        self.calls.append("sync")
        super().sync(fd)

    def sync_bytes(self, fd: int, size: int) -> None:
        self.calls.append("sync_bytes")
        super().sync_bytes(fd, size)


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, BIG - 1, BIG])
async def test_a_ready_file_becomes_the_blob(tmp_path: Path, size: int) -> None:
    disk = CountingDisk()
    store = FileBlobs(tmp_path, disk=disk)
    await store.prepare()
    assert len(files(tmp_path)) == COUNT
    disk.calls.clear()
    data = os.urandom(size)
    blob = await store.put(stream(data), MOST, size)
    assert disk.calls == ["sync_bytes"]
    assert await store.get(blob.key, 0, size) == data
    assert await store.whole({blob.key: size}) == {blob.key}
    await store.close()
    assert [path.stat().st_size for path in files(tmp_path)] == [size]  # what was behind is cut


async def test_it_is_on_disk_before_any_row(tmp_path: Path) -> None:
    """A row that is written while the disk works has to be marked; here none has to be."""
    store = FileBlobs(tmp_path)
    await store.prepare()
    arriving = await store.begin(stream(bytes(1000)), MOST, 1000)
    assert arriving.settled
    late = await store.begin(stream(bytes(BIG + 1)), MOST, BIG + 1)
    assert not late.settled
    await late.settle()
    await store.close()


async def test_a_crash_before_the_cut_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileBlobs(tmp_path)
    await store.prepare()
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: None)
    blob = await store.put(stream(b"x" * 5000), MOST, 5000)
    assert await store.get(blob.key, 0, 5000) == b"x" * 5000
    reader = await store.open(blob.key, 0, 5000)
    assert b"".join([part async for part in reader]) == b"x" * 5000
    await reader.aclose()
    await store.close()


@pytest.mark.parametrize("said", [0, 10, SMALL])
async def test_more_comes_than_was_said(tmp_path: Path, said: int) -> None:
    store = FileBlobs(tmp_path)
    await store.prepare()
    data = os.urandom(BIG + 100_000)
    blob = await store.put(stream(data), MOST, said)
    assert await store.get(blob.key, 0, len(data)) == data
    assert await store.whole({blob.key: len(data)}) == {blob.key}
    assert [path.stat().st_size for path in files(tmp_path) if path.name == blob.key] == [len(data)]
    await store.close()


async def test_when_none_is_left_a_new_file_is_made(tmp_path: Path) -> None:
    disk = CountingDisk()
    store = FileBlobs(tmp_path, disk=disk)
    blob = await store.put(stream(b"x"), MOST, 1)
    assert disk.calls == ["create", "create", "sync"]  # its folders were not there
    assert await store.get(blob.key, 0, 1) == b"x"
    await store.close()


async def test_a_quiet_second_later_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerwen.storage.blobs_files._QUIET_S", 0.0)
    store = FileBlobs(tmp_path)
    await store.put(stream(b"x"), MOST, 1)
    for _ in range(2000):
        if len(files(tmp_path)) == COUNT + 1:
            break
        await asyncio.sleep(0.005)
    assert len(files(tmp_path)) == COUNT + 1
    await store.close()


async def test_a_file_that_somebody_removed_is_no_blob(tmp_path: Path) -> None:
    """Before it is opened: the next one is taken. After: the sender is told."""
    store = FileBlobs(tmp_path)
    await store.prepare()
    kept = sorted(path for path in files(tmp_path) if path.stat().st_size == SMALL)[-1]
    for found in files(tmp_path):
        if found != kept:
            found.unlink()
    blob = await store.put(stream(b"ab"), MOST, 2)
    assert await store.get(blob.key, 0, 2) == b"ab"
    await store.close()

    class Swept(Disk):
        def open_ready(self, path: str) -> int:
            fd = super().open_ready(path)
            os.unlink(path)
            return fd

    store = FileBlobs(tmp_path / "b", disk=Swept())
    await store.prepare()
    with pytest.raises(Unavailable):
        await store.put(stream(b"ab"), MOST, 2)
    await store.close()


async def test_old_ones_are_made_anew_before_the_sweep_sees_them(tmp_path: Path) -> None:
    now = [1000 * HOUR]
    store = FileBlobs(tmp_path, clock=lambda: now[0])
    await store.prepare()
    before = set(files(tmp_path))
    now[0] += 13 * HOUR
    blob = await store.put(stream(b"ab"), MOST, 2)
    assert not any(blob.key == path.name for path in before)
    await store.prepare()
    after = set(files(tmp_path))
    assert not before & after
    assert len(after) == COUNT + 1
    await store.close()


async def test_none_are_made_where_the_disk_is_nearly_full(tmp_path: Path) -> None:
    class Full(Disk):
        def free(self, folder: str) -> int:
            return 100_000_000

    store = FileBlobs(tmp_path, disk=Full())
    await store.prepare()
    assert files(tmp_path) == []
    await store.close()


async def test_nothing_is_left_by_files_that_were_being_made(tmp_path: Path) -> None:
    """The store is closed amid a restocking, whose last file comes after that."""

    class Slow(Disk):
        begun = threading.Event()
        closing = threading.Event()

        def create(self, path: str) -> int:
            self.begun.set()
            assert self.closing.wait(10)
            return super().create(path)

    disk = Slow()
    store = FileBlobs(tmp_path, disk=disk)
    made = asyncio.ensure_future(store.prepare())
    await asyncio.to_thread(disk.begun.wait, 10)
    closed = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)  # it has said that it ends, and waits for the thread
    disk.closing.set()
    await asyncio.gather(made, closed)
    assert files(tmp_path) == []
