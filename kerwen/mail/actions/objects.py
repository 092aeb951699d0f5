"""Keeps small things of an account for JMAP: identities, and what other capabilities bring. Each is
JSON, sealed; only their owner's open vault reads them.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec
import orjson

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import ensure
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sealing import EpochKeys, hand
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import objects as store
from kerwen.mail.store.objects import Kept
from kerwen.storage.database import Database, Kind, Snap, retrying
from kerwen.vault.seal import Belonging

log = logging.getLogger(__name__)
_KIND: Final = "mail object"


class Listed(msgspec.Struct, frozen=True):
    """All things of a kind by number. `head`: the MODSEQ of the newest change."""

    head: int
    things: dict[int, dict[str, Any]]


class Change(msgspec.Struct, frozen=True):
    """A thing that is set (`value`), or removed (None). `no` 0: a new one."""

    no: int
    value: dict[str, Any] | None


class Objects:
    """Reads and writes them."""

    def __init__(
        self, db: Database, records: Records, keys: EpochKeys, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._records = records
        self._keys = keys
        self._clock = clock

    async def all_of(self, unlocked: Unlocked, kind: str) -> Listed:
        """Those that are there; what does not open is left out."""
        found: dict[int, dict[str, Any]] = {}
        async with self._db.read() as snap:
            head = await store.head(snap, unlocked.account_no, kind)
            for one in await store.all_of(snap, unlocked.account_no, kind):
                value = await self._opened(snap, unlocked, kind, one)
                if value is not None:
                    found[one.object_no] = value
        return Listed(head, found)

    async def _opened(
        self, snap: Snap, unlocked: Unlocked, kind: str, one: Kept
    ) -> dict[str, Any] | None:
        try:
            place = _place(kind, one.object_no)
            plain = await self._records.open(snap, unlocked, place, _KIND, one.box or b"")
            value: dict[str, Any] = orjson.loads(plain)
        except Refused as refusal:
            log.warning("an object is damaged", extra=refusal.private)
            return None
        return value

    async def changes(
        self, account_no: int, kind: str, since: int
    ) -> tuple[int, list[Kept]] | None:
        """The newest MODSEQ, and what changed after one; None: it is not known."""
        async with self._db.read() as snap:
            head = await store.head(snap, account_no, kind)
            if since > head:  # of a server that was lost
                return None
            return head, await store.since(snap, account_no, kind, since)

    async def write(
        self, account_no: int, kind: str, changes: list[Change], most: int
    ) -> list[int]:
        """Makes changes; the numbers of the things. `Refused`: OVER_QUOTA where there would be
        more than `most`, NOT_FOUND."""
        first = await self._db.take_id("mail_object", len(changes))
        nos = [one.no or first + at for at, one in enumerate(changes)]
        sealed: list[bytes | None] = []
        with hand(await self._keys.of(account_no), len(changes)) as epoch:
            for no, one in zip(nos, changes, strict=True):
                belonging = Belonging(account_no, _place(kind, no), _KIND)
                plain = None if one.value is None else orjson.dumps(one.value)
                sealed.append(None if plain is None else epoch.seal(belonging, plain))

        async def write() -> None:
            await self._write(account_no, kind, changes, nos, sealed, most)

        await retrying(write)
        return nos

    async def _write(
        self,
        account_no: int,
        kind: str,
        changes: list[Change],
        nos: list[int],
        sealed: list[bytes | None],
        most: int,
    ) -> None:
        now_s = self._clock() // 1000
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, now_s)
            there = {one.object_no: one for one in await store.all_of(tx, account_no, kind)}
            modseq = account.next_modseq()
            for no, one, box in zip(nos, changes, sealed, strict=True):
                old = there.get(no)
                if one.no and old is None:
                    raise Refused(Reason.NOT_FOUND, "There is no such thing")
                created = old.created if old is not None else modseq
                kept = Kept(no, created, modseq, now_s if box is None else 0, box)
                await store.put(tx, account_no, kind, kept)
                if box is None:
                    del there[no]
                else:
                    there[no] = kept
            if len(there) > most:
                raise Refused(Reason.OVER_QUOTA, f"At most {most} of these")
            await boxes.save(tx, account)
            tx.change(Kind.MAIL, account_no, modseq)


def _place(kind: str, no: int) -> str:
    return f"{kind} {no}"
