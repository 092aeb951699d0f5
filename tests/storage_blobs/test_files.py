"""What only files have to do: every call that may fail, every moment at which we may die."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.errors import Unavailable, Unready
from kerwen.storage import blobs_files
from kerwen.storage.blobs_disk import Disk
from kerwen.storage.blobs_files import FileBlobs

MOST = 100 << 20


async def stream(data: bytes, step: int = 65_536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


async def nobody(keys: Sequence[str]) -> set[str]:
    return set()


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


class FaultyDisk(Disk):
    """Fails one call: the `count`th of a name. Notes the names of all."""

    def __init__(self, name: str = "", count: int = 0, error: int = 0) -> None:
        self.name = name
        self.left = count
        self.error = error
        self.calls: list[str] = []

    def _count(self, name: str) -> None:
        self.calls.append(name)
        self.left -= name == self.name
        if name == self.name and self.left == 0:
            raise OSError(self.error, os.strerror(self.error))

    def free(self, folder: str) -> int:
        self._count("free")
        return super().free(folder)

    def make_folder(self, path: str) -> None:
        self._count("make_folder")
        super().make_folder(path)

    def create(self, path: str) -> int:
        self._count("create")
        return super().create(path)

    def write(self, fd: int, parts: Sequence[Any]) -> int:
        self._count("write")
        return super().write(fd, parts)

    def sync(self, fd: int) -> None:
        self._count("sync")
        super().sync(fd)

    def sync_folder(self, path: str) -> None:
        self._count("sync_folder")
        super().sync_folder(path)


CALLS = {  # and how often each comes at least in the first put of 700,000 bytes
    "free": 1,
    "create": 2,
    "make_folder": 2,
    "write": 1,
    "sync": 1,
    "sync_folder": 3,
}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", CALLS)
async def test_any_call_may_fail(tmp_path: Path, name: str, error: int) -> None:
    for count in range(1, CALLS[name] + 1):
        disk = FaultyDisk(name, count, error)
        store = FileBlobs(tmp_path / str(count), disk=disk, ready=False)
        with pytest.raises(Unavailable) as caught:
            await store.put(stream(bytes(700_000)), MOST)
        full = error != errno.EIO
        assert caught.value.reason is (Unready.DISK_FULL if full else Unready.DISK_FAULT)
        assert files(tmp_path) == []
        again = await store.put(stream(bytes(10)), MOST)  # the store lives on
        assert await store.get(again.key, 0, 10) == bytes(10)
        await store.delete([again.key])
        await store.close()


async def test_a_write_in_the_middle_may_fail(tmp_path: Path) -> None:
    """The error reaches the sender while the body still comes, not only at its end."""
    disk = FaultyDisk("write", 2, errno.ENOSPC)
    store = FileBlobs(tmp_path, disk=disk, ready=False)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(300_000)

    with pytest.raises(Unavailable):
        await store.put(endless(), 2**60)
    assert sent < 1000
    assert files(tmp_path) == []
    await store.close()


async def test_order_of_calls(tmp_path: Path) -> None:
    """The file is synced before its folder, and both before the put is done."""
    disk = FaultyDisk()
    store = FileBlobs(tmp_path, disk=disk, ready=False)
    await store.put_bytes(b"x")
    await store.put_bytes(b"x")
    second = disk.calls[-5:]
    assert second == ["free", "create", "write", "sync", "sync_folder"]
    await store.close()


async def test_short_writes_are_completed(tmp_path: Path) -> None:
    class Slow(Disk):
        def write(self, fd: int, parts: Sequence[Any]) -> int:
            return os.write(fd, bytes(parts[0][:1000]) or bytes(parts[1][:1000]))

    store = FileBlobs(tmp_path, disk=Slow(), ready=False)
    data = os.urandom(50_000)
    blob = await store.put(stream(data, 7_000), MOST)
    assert await store.get(blob.key, 0, len(data)) == data
    await store.close()


async def test_a_reserve_is_left_to_the_database(tmp_path: Path) -> None:
    class Full(Disk):
        def free(self, folder: str) -> int:
            return 1_000_000

    store = FileBlobs(tmp_path, disk=Full(), reserve=400_000, ready=False)
    await store.put_bytes(bytes(600_000))
    with pytest.raises(Unavailable) as caught:
        await store.put_bytes(bytes(600_001))
    assert caught.value.reason is Unready.DISK_FULL
    assert len(files(tmp_path)) == 1
    await store.close()


async def test_a_truncated_file_is_a_fault(tmp_path: Path) -> None:
    store = FileBlobs(tmp_path, ready=False)
    blob = await store.put_bytes(bytes(1000))
    os.truncate(files(tmp_path)[0], 500)
    for read in (store.get, store.open):
        with pytest.raises(Unavailable) as caught:
            await read(blob.key, 0, 1000)
        assert caught.value.reason is Unready.DISK_FAULT
    await store.close()


@pytest.mark.parametrize(("held_max", "on_disk"), [(1 << 20, 0), (0, 90_000)])
async def test_many_slow_uploads_hold_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_max: int, on_disk: int
) -> None:
    """Where all uploads together hold too much, what has come goes to disk in small pieces."""
    monkeypatch.setattr(blobs_files, "_HELD_MAX", held_max)
    store = FileBlobs(tmp_path, ready=False)
    more = asyncio.Event()
    came = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(30_000)
            yield bytes(3_000)
        came.set()
        await more.wait()
        yield b"end"

    putting = asyncio.create_task(store.put(slow(), MOST))
    await came.wait()
    for _ in range(2000):
        if sum(path.stat().st_size for path in files(tmp_path)) >= on_disk:
            break
        await asyncio.sleep(0.001)
    assert sum(path.stat().st_size for path in files(tmp_path)) >= on_disk
    assert store._held <= (99_000 if held_max else 33_000)
    assert on_disk or not files(tmp_path)
    more.set()
    blob = await putting
    assert await store.get(blob.key, 98_999, 99_003) == b"\0end"
    assert store._held == 0
    await store.close()


DIES = """
import asyncio, os, sys
from pathlib import Path
from kerwen.storage.blobs_files import FileBlobs

async def main():
    store = FileBlobs(Path(sys.argv[1]))
    async def chunks():
        for _ in range(5):
            yield bytes(300_000)
        if sys.argv[2] == "half":
            while not any(p.is_file() and p.stat().st_size for p in Path(sys.argv[1]).rglob("*")):
                await asyncio.sleep(0.001)
            os.kill(os.getpid(), 9)
    await store.put(chunks(), 1 << 30)
    os.kill(os.getpid(), 9)   # the row that names the blob never comes

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["half", "whole"])
async def test_the_sweep_removes_what_a_crash_left(tmp_path: Path, moment: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES, str(tmp_path), moment
    )
    assert await process.wait() == -signal.SIGKILL
    assert len(files(tmp_path)) == 1
    store = FileBlobs(tmp_path, ready=False)
    (tmp_path / "README").write_text("not ours")
    now = int(time.time() * 1000)
    assert await store.sweep(nobody, now - 3_600_000) == 0  # it may still be on its way
    assert await store.sweep(nobody, now + 10_000) == 1
    assert files(tmp_path) == [tmp_path / "README"]
    await store.close()
