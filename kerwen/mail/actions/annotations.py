"""Annotations of an account and its mailboxes: what programs note down for themselves."""

# RFC 5464 (IMAP METADATA)

from __future__ import annotations

from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import ensure, name_of, unknown
from kerwen.mail.store import mailboxes as store
from kerwen.storage.database import Database, Kind, Snap, retrying

_ACCOUNT: Final = 0  # stands for no mailbox


class Annotations:
    """Reads and writes them. The mailbox '' is the account itself."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def read(self, account_no: int, mailbox: str) -> dict[str, bytes]:
        """All of a mailbox by their entries. Says `UNKNOWN_MAILBOX`."""
        async with self._db.read() as snap:
            mailbox_no = await self._number(snap, account_no, mailbox)
            return await store.metadata(snap, account_no, mailbox_no)

    async def write(self, account_no: int, mailbox: str, values: dict[str, bytes | None]) -> None:
        """Sets some, or removes them (None). `Refused`: UNKNOWN_MAILBOX, TOO_LARGE, and
        LIMIT_EXCEEDED where an account would have too many."""
        for value in values.values():
            if value is not None and len(value) > limits.IMAP_METADATA_MAX:
                raise Refused(
                    Reason.TOO_LARGE, f"A value may have {limits.IMAP_METADATA_MAX} bytes"
                )
        await retrying(lambda: self._write(account_no, mailbox, values))

    async def _write(self, account_no: int, mailbox: str, values: dict[str, bytes | None]) -> None:
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, self._clock() // 1000)
            mailbox_no = await self._number(tx, account_no, mailbox)
            known = await store.metadata(tx, account_no, mailbox_no)
            after = {name for name, value in values.items() if value is not None} | known.keys()
            if len(after) > limits.IMAP_ANNOTATIONS_MAX:
                raise Refused(Reason.LIMIT_EXCEEDED, "Too many annotations")
            for entry, value in values.items():
                await store.set_metadata(tx, account_no, mailbox_no, entry, value)
            account.next_modseq()
            await store.save(tx, account)
            tx.change(Kind.MAIL, account_no, account.modseq)

    async def _number(self, snap: Snap, account_no: int, mailbox: str) -> int:
        if not mailbox:
            return _ACCOUNT
        found = await store.named(snap, account_no, name_of(mailbox))
        if found is None:
            raise unknown()
        return found.mailbox_no
