"""Lets go of messages that lie in fewer mailboxes than before; those that lie in none are removed,
their bodies' blobs after commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kerwen.mail.store import messages
from kerwen.mail.store.mailboxes import Account
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Tx


class Release:
    """Counts the copies of messages down and up."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def copies(self, tx: Tx, account: Account, nos: Iterable[int]) -> list[str]:
        """Each of these left a mailbox; returns the blobs to `remove` after commit."""
        less = Counter(nos)
        blobs: list[str] = []
        used: Counter[str] = Counter()
        loose = await messages.copies(tx, account.account_no, list(less))
        if loose:
            ended = [no for no, (copies, _) in loose.items() if copies <= less[no]]
            staying = {no: c - less[no] for no, (c, _) in loose.items() if c > less[no]}
            if ended:
                await messages.drop_loose(tx, ended)
                account.loose -= len(ended)
                used.update(blob for no in ended if (blob := loose[no][1]))
            if staying:
                await messages.set_copies(tx, staying)
        left = set(less).difference(loose)
        if left:
            await self._in_pages(tx, account.account_no, left, less, used)
        for blob, count in used.items():
            if await messages.use_less(tx, blob, count):
                blobs.append(blob)
        if blobs:
            await messages.drop_blobs(tx, blobs)
        return blobs

    async def _in_pages(
        self, tx: Tx, account_no: int, left: set[int], less: Counter[int], used: Counter[str]
    ) -> None:
        gone: list[int] = []
        for page in await messages.pages_locked(tx, account_no, min(left), max(left)):
            copies = page.copies
            here = [
                (slot, no) for slot, no in enumerate(page.places.nos) if no in left and copies[slot]
            ]
            if not here:
                continue
            ended = []
            for slot, no in here:
                stay = copies[slot] - less[no]
                copies[slot] = stay if stay > 0 else 0
                if stay <= 0:
                    ended.append(slot)
            page.live -= len(ended)
            used.update(page.places.blobs_of(ended))
            if page.live:
                await messages.set_page(tx, page)
            else:
                gone.append(page.page_no)
        if gone:
            await messages.drop_pages(tx, gone)

    async def add_copies(self, tx: Tx, account_no: int, nos: Iterable[int]) -> None:
        """Each of these lies in one more mailbox."""
        more = Counter(nos)
        loose = await messages.copies(tx, account_no, list(more))
        if loose:
            await messages.set_copies(
                tx, {no: copies + more[no] for no, (copies, _) in loose.items()}
            )
        left = set(more).difference(loose)
        if not left:
            return
        for page in await messages.pages_locked(tx, account_no, min(left), max(left)):
            here = left.intersection(page.places.nos)
            for no in here:
                slot = page.places.slot(no)
                if slot is not None and page.copies[slot]:
                    page.copies[slot] += more[no]
            if here:
                await messages.set_page(tx, page)

    async def remove(self, blobs: Sequence[str]) -> None:
        """Removes blobs that no row names any more. A crash before leaves them to the sweep."""
        if blobs:
            await self._blobs.delete(blobs)
