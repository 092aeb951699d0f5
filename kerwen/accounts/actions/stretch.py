"""Argon2id off the loop: few runs at once, a bounded queue behind them."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from kerwen.accounts.password import (
    SALT_BYTES,
    Argon2,
    PasswordKeys,
    StoredPassword,
    proves,
    stored,
    stretch,
)
from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready


class Stretcher:
    """Turns passwords into keys. `cost` is for new passwords; old ones keep their own."""

    def __init__(
        self,
        cost: Argon2 | None = None,
        at_once: int = limits.ARGON2_AT_ONCE,
        queue_max: int = limits.ARGON2_QUEUE_MAX,
    ) -> None:
        self.cost = cost or Argon2()
        self._pool = ThreadPoolExecutor(at_once, "kerwen-argon2")
        self._most = at_once + queue_max
        self._running = 0
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
        keys = await self._run(password, against.salt, against.cost)
        return keys if proves(keys, against) and kept is not None else None

    async def _run(self, password: str, salt: bytes, cost: Argon2) -> PasswordKeys:
        if self._running >= self._most:
            raise Unavailable(Unready.BUSY, 2000)
        self._running += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, stretch, password, salt, cost)
        work.add_done_callback(self._ended)
        return await work

    def _ended(self, work: asyncio.Future[PasswordKeys]) -> None:
        self._running -= 1

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
