"""The disk under the blobs: the system's calls, and where a blob's file is."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence

from kerwen.storage.blobs import KEY


def path_of(root: str, key: str) -> str:
    """The file of a blob: `ab/cd/abcd…` below the store's folder."""
    assert KEY.fullmatch(key), "a blob's key is made here"
    return f"{root}/{key[:2]}/{key[2:4]}/{key}"


def _begin_sync_call() -> Callable[[int, int, int, int], int] | None:
    """sync_file_range(2), which Python does not have; None where the system has it not."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_sync_file_range = _begin_sync_call()


class Disk:
    """The calls by which a put changes the disk, so that a test can make each of them fail."""

    def free(self, folder: str) -> int:
        """Bytes that may still be written here."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def make_folder(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def create(self, path: str) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def create_deep(self, path: str) -> int:
        """As `create`; its folders are made, and synced, when they are not there."""
        try:
            return self.create(path)
        except FileNotFoundError:
            outer = os.path.dirname(os.path.dirname(path))
            for folder in (outer, os.path.dirname(path)):
                try:
                    self.make_folder(folder)
                except FileExistsError:
                    pass
                # also if it was there: whoever made it may not have synced it yet
                self.sync_folder(os.path.dirname(folder))
            return self.create(path)

    def open_ready(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, fd: int, parts: Sequence[bytes | memoryview]) -> int:
        return os.writev(fd, parts)

    def begin_sync(self, fd: int) -> None:
        """Has the disk begin with what waits, without waiting for it: the sync at the end is
        shorter, and the database's syncs do not stand behind a whole file."""
        if _sync_file_range is not None:
            _sync_file_range(fd, 0, 0, 2)  # SYNC_FILE_RANGE_WRITE; an error comes with the sync

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_bytes(self, fd: int, size: int) -> None:
        """Syncs what was written into room that the file had already, then cuts what is behind
        it; the cut may wait. A file that somebody removed meanwhile is an error."""
        os.fdatasync(fd)
        found = os.fstat(fd)
        if not found.st_nlink:
            raise OSError(errno.EIO, "the ready file was removed")
        if found.st_size > size:
            os.ftruncate(fd, size)

    def sync_folder(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        os.unlink(path)
