"""What the parts of an import share: the file under way, numbers by name, what was counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from kerwen.commands.synapse.source import Source
from kerwen.rooms.store import users
from kerwen.storage.bulk import BulkFile, BulkTx

T = TypeVar("T")
_TELL_EVERY_S = 2.0


class Ledger:
    """Numbers of users, devices and rooms by their ids; they fit into memory, events do not."""

    def __init__(
        self, bulk: BulkFile, source: Source, domain: str, now_ms: int, tell: Callable[[str], None]
    ) -> None:
        self.bulk = bulk
        self.tx: BulkTx = bulk.tx
        self.source = source
        self.domain = domain
        self.now_ms = now_ms
        self.tell = tell
        self.accounts: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.devices: dict[tuple[str, str], int] = {}
        self.rooms: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.end = 1  # above every position that was used so far

    def take(self, name: str) -> int:
        """A fresh number of a series."""
        return self.bulk.take(name)

    async def user(self, user_id: str) -> int:
        """The number of any user, met for the first time or not."""
        found = self.users.get(user_id)
        if found is None:
            found = self.users[user_id] = await users.add_user(self.tx, user_id, self.take("user"))
        return found

    def mine(self, localpart_or_id: str) -> str:
        """A user id; some of Synapse's tables hold only its local part."""
        if localpart_or_id.startswith("@"):
            return localpart_or_id
        return f"@{localpart_or_id}:{self.domain}"

    def counted(self, what: str, rows: Iterable[T]) -> Iterator[T]:
        """The rows, counted as they pass, with a word about it every few seconds."""
        begun = told = time.monotonic()
        count = 0
        for row in rows:
            yield row
            count += 1
            if not count & 0xFF and (now := time.monotonic()) - told > _TELL_EVERY_S:
                told = now
                self.tell(f"{what}: {count:,} ({count / (now - begun):,.0f}/s)")
        self.done[what] += count
