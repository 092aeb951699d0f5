"""Argon2id off the loop: few runs at once, a bounded queue behind them. A password that was proved
of late is known again without it (`kerwen/accounts/proven.py`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from kerwen.accounts.password import (
    SALT_BYTES,
    Argon2,
    PasswordKeys,
    StoredPassword,
    proves,
    stored,
    stretch,
)
from kerwen.accounts.proven import Proven
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Unavailable, Unready

T = TypeVar("T")


class Stretcher:
    """Turns passwords into keys. `cost` is for new passwords; old ones keep their own."""

    def __init__(
        self,
        cost: Argon2 | None = None,
        at_once: int = limits.ARGON2_AT_ONCE,
        queue_max: int = limits.ARGON2_QUEUE_MAX,
        clock: Clock = now_ms,
    ) -> None:
        self.cost = cost or Argon2()
        self._pool = ThreadPoolExecutor(at_once, "kerwen-argon2")
        self._most = at_once + queue_max
        self._running = 0
        self._clock = clock
        self._proven = Proven()
        self._sweep: asyncio.TimerHandle | None = None
        self._nobody = StoredPassword(
            secrets.token_bytes(SALT_BYTES), self.cost, secrets.token_bytes(32)
        )

    async def fresh(self, password: str) -> tuple[PasswordKeys, StoredPassword]:
        """The keys of a new password, and what to keep of it."""
        salt = secrets.token_bytes(SALT_BYTES)
        keys = await self._run(password, salt, self.cost)
        return keys, stored(keys, salt, self.cost)

    async def check(self, password: str, kept: StoredPassword | None) -> PasswordKeys | None:
        """The keys of the right password, else None.

        It costs the same where there is no such account (`kept` is None): an answer's time
        tells nobody which names exist.
        """
        against = kept or self._nobody
        if len(password) > limits.PASSWORD_MAX:
            password = ""
        known = self._proven.find(password, against, self._clock())
        keys = known or await self._run(password, against.salt, against.cost)
        if kept is None or not proves(keys, kept):
            return None
        if known is None:
            self._remember(password, kept, keys)
        return keys

    def _remember(self, password: str, kept: StoredPassword, keys: PasswordKeys) -> None:
        self._proven.keep(password, kept, keys, self._clock())
        if self._sweep is None:
            self._swept()

    def _swept(self) -> None:
        """Overwrites what is too old, and comes again when the next will be."""
        left = self._proven.sweep(self._clock())
        loop = asyncio.get_running_loop()
        self._sweep = None if left is None else loop.call_later(left / 1000 + 1, self._swept)

    async def _run(self, password: str, salt: bytes, cost: Argon2) -> PasswordKeys:
        return await self.slowly(partial(stretch, password, salt, cost))

    async def slowly(self, deed: Callable[[], T]) -> T:
        """Runs another slow hash in the same queue. `Unavailable(BUSY)` where that is full."""
        if self._running >= self._most:
            raise Unavailable(Unready.BUSY, 2000)
        self._running += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, deed)
        work.add_done_callback(self._ended)
        return await work

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._running -= 1

    def close(self) -> None:
        """Ends the threads; forgets what was proved."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._proven.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
