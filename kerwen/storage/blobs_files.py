"""Blobs as files: `ab/cd/abcd…` below one folder.

A blob is written under its own fresh name, synced, and its folder synced; only then may a row
name it. A crash leaves what no row names, whole or not, and the sweep removes it. So no second
name and no rename is needed, which would cost another commit of the file system's journal.
Everything that can wait for the disk runs on a few threads; the bytes of the next chunk arrive
while the last one is written.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.blobs import CHUNK, KEY, SWEEP_BATCH, Blob, Named, new_key
from kerwen.storage.blobs_disk import Disk, path_of
from kerwen.storage.blobs_ready import ReadyFiles

P = ParamSpec("P")
T = TypeVar("T")

_VECTOR_MAX = 64  # buffers that one writev takes; more are joined first
_READ_CHUNK = 512 * limits.KIB
_READ_NOW = 128 * limits.KIB  # a range up to this is read at once if it needs no disk
_SMALL = 32 * limits.KIB  # what a trip to a thread carries at least when memory is short
_WAITING_MAX = 4 * limits.MIB  # of one upload, received but not yet written
_HELD_MAX = 64 * limits.MIB  # of all uploads; above it they hold `_SMALL` at most each
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux: read what is in memory only
_QUIET_S = 1.0  # after the last blob, until more files are made ready
_ROOM = 16 * limits.MIB  # how far an upload writes without asking the disk for its room


class _Incoming:
    """A blob on its way in. Its methods run on threads; `_lock` keeps a discard behind a write."""

    def __init__(
        self, disk: Disk, root: str, key: str, reserve: int, ready: int | None = None
    ) -> None:
        self.key = key
        self._disk = disk
        self._root = root
        self._path = path_of(root, key)
        self._reserve = reserve
        self._room = 0  # bytes that may be written before the disk is asked again
        self._fd = -1 if ready is None else ready
        self._made = self.ready = ready is not None
        self._size = 0
        self._gone = False
        self._lock = threading.Lock()

    def write(self, parts: Sequence[bytes]) -> None:
        """Writes the next bytes."""
        with self._lock:
            if self._gone:
                return
            wanted = sum(map(len, parts))
            self._size += wanted
            if not self.ready:  # else the room is its own already
                self._take_room(wanted)
            if self._fd < 0:
                self._create()
            if len(parts) > _VECTOR_MAX:
                parts = [b"".join(parts)]
            written = self._disk.write(self._fd, parts) if parts else 0
            if written < wanted:
                rest = memoryview(b"".join(parts))
                while written < wanted:
                    written += self._disk.write(self._fd, [rest[written:]])
            if wanted >= CHUNK:
                self._disk.begin_sync(self._fd)

    def finish(self) -> None:
        """When it returns, the blob stands under its name, on disk."""
        with self._lock:
            if self._gone:
                return
            if self._fd < 0:
                self._take_room(0)
                self._create()
            if self.ready:
                self._disk.sync_bytes(self._fd, self._size)
            else:
                self._disk.sync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
            if not self.ready:
                self._disk.sync_folder(os.path.dirname(self._path))

    def discard(self) -> None:
        """Leaves nothing, whatever was done so far."""
        with self._lock:
            self._gone = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            if self._made:
                try:
                    self._disk.remove(self._path)
                except OSError:
                    pass  # the sweep comes again

    def _take_room(self, size: int) -> None:
        if size > self._room or self._fd < 0:
            free = self._disk.free(self._root) - self._reserve
            if free < size:
                raise OSError(errno.ENOSPC, "the reserve is kept free for the database")
            self._room = min(free, max(size, _ROOM))
        self._room -= size

    def _create(self) -> None:
        self._fd = self._disk.create_deep(self._path)
        self._made = True


class _Lane:
    """Hands parts to a deed on a thread, in order, as long as there are some.

    It costs one trip to a thread where parts come quickly, and holds no thread where they come
    slowly. A deed that fails is not called again; `end` tells its error.
    """

    def __init__(self, pool: ThreadPoolExecutor, deed: Callable[[Sequence[bytes]], None]) -> None:
        self._pool = pool
        self._deed = deed
        self._last: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._parts: list[bytes] = []
        self._running = False
        self._ended: Future[None] | None = None
        self._quiet: Future[None] | None = None
        self._error: BaseException | None = None
        self.waiting = 0  # bytes given and not yet dealt with

    def give(self, parts: list[bytes]) -> None:
        """Has the parts dealt with soon; an error of those before is raised here."""
        with self._lock:
            if self._error is not None:
                raise self._error
            self._parts += parts
            self.waiting += sum(map(len, parts))
            self._start()

    async def quiet(self) -> None:
        """Waits until all that was given is dealt with."""
        with self._lock:
            if not self._running:
                return
            quiet: Future[None] = Future()
            self._quiet = quiet
        await asyncio.wrap_future(quiet)

    def end(self, parts: list[bytes], last: Callable[[], None] | None = None) -> Future[None]:
        """Gives the last parts; the future ends when they and the `last` deed are done."""
        ended: Future[None] = Future()
        with self._lock:
            self._parts += parts
            self._last = last
            self._ended = ended
            self._start()
        return ended

    def _start(self) -> None:
        if not self._running:
            self._running = True
            self._pool.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                parts, self._parts = self._parts, []
                last, self._last = self._last, None
                self.waiting = sum(map(len, parts))
                if not parts and last is None:
                    self._running = False
                    self._tell()
                    return
            try:
                if self._error is None:
                    if parts:
                        self._deed(parts)
                    if last is not None:
                        last()
            except BaseException as error:
                self._error = error

    def _tell(self) -> None:
        if self._quiet is not None:
            self._quiet.set_result(None)
            self._quiet = None
        if self._ended is not None:
            if self._error is not None:
                self._ended.set_exception(self._error)
            else:
                self._ended.set_result(None)
            self._ended = None


class _Arriving:
    """A blob of which the disk has not said yet that it has it."""

    def __init__(
        self, store: FileBlobs, incoming: _Incoming, size: int, done: Future[None]
    ) -> None:
        self.settled = incoming.ready
        self.blob = Blob(incoming.key, size)
        self._store = store
        self._incoming = incoming
        self._done = done

    async def settle(self) -> None:
        try:
            with _disk_errors():
                await asyncio.wrap_future(self._done)
        except BaseException:
            await asyncio.shield(self.discard())
            raise

    async def discard(self) -> None:
        await self._store.run(self._incoming.discard)


class _FileReader:
    """A range of an open file, a chunk at a time."""

    def __init__(self, pool: ThreadPoolExecutor, fd: int, start: int, end: int) -> None:
        self._pool = pool
        self._fd = fd
        self._at = start
        self._end = end
        self._lock = threading.Lock()  # a close never hits a file that a thread still reads

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._end:
            raise StopAsyncIteration
        wanted = min(_READ_CHUNK, self._end - self._at)
        with _disk_errors():
            data = await asyncio.wrap_future(self._pool.submit(self._read, wanted))
        self._at += len(data)
        return data

    def _read(self, wanted: int) -> bytes:
        with self._lock:
            if self._fd < 0:
                raise OSError(errno.EBADF, "closed")
            return _read_exactly(self._fd, wanted, self._at)

    def _close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    async def aclose(self) -> None:
        if self._fd >= 0:
            self._pool.submit(self._close)


class FileBlobs:
    """The `Blobs` of one folder. `reserve` bytes of the disk are never filled by blobs."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock = now_ms,
        threads: int = 4,
        reserve: int = limits.DISK_RESERVE,
        disk: Disk | None = None,
        ready: bool = True,
    ) -> None:
        """`ready`: whether files are made ahead, for a quicker sync."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = str(root)
        self._clock = clock
        self._reserve = reserve
        self._disk = disk or Disk()
        self._pool = ThreadPoolExecutor(threads, "kerwen-blob")
        self._ready = ReadyFiles(self._disk, self._root, reserve, clock) if ready else None
        self._restock: asyncio.TimerHandle | None = None
        self._held = 0  # bytes of all uploads that wait to be handed to a thread

    async def put(self, chunks: AsyncIterator[bytes], most: int, size: int | None = None) -> Blob:
        arriving = await self.begin(chunks, most, size)
        await arriving.settle()
        return arriving.blob

    async def begin(
        self, chunks: AsyncIterator[bytes], most: int, size: int | None = None
    ) -> _Arriving:
        incoming = self._incoming(size)
        try:
            with _disk_errors():
                size, done = await self._take(incoming, chunks, most)
                if incoming.ready:  # its length would prove nothing to who looks after a crash
                    await asyncio.wrap_future(done)
        except BaseException:
            await asyncio.shield(self.run(incoming.discard))
            raise
        return _Arriving(self, incoming, size, done)

    async def prepare(self) -> None:
        if self._ready is not None:
            await self.run(self._ready.restock)

    def _incoming(self, size: int | None) -> _Incoming:
        """A file that lies ready, if one does for this size, else a new one."""
        if size is not None and self._ready is not None:
            found = self._ready.take(size)
            self._restock_when_quiet(self._ready)
            if found is not None:
                return _Incoming(self._disk, self._root, found[0], self._reserve, found[1])
        return _Incoming(self._disk, self._root, new_key(self._clock()), self._reserve)

    def _restock_when_quiet(self, ready: ReadyFiles) -> None:
        if self._restock is not None:
            self._restock.cancel()
        submit = self._pool.submit
        loop = asyncio.get_running_loop()
        self._restock = loop.call_later(_QUIET_S, submit, ready.restock)

    async def put_bytes(self, data: bytes) -> Blob:
        async def once() -> AsyncIterator[bytes]:
            yield data

        return await self.put(once(), len(data), len(data))

    async def _take(
        self, incoming: _Incoming, chunks: AsyncIterator[bytes], most: int
    ) -> tuple[int, Future[None]]:
        """Writes while bytes come; the blob's size, and what ends when all of it is on disk."""
        writer = _Lane(self._pool, incoming.write)
        waiting: list[bytes] = []
        size = written = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                self._held += len(chunk)
                if size > most:
                    raise Refused(Reason.TOO_LARGE, f"A file may have {most} bytes")
                waiting.append(chunk)
                if size - written >= (_SMALL if self._held > _HELD_MAX else CHUNK):
                    writer.give(waiting)
                    self._held -= size - written
                    waiting, written = [], size
                    if writer.waiting > _WAITING_MAX:
                        await writer.quiet()
            return size, writer.end(waiting, incoming.finish)
        finally:
            self._held -= size - written

    async def get(self, key: str, start: int, end: int) -> bytes:
        path = path_of(self._root, key)
        with _disk_errors():
            found = _read_cached(path, start, end) if end - start <= _READ_NOW else None
            return found if found is not None else await self.run(_read_file, path, start, end)

    async def open(self, key: str, start: int, end: int) -> _FileReader:
        with _disk_errors():
            fd = await self.run(_open_checked, path_of(self._root, key), end)
        return _FileReader(self._pool, fd, start, end)

    async def whole(self, sizes: Mapping[str, int]) -> set[str]:
        with _disk_errors():
            return await self.run(self._whole, sizes)

    async def delete(self, keys: Iterable[str]) -> None:
        paths = [path_of(self._root, key) for key in keys]
        with _disk_errors():
            await self.run(self._remove, paths)

    async def sweep(self, named: Named, before_ms: int) -> int:
        removed = 0
        with _disk_errors():
            for folder in await self.run(_folders, self._root):
                keys = await self.run(_old_files, folder, before_ms)
                orphans: list[str] = []
                for at in range(0, len(keys), SWEEP_BATCH):
                    batch = keys[at : at + SWEEP_BATCH]
                    known = await named(batch)
                    orphans += [path_of(self._root, key) for key in batch if key not in known]
                removed += await self.run(self._remove, orphans)
        return removed

    async def close(self) -> None:
        if self._restock is not None:
            self._restock.cancel()
        if self._ready is not None:
            self._ready.stop()
        await asyncio.to_thread(self._pool.shutdown)
        if self._ready is not None:  # now nobody makes one any more
            await asyncio.to_thread(self._ready.drop)

    def _whole(self, sizes: Mapping[str, int]) -> set[str]:
        whole = set()
        for key, size in sizes.items():
            with suppress(FileNotFoundError):
                if os.stat(path_of(self._root, key)).st_size == size:
                    whole.add(key)
        return whole

    def _remove(self, paths: list[str]) -> int:
        removed = 0
        for path in paths:
            try:
                self._disk.remove(path)
                removed += 1
            except FileNotFoundError:
                pass
        return removed

    async def run(self, deed: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a deed on one of the threads."""
        return await asyncio.wrap_future(self._pool.submit(deed, *args, **kwargs))


def _read_exactly(fd: int, wanted: int, offset: int) -> bytes:
    data = os.pread(fd, wanted, offset)
    while len(data) < wanted:
        more = os.pread(fd, wanted - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "the file is shorter than its row says")
        data += more
    return data


def _read_cached(path: str, start: int, end: int) -> bytes | None:
    """A range that the system has in memory, read here and now: cheaper than the way to a
    thread. None where it would have to wait for the disk, or cannot tell.
    """
    if _NOWAIT is None:
        return None
    data = bytearray(end - start)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = os.preadv(fd, [data], start, _NOWAIT) == len(data)
    except OSError:  # EAGAIN: it is on the disk only
        return None
    finally:
        os.close(fd)
    return bytes(data) if whole else None


def _read_file(path: str, start: int, end: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_exactly(fd, end - start, start)
    finally:
        os.close(fd)


def _open_checked(path: str, end: int) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(fd).st_size < end:
        os.close(fd)
        raise OSError(errno.EIO, "the file is shorter than its row says")
    return fd


def _folders(root: str) -> list[str]:
    """The folders of the second level."""
    found = []
    for outer in os.scandir(root):
        if len(outer.name) == 2 and outer.is_dir(follow_symlinks=False):
            found += [inner.path for inner in os.scandir(outer.path) if inner.is_dir()]
    return sorted(found)


def _old_files(folder: str, before_ms: int) -> list[str]:
    """Keys of the blobs that were last written to before; what is not ours stays."""
    keys = []
    for entry in os.scandir(folder):
        if not KEY.fullmatch(entry.name):
            continue
        try:
            if entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < before_ms:
                keys.append(entry.name)
        except FileNotFoundError:
            continue
    return keys


@contextmanager
def _disk_errors() -> Iterator[None]:
    """The system's errors in our words."""
    try:
        yield
    except FileNotFoundError:
        raise Refused(Reason.NOT_FOUND, "Not found") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = Unready.DISK_FULL if full else Unready.DISK_FAULT
        raise Unavailable(why, 30_000, cause=str(error)) from error
