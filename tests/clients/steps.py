"""Steps of a story: each has a name, a time limit in seconds, and prints one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.03


class Story:
    """Numbers the steps of one story and prints how each of them went."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0

    @asynccontextmanager
    async def step(self, title: str, limit: float = 10) -> AsyncIterator[None]:
        """Run the block within `limit` seconds; raises TimeoutError when it takes longer."""
        number, begun = self.done + 1, time.monotonic()
        try:
            async with asyncio.timeout(limit):
                yield
        except BaseException as error:
            cause = error.__cause__ or ""
            self._line(number, "FAILED", begun, f"{title}: {type(error).__name__} {error} {cause}")
            raise
        self.done = number
        self._line(number, "ok", begun, title)

    def _line(self, number: int, outcome: str, begun: float, text: str) -> None:
        spent = time.monotonic() - begun
        print(f"{self.name} {number:02d} {outcome:6} {spent:6.2f}s  {text}", flush=True)


async def until(question: Callable[[], T | None], what: str) -> T:
    """Ask until the answer is true, and return it. The step's limit ends it, and tells `what`."""
    try:
        while not (answer := question()):  # noqa: ASYNC110 the libraries tell no event for it
            await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError as error:
        raise asyncio.CancelledError(f"still waiting for {what}") from error
    return answer
