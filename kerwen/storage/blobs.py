"""Blobs: bytes under a fresh name of ours, written once, deleted when no row names them.

Bytes before rows: when a `put` returns, the blob is on disk, so the row that names it may commit.
Who begins with the row earlier (`begin`) acknowledges neither before both are on disk, and can
tell after a crash which rows to look at.
If that row never comes, the blob is an orphan, and `sweep` removes it. Rows go before bytes when
something is deleted: commit first, then `delete`; a crash between leaves an orphan again.

    blob = await blobs.put(request.chunks(), limits.UPLOAD_BYTES_MAX)
    async with db.write() as tx:
        await add(tx, blob.key, blob.size)
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from kerwen.base import limits

KEY: Final = re.compile(r"[0-9a-f]{36}")
CHUNK: Final = 240 * limits.KIB  # what a trip to a thread carries: about one read of a socket
SWEEP_BATCH: Final = 500  # keys asked for at once

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that is on disk: its name and its size in bytes."""

    key: str
    size: int


class Arriving(Protocol):
    """A blob that has come whole; the disk may still be at it."""

    blob: Blob
    settled: bool  # it is on disk already

    async def settle(self) -> None:
        """Waits until it is on disk; on an error, which is raised, nothing of it stays."""

    async def discard(self) -> None:
        """Leaves nothing of it."""


class Reader(Protocol):
    """The bytes of a blob in chunks. `aclose` may come at any time and must come."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...


Named = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Which of these keys a row names. Asked by the sweep with at most `SWEEP_BATCH` keys."""


class Blobs(Protocol):
    """One of the stores. Keys are made by the store; a range is [start, end) in bytes.

    All raise `Unavailable` (DISK_FULL, DISK_FAULT) when the store fails, and the reading ones
    `Refused(NOT_FOUND)` for a key that is not there.
    """

    async def put(self, chunks: AsyncIterator[bytes], most: int, size: int | None = None) -> Blob:
        """Stores a stream; on any error nothing stays. `Refused(TOO_LARGE)` above `most` bytes.

        `size` is how many bytes are expected, where that is known: it finds room that fits.
        """

    async def begin(
        self, chunks: AsyncIterator[bytes], most: int, size: int | None = None
    ) -> Arriving:
        """As `put`, but returns when the last byte was taken: `settle` waits for the disk."""

    async def prepare(self) -> None:
        """Makes ready what the first blobs will want; for a quiet moment after the start."""

    async def put_bytes(self, data: bytes) -> Blob:
        """Stores bytes that are in memory already."""

    async def get(self, key: str, start: int, end: int) -> bytes:
        """A range in one piece; for ranges that may be held in memory."""

    async def open(self, key: str, start: int, end: int) -> Reader:
        """A range as a stream; a missing blob is told here, not while reading."""

    async def whole(self, sizes: Mapping[str, int]) -> set[str]:
        """Which of these blobs are there with all of their bytes; a crash may have cut some."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes blobs; those that are gone already are no error."""

    async def sweep(self, named: Named, before_ms: int) -> int:
        """Removes what no row names and what is half-written, if older than `before_ms`.

        `before_ms` must lie further back than any upload may take between its last byte and its
        row. Returns how many were removed.
        """

    async def close(self) -> None:
        """Ends threads and connections."""


def new_key(now_ms: int) -> str:
    """A fresh name: the hour in four hex digits, so that neighbours in time share a folder, then
    128 random bits."""
    return f"{now_ms // _HOUR_MS & 0xFFFF:04x}{secrets.token_hex(16)}"
