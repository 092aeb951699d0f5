"""Masked addresses: their owner makes them for one shop or list each, and shuts them one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.mail import masked
from kerwen.mail.store import masks as store
from kerwen.mail.store.masks import Mask
from kerwen.storage.database import Database, retrying

MASKS_MAX: Final = 500  # of one account
_TRIES: Final = 4


class Masks:
    """`draw` gives random bytes."""

    def __init__(self, db: Database, draw: Callable[[int], bytes], clock: Clock) -> None:
        self._db = db
        self._draw = draw
        self._clock = clock

    async def listing(self, account_no: int) -> list[Mask]:
        """An account's."""
        async with self._db.read(single=True) as snap:
            return await store.of(snap, account_no)

    async def make(self, account_no: int, word: str) -> Mask:
        """A new one, which takes mail at once. `Refused`: INVALID_PARAM (the word),
        LIMIT_EXCEEDED."""
        if not masked.is_word(word):
            raise Refused(Reason.INVALID_PARAM, "The word has 1 to 24 small letters and digits")
        return await retrying(lambda: self._make(account_no, word))

    async def _make(self, account_no: int, word: str) -> Mask:
        now = self._clock()
        async with self._db.write() as tx:
            if await store.count(tx, account_no) >= MASKS_MAX:
                raise Refused(Reason.LIMIT_EXCEEDED, f"At most {MASKS_MAX} masked addresses")
            for _ in range(_TRIES):
                local = masked.made(word, self._draw)
                if await store.add(tx, account_no, local, now):
                    return Mask(local, now, True)
        raise AssertionError("random bytes repeat themselves")

    async def enable(self, account_no: int, local: str, enabled: bool) -> None:
        """Mail to it is taken again, or refused. Says `NOT_FOUND`."""

        async def write() -> bool:
            async with self._db.write() as tx:
                return await store.enable(tx, account_no, local.lower(), enabled)

        if not await retrying(write):
            raise _unknown()

    async def drop(self, account_no: int, local: str) -> None:
        """Gone for ever: nobody is given it again by chance. Says `NOT_FOUND`."""

        async def write() -> bool:
            async with self._db.write() as tx:
                return await store.drop(tx, account_no, local.lower())

        if not await retrying(write):
            raise _unknown()


def _unknown() -> Refused:
    return Refused(Reason.NOT_FOUND, "There is no such masked address")
