"""Files that lie ready for blobs: their room on the disk is given and written already.

To sync a new file costs a commit of the file system's journal, 2 to 3 ms on a disk that puts the
bytes of 1 MiB down in less than 1.5. Where the room is already the file's own, the sync is the
bytes alone. So a few files of zeros are made when nothing else goes on, each under the fresh name
of the blob that it will be; whoever comes when none is left makes a new file as ever.

A file's length says nothing of how much of it came: what is written here is on disk before its
row is. Then the file is cut to the blob's size; a crash before the cut leaves zeros behind the
blob, which nobody reads, since rows say how long blobs are.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.storage.blobs import new_key
from kerwen.storage.blobs_disk import Disk, path_of

SHELVES: Final = ((128 * limits.KIB, 32), (limits.MIB, 24))  # bytes of a file, how many lie ready
_KEPT_MS: Final = 12 * 3_600_000  # well before a sweep takes them for orphans
_SPARE: Final = 16  # this many times all ready files must be free on the disk
_ZEROS: Final = bytes(64 * limits.KIB)


class ReadyFiles:
    """`take` and `stop` are called by the loop, `restock` and `drop` by threads."""

    def __init__(self, disk: Disk, root: str, reserve: int, clock: Clock) -> None:
        self._disk = disk
        self._root = root
        self._reserve = reserve
        self._clock = clock
        self._shelves: list[tuple[int, int, deque[tuple[str, int]]]] = [
            (size, count, deque()) for size, count in SHELVES
        ]
        self._lock = threading.Lock()  # of the shelves; never held while the disk works
        self.takes = 0
        self._stopped = False

    def take(self, size: int) -> tuple[str, int] | None:
        """The key and the open file for a blob of so many bytes; None where none lies ready."""
        self.takes += 1
        old_ms = self._clock() - _KEPT_MS
        for room, _, shelf in self._shelves:
            if size > room:
                continue
            while (key := self._next(shelf, old_ms, old=False)) is not None:
                try:
                    return key, self._disk.open_ready(path_of(self._root, key))
                except OSError:
                    continue
            return None
        return None

    def restock(self) -> None:
        """Makes what is missing. Stops as soon as somebody takes one: it was not quiet then."""
        takes, wanted = self.takes, sum(size * count for size, count in SHELVES)
        try:
            if self._disk.free(self._root) - self._reserve < wanted * _SPARE:
                return
            for size, count, shelf in self._shelves:
                old_ms = self._clock() - _KEPT_MS
                while (key := self._next(shelf, old_ms, old=True)) is not None:
                    self._remove(key)
                while len(shelf) < count and self.takes == takes and not self._stopped:
                    made = self._make(size)
                    with self._lock:
                        shelf.append(made)
        except OSError:
            return  # blobs are made without

    def stop(self) -> None:
        """Nothing more is made: `drop` may come when the threads are done."""
        self._stopped = True

    def drop(self) -> None:
        """Removes those that were not needed."""
        for _, _, shelf in self._shelves:
            while (key := self._next(shelf, 2**62, old=True)) is not None:
                self._remove(key)

    def _next(self, shelf: deque[tuple[str, int]], old_ms: int, *, old: bool) -> str | None:
        """Takes the oldest file from a shelf if it was made before `old_ms`, or if it was not;
        older ones the sweep may have."""
        with self._lock:
            if shelf and (shelf[0][1] < old_ms) is old:
                return shelf.popleft()[0]
        return None

    def _remove(self, key: str) -> None:
        with contextlib.suppress(OSError):  # the sweep comes again
            self._disk.remove(path_of(self._root, key))

    def _make(self, size: int) -> tuple[str, int]:
        made_ms = self._clock()
        key = new_key(made_ms)
        path = path_of(self._root, key)
        fd = self._disk.create_deep(path)
        try:
            for _ in range(size // len(_ZEROS)):
                self._disk.write(fd, [_ZEROS])
            self._disk.sync(fd)
        except BaseException:
            self._disk.remove(path)
            raise
        finally:
            os.close(fd)
        self._disk.sync_folder(os.path.dirname(path))
        return key, made_ms
