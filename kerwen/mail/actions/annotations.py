"""Annotations of an account and its mailboxes: what programs note down for themselves."""

# RFC 5464 (IMAP METADATA)

from __future__ import annotations

import logging
from typing import Final

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import ensure, name_of, unknown
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import EpochKeys, hand
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.store import mailboxes as store
from kerwen.storage.database import Database, Kind, Snap, retrying
from kerwen.vault.seal import Belonging

log = logging.getLogger(__name__)

_ACCOUNT: Final = 0  # stands for no mailbox
_KIND: Final = "mail annotation"


class Annotations:
    """Reads and writes them. The mailbox '' is the account itself. Values are sealed, each for its
    place; the names of entries are in clear.
    """

    def __init__(
        self, db: Database, records: Records, keys: EpochKeys, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._records = records
        self._keys = keys
        self._clock = clock

    async def read(self, unlocked: Unlocked, mailbox: str) -> dict[str, bytes]:
        """All of a mailbox by their entries; one that does not open is not there. Says
        `UNKNOWN_MAILBOX`."""
        found: dict[str, bytes] = {}
        async with self._db.read() as snap:
            mailbox_no = await self._number(snap, unlocked.account_no, mailbox)
            for one in await store.metadata(snap, unlocked.account_no, mailbox_no):
                value = one.value
                if one.sealed:
                    place = _place(mailbox_no, one.entry)
                    try:
                        value = await self._records.open(snap, unlocked, place, _KIND, value)
                    except Refused as refusal:
                        log.warning("an annotation is damaged", extra=refusal.private)
                        continue
                found[one.entry] = value
        return found

    async def write(self, account_no: int, mailbox: str, values: dict[str, bytes | None]) -> None:
        """Sets some, or removes them (None). `Refused`: UNKNOWN_MAILBOX, TOO_LARGE, and
        LIMIT_EXCEEDED where an account would have too many."""
        for value in values.values():
            if value is not None and len(value) > limits.IMAP_METADATA_MAX:
                raise Refused(
                    Reason.TOO_LARGE, f"A value may have {limits.IMAP_METADATA_MAX} bytes"
                )
        async with self._db.read() as snap:
            mailbox_no = await self._number(snap, account_no, mailbox)
        sealed: dict[str, bytes | None] = {}
        with hand(await self._keys.of(account_no), len(values)) as epoch:
            for entry, value in values.items():
                belonging = Belonging(account_no, _place(mailbox_no, entry), _KIND)
                sealed[entry] = None if value is None else epoch.seal(belonging, value)
        await retrying(lambda: self._write(account_no, mailbox, mailbox_no, sealed))

    async def _write(
        self, account_no: int, mailbox: str, expected: int, values: dict[str, bytes | None]
    ) -> None:
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, self._clock() // 1000)
            mailbox_no = await self._number(tx, account_no, mailbox)
            if mailbox_no != expected:
                raise unknown()  # another one has its name since
            known = {one.entry for one in await store.metadata(tx, account_no, mailbox_no)}
            after = {name for name, value in values.items() if value is not None} | known
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


def _place(mailbox_no: int, entry: str) -> str:
    return f"{mailbox_no}{entry}"  # an entry begins with a slash
