"""Has thumbnails made by a process of its own: started when needed, killed when it misbehaves,
stopped when idle, so that an idle server holds no decoder in memory."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import orjson

import kerwen
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.media.thumbnail_sizes import Variant

_DEAD: Final = (asyncio.IncompleteReadError, ConnectionError, ValueError, msgspec.MsgspecError)
_ANSWER_MAX: Final = 64 * limits.MIB
_ROOT: Final = str(Path(next(iter(kerwen.__path__))).parent)


class _Head(msgspec.Struct):
    size: int
    type: str = ""
    as_is: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A thumbnail; `data` is None if the image itself will do."""

    content_type: str
    data: bytes | None


class Thumbnailer:
    """One worker process, one job at a time. Sizes in bytes, times in ms."""

    def __init__(
        self,
        *,
        memory: int = limits.THUMBNAIL_MEMORY_MAX,
        time_ms: int = limits.THUMBNAIL_MS_MAX,
        idle_ms: int = limits.THUMBNAIL_IDLE_MS,
        waiting_max: int = limits.THUMBNAILS_WAITING_MAX,
    ) -> None:
        self._memory = memory
        self._time_ms = time_ms
        self._idle_ms = idle_ms
        self._waiting_max = waiting_max
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The worker, if one runs."""
        return self._process.pid if self._process is not None else None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until the worker is ours, so that only one image is held in memory.

        `Unavailable(BUSY)` when too many wait already.
        """
        if self._waiting >= self._waiting_max:
            raise Unavailable(Unready.BUSY, 2000)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def make(self, data: bytes, wanted: Variant) -> Made:
        """A thumbnail, inside `turn`. `Refused`: TOO_LARGE, CANNOT_THUMBNAIL."""
        assert self._turn.locked()
        used = self._process is not None
        self._rest(None)
        try:
            try:
                head, body = await self._try(data, wanted)
            except _DEAD:
                if not used:
                    raise
                head, body = await self._try(data, wanted)  # it may have died before this image
        except TimeoutError:
            raise Refused(Reason.TOO_LARGE, "Content is too large to thumbnail") from None
        except _DEAD:
            raise _cannot() from None  # it died on this image
        finally:
            self._rest(self._idle_ms)
        if head.error == "too_large":
            raise Refused(Reason.TOO_LARGE, "Content is too large to thumbnail")
        if head.error:
            raise _cannot()
        return Made(head.type, None if head.as_is else body)

    async def _try(self, data: bytes, wanted: Variant) -> tuple[_Head, bytes]:
        """One job; a worker that has not answered it in full is not asked again."""
        done = False
        try:
            async with asyncio.timeout(self._time_ms / 1000):
                answer = await self._ask(data, wanted)
            done = True
            return answer
        finally:
            if not done:
                await self.stop()

    async def _ask(self, data: bytes, wanted: Variant) -> tuple[_Head, bytes]:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        job = {
            "size": len(data),
            "width": wanted.width,
            "height": wanted.height,
            "crop": wanted.crop,
            "animated": wanted.animated,
        }
        process.stdin.write(orjson.dumps(job) + b"\n")
        process.stdin.write(data)
        await process.stdin.drain()
        head = msgspec.json.decode(await process.stdout.readline(), type=_Head)
        if not 0 <= head.size <= _ANSWER_MAX:
            raise ValueError("an answer that no worker of ours gives")
        return head, await process.stdout.readexactly(head.size)

    async def _running(self) -> asyncio.subprocess.Process:
        """The worker, started if there is none (any more)."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "kerwen.media.thumbnail_worker",
                str(self._memory),
                str(-(-self._time_ms // 1000)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PYTHONPATH": _ROOT, "PATH": os.defpath},
            )
        return self._process

    def _rest(self, idle_ms: int | None) -> None:
        """Starts the time after which an idle worker is stopped; None: it works."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if idle_ms is not None and self._process is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(idle_ms / 1000, self._retire)

    def _retire(self) -> None:
        self._idle = None
        process, self._process = self._process, None
        if process is not None:
            self._ending = asyncio.get_running_loop().create_task(_kill(process))

    async def stop(self) -> None:
        """Kills the worker; the next job starts another."""
        process, self._process = self._process, None
        if process is not None:
            await _kill(process)

    async def close(self) -> None:
        """Ends for good."""
        self._rest(None)
        await self.stop()
        if self._ending is not None:
            await self._ending


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            pass
    await process.wait()


def _cannot() -> Refused:
    return Refused(Reason.CANNOT_THUMBNAIL, "Cannot generate thumbnails for the requested content")
