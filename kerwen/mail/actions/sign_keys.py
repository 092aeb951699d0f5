"""The keys that sign what leaves: made at the first start, changed by the operator.

Two steps, since the world must be able to look a key up before it is used: `prepare` makes a pair
whose records `kerwen dns` prints; `rotate` lets it sign. The old pair stays until it is dropped.
"""

# RFC 6376 §3.1, §3.6.1

from __future__ import annotations

import asyncio
import datetime

import msgspec

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.dkim_keys import SigningKey
from kerwen.mail.store.dkim_files import DkimFiles, Pair


class ListedPair(msgspec.Struct, frozen=True):
    """A pair as the command line shows it."""

    name: str
    standing: str  # `signs`, `prepared`, `old`


class SignKeys:
    """Reads, makes and changes the pairs of `files`."""

    def __init__(self, files: DkimFiles, clock: Clock = now_ms) -> None:
        self._files = files
        self._clock = clock
        self._making = asyncio.Lock()

    async def signing(self) -> tuple[SigningKey, ...]:
        """The keys that sign now; the first time it makes them."""
        found = self._files.signing
        if found:
            return found
        async with self._making:
            await asyncio.to_thread(self._files.begin, self._day())
        return self._files.signing

    async def begin(self) -> None:
        """A worker's deed at the start: what `kerwen dns` prints is there from then on."""
        await self.signing()

    async def prepare(self) -> Pair:
        """Makes a pair that does not sign yet. `Refused(LIMIT_EXCEEDED)`."""
        await self.signing()
        async with self._making:
            return await asyncio.to_thread(self._files.make, self._day())

    async def rotate(self) -> str:
        """Lets the newest prepared pair sign. `Refused(NOT_FOUND)` where none was prepared."""
        async with self._making:
            newest = self._newest()
            if newest == self._files.in_use:
                raise Refused(Reason.NOT_FOUND, "Prepare a pair first")
            await asyncio.to_thread(self._files.use, newest)
            return newest

    async def drop(self, name: str) -> None:
        """Removes a pair that does not sign. `Refused`: NOT_FOUND, CONFLICT."""
        async with self._making:
            await asyncio.to_thread(self._files.drop, name)

    def listing(self) -> list[ListedPair]:
        """Every pair, from the oldest to the newest."""
        names = sorted(self._files.pairs)
        used = names.index(self._files.in_use) if self._files.in_use in names else len(names)
        standing = ["old"] * used + ["signs"] + ["prepared"] * len(names)
        return [ListedPair(name, standing[at]) for at, name in enumerate(names)]

    def _newest(self) -> str:
        return max(self._files.pairs, default="")

    def _day(self) -> str:
        moment = datetime.datetime.fromtimestamp(self._clock() / 1000, datetime.UTC)
        return moment.strftime("k%Y%m%d")
