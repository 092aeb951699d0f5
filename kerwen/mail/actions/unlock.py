"""Opens vaults for mail sessions. Sessions of one account share an open vault; when the last one
ends, the keys are overwritten and what was read is dropped.
"""

# design.md §5

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from types import TracebackType
from typing import Any, Final

from kerwen.storage.database import Database
from kerwen.vault.store import OpenVault, Vaults

KEPT_BYTES_MAX: Final = 48 * 1024 * 1024  # of opened pages, all accounts together


class Unlocked:
    """An open vault, and the pages that were read with it. Used through a `Lease`."""

    __slots__ = ("_all", "account_no", "holders", "kept", "mark", "ranges", "used_s", "vault")

    def __init__(self, vault: OpenVault, everybody: Kept) -> None:
        self.vault = vault
        self.account_no = vault.account_no
        self.mark = (vault.account_no, tuple(vault.generations))
        self.holders = 0
        self.used_s = monotonic()  # a session of its owner last had something to do
        self.kept: OrderedDict[tuple[int, str], tuple[Any, int]] = OrderedDict()
        # (first, last, page) of the pages whose places are kept, sorted
        self.ranges: list[tuple[int, int, int]] = []
        self._all = everybody

    def page(self, page_no: int, kind: str) -> Any:
        """What was read of a page; None if nothing is kept."""
        found = self.kept.get((page_no, kind))
        if found is None:
            return None
        self.kept.move_to_end((page_no, kind))
        return found[0]

    def keep(self, page_no: int, kind: str, content: Any, size: int) -> None:
        """Keeps what was read of a page, as long as there is room."""
        old = self.kept.pop((page_no, kind), None)
        self._all.bytes += size - (old[1] if old is not None else 0)
        self.kept[page_no, kind] = (content, size)
        self._all.make_room(self)

    def drop(self, page_no: int) -> None:
        """A page was made anew."""
        for key in [key for key in self.kept if key[0] == page_no]:
            self._all.bytes -= self.kept.pop(key)[1]

    def close(self) -> None:
        """Overwrites the keys."""
        self._all.bytes -= sum(size for _, size in self.kept.values())
        self.kept.clear()
        self.ranges.clear()
        self.vault.close()


class Kept:
    """How much is kept of all accounts; whoever reads most gives most up."""

    __slots__ = ("bytes", "most", "open")

    def __init__(self, most: int) -> None:
        self.bytes = 0
        self.most = most
        self.open: dict[tuple[int, tuple[int, ...]], Unlocked] = {}

    def make_room(self, reader: Unlocked) -> None:
        """Drops what was read longest ago: the reader's own, then others'."""
        while self.bytes > self.most:
            of = reader if len(reader.kept) > 1 else max(self.open.values(), key=_count)
            if not of.kept:
                return
            self.bytes -= of.kept.popitem(last=False)[1][1]


def _count(one: Unlocked) -> int:
    return len(one.kept)


class Lease:
    """A session's share in an open vault: close it, or use it in a `with` block."""

    __slots__ = ("_owner", "_unlocked")

    def __init__(self, owner: OpenVaults, unlocked: Unlocked) -> None:
        self._owner = owner
        self._unlocked: Unlocked | None = unlocked
        unlocked.holders += 1

    @property
    def unlocked(self) -> Unlocked:
        """The open vault."""
        assert self._unlocked is not None, "the lease is closed"
        return self._unlocked

    def share(self) -> Lease:
        """Another share, for work that goes on behind the session."""
        return Lease(self._owner, self.unlocked)

    def close(self) -> None:
        """Gives the share back; the last one closes the vault."""
        held, self._unlocked = self._unlocked, None
        if held is not None:
            self._owner.give_back(held)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class OpenVaults:
    """The vaults that are open just now."""

    def __init__(self, db: Database, vaults: Vaults, most: int = KEPT_BYTES_MAX) -> None:
        self._db = db
        self._vaults = vaults
        self._kept = Kept(most)
        self._newest: dict[int, Unlocked] = {}  # of each account

    def __len__(self) -> int:
        return len(self._kept.open)

    async def open(self, account_no: int, kind: str, ref: str, key: bytes) -> Lease:
        """Opens an account's vault by a secret's slot. Says `VAULT_CLOSED`."""
        async with self._db.read() as snap:
            return self.adopt(await self._vaults.unlock(snap, account_no, kind, ref, key))

    def adopt(self, vault: OpenVault) -> Lease:
        """A lease of a vault that is open already; it belongs to us from now on."""
        mark = (vault.account_no, tuple(vault.generations))
        found = self._kept.open.get(mark)
        if found is None:
            found = self._kept.open[mark] = self._newest[mark[0]] = Unlocked(vault, self._kept)
        else:
            vault.close()
        return Lease(self, found)

    def share(self, unlocked: Unlocked) -> Lease:
        """A lease for work that goes on behind whoever holds this vault."""
        return Lease(self, unlocked)

    def give_back(self, unlocked: Unlocked) -> None:
        """A lease ended."""
        unlocked.holders -= 1
        if unlocked.holders <= 0:
            self._close(unlocked)

    def opened(self, account_no: int) -> Unlocked | None:
        """An account's vault, if somebody holds it open."""
        return self._newest.get(account_no)

    def _close(self, unlocked: Unlocked) -> None:
        if self._kept.open.get(unlocked.mark) is unlocked:
            del self._kept.open[unlocked.mark]
        if self._newest.get(unlocked.account_no) is unlocked:
            del self._newest[unlocked.account_no]
        unlocked.close()

    def forget(self, account_no: int) -> None:
        """Closes an account's vaults at once, whoever holds them: it is gone."""
        for mark, unlocked in list(self._kept.open.items()):
            if mark[0] == account_no:
                self._close(unlocked)

    def close(self) -> None:
        """Closes all: the server stops."""
        for unlocked in list(self._kept.open.values()):
            unlocked.close()
        self._kept.open.clear()
        self._newest.clear()
