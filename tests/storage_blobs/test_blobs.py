"""What both stores promise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.storage.blobs import KEY, Blobs, new_key

FUTURE = 2**52
MOST = 100 << 20


async def stream(data: bytes, step: int = 65_536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


async def nobody(keys: Sequence[str]) -> set[str]:
    return set()


def test_keys_are_fresh_and_share_an_hour() -> None:
    one, two, later = new_key(3_600_000 * 5), new_key(3_600_000 * 5 + 1), new_key(3_600_000 * 6)
    assert KEY.fullmatch(one)
    assert one != two
    assert one[:4] == two[:4] == "0005"
    assert later[:4] == "0006"


SIZES = [0, 1, 65_535, 256 * 1024, 256 * 1024 + 1, 5 << 20, (8 << 20) + 1, (17 << 20) + 5]


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_comes_back(blobs: Blobs, size: int) -> None:
    data = os.urandom(size)
    blob = await blobs.put(stream(data, 100_000), MOST)
    assert blob.size == size
    assert await blobs.get(blob.key, 0, size) == data
    reader = await blobs.open(blob.key, 0, size) if size else None
    if reader is not None:
        assert b"".join([part async for part in reader]) == data
        await reader.aclose()


async def test_bytes_come_back(blobs: Blobs) -> None:
    data = os.urandom(300_000)
    blob = await blobs.put_bytes(data)
    assert blob.size == len(data)
    assert await blobs.get(blob.key, 0, len(data)) == data


async def test_many_tiny_chunks(blobs: Blobs) -> None:
    data = os.urandom(20_000)
    blob = await blobs.put(stream(data, 1), MOST)
    assert await blobs.get(blob.key, 0, len(data)) == data


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5, 1_000_000), (999_999, 1_000_000), (1_500_000, 3_000_000), (7, 7)]
)
async def test_ranges(blobs: Blobs, start: int, end: int) -> None:
    data = os.urandom(3_000_000)
    blob = await blobs.put(stream(data), MOST)
    assert await blobs.get(blob.key, start, end) == data[start:end]
    if end > start:
        reader = await blobs.open(blob.key, start, end)
        assert b"".join([part async for part in reader]) == data[start:end]
        await reader.aclose()


async def test_what_is_not_there(blobs: Blobs) -> None:
    key = new_key(0)
    with pytest.raises(Refused) as caught:
        await blobs.get(key, 0, 10)
    assert caught.value.reason is Reason.NOT_FOUND
    with pytest.raises(Refused):
        await blobs.get(key, 0, 0)
    with pytest.raises(Refused):
        await blobs.open(key, 0, 10)
    await blobs.delete([key])


async def test_delete(blobs: Blobs) -> None:
    one, two = await blobs.put_bytes(b"one"), await blobs.put_bytes(b"two")
    await blobs.delete([one.key, new_key(0)])
    await blobs.delete([])
    with pytest.raises(Refused):
        await blobs.get(one.key, 0, 3)
    assert await blobs.get(two.key, 0, 3) == b"two"


@pytest.mark.parametrize("most", [999_999, 20_000_000])
async def test_too_large_leaves_nothing(blobs: Blobs, most: int) -> None:
    with pytest.raises(Refused) as caught:
        await blobs.put(stream(bytes(most + 1)), most)
    assert caught.value.reason is Reason.TOO_LARGE
    assert await blobs.sweep(nobody, FUTURE) == 0


async def test_exactly_the_most_is_taken(blobs: Blobs) -> None:
    assert (await blobs.put(stream(bytes(70_000)), 70_000)).size == 70_000


@pytest.mark.parametrize("size", [0, 1000, 300_000, 9_000_000, 30_000_000])
async def test_an_interrupted_stream_leaves_nothing(blobs: Blobs, size: int) -> None:
    class Cut(Exception):
        pass

    async def cut() -> AsyncIterator[bytes]:
        async for part in stream(bytes(size)):
            yield part
        raise Cut

    with pytest.raises(Cut):
        await blobs.put(cut(), MOST)
    assert await blobs.sweep(nobody, FUTURE) == 0


@pytest.mark.parametrize("size", [0, 300_000, 30_000_000])
async def test_a_cancelled_put_leaves_nothing(blobs: Blobs, size: int) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        async for part in stream(bytes(size)):
            yield part
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(blobs.put(stalled(), MOST))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await blobs.sweep(nobody, FUTURE) == 0


async def test_a_reader_may_stop_early(blobs: Blobs) -> None:
    blob = await blobs.put(stream(bytes(5_000_000)), MOST)
    reader = await blobs.open(blob.key, 0, 5_000_000)
    assert await reader.__anext__()
    await reader.aclose()
    await reader.aclose()
    await (await blobs.open(blob.key, 0, 5_000_000)).aclose()


async def test_the_sweep_asks_before_it_removes(blobs: Blobs) -> None:
    made = [(await blobs.put_bytes(b"%d" % n)).key for n in range(7)]
    asked: list[str] = []

    async def named(keys: Sequence[str]) -> set[str]:
        asked.extend(keys)
        return {made[2], made[5]}

    assert await blobs.sweep(named, 0) == 0  # nothing is that old
    assert asked == []
    assert await blobs.sweep(named, FUTURE) == 5
    assert sorted(asked) == sorted(made)
    for n in (2, 5):
        assert await blobs.get(made[n], 0, 1) == b"%d" % n
    with pytest.raises(Refused):
        await blobs.get(made[0], 0, 1)


async def test_puts_at_the_same_time(blobs: Blobs) -> None:
    pieces = [os.urandom(400_000) for _ in range(8)]
    made = await asyncio.gather(*(blobs.put(stream(piece), MOST) for piece in pieces))
    assert len({blob.key for blob in made}) == 8
    for blob, piece in zip(made, pieces, strict=True):
        assert await blobs.get(blob.key, 0, len(piece)) == piece
