"""Makes, names, lists and removes mailboxes. Names are text with `/` between levels."""

# RFC 9051 §5.1, §6.3.4-6.3.9; RFC 6154

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.release import Release
from kerwen.mail.store import mailboxes as store
from kerwen.mail.store import placed
from kerwen.mail.store.mailboxes import Account, Mailbox
from kerwen.mail.store.segment import Segment
from kerwen.storage.database import Database, Kind, Snap, Tx, retrying

INBOX: Final = "INBOX"
DEFAULTS: Final = (
    (INBOX, "inbox"),
    ("Sent", "sent"),
    ("Drafts", "drafts"),
    ("Junk", "junk"),
    ("Trash", "trash"),
    ("Archive", "archive"),
)
"""What every account has from the start, with its special use."""
SPECIAL: Final = frozenset({"sent", "drafts", "junk", "trash", "archive"})
"""Special uses that a mailbox can be made with; one mailbox each (CREATE-SPECIAL-USE)."""

_BAD: Final = re.compile(r"[\x00-\x1f\x7f%*]|//")


class Listed(msgspec.Struct, frozen=True, gc=False):
    """What a client is told of an account's mailboxes, all of one moment."""

    account: Account
    mailboxes: list[Mailbox]
    subscribed: set[str]


def name_of(text: str) -> str:
    """A mailbox's name in its one form; `Refused(BAD_MAILBOX_NAME)`.

    INBOX is one name in any case, also above others (RFC 9051 §5.1).
    """
    name = unicodedata.normalize("NFC", text.removesuffix("/"))
    first, slash, rest = name.partition("/")
    if first.upper() == INBOX:
        name = INBOX + slash + rest
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if (
        not 0 < size <= limits.MAILBOX_NAME_MAX
        or name.startswith("/")
        or _BAD.search(name)
        or name.count("/") >= limits.MAILBOX_DEPTH_MAX
    ):
        raise Refused(Reason.BAD_MAILBOX_NAME, "A mailbox cannot have this name")
    return name


async def ensure(tx: Tx, account_no: int, now_s: int) -> Account:
    """An account's mail, locked; made with its mailboxes if it is not there yet."""
    found = await store.lock(tx, account_no)
    if found is not None:
        return found
    added = await store.add(tx, account_no, now_s)
    found = await store.lock(tx, account_no)
    assert found is not None, "it was added just now"
    if added:
        for name, special in DEFAULTS:
            await store.add_mailbox(tx, new(found, name, special, now_s))
            await store.subscribe(tx, account_no, name)
        await store.save(tx, found)
    return found


def new(account: Account, name: str, special: str, now_s: int) -> Mailbox:
    """A new mailbox of a locked account, with a UIDVALIDITY that none had before."""
    mailbox_no = account.next_mailbox
    account.next_mailbox += 1
    account.uidvalidity = max(account.uidvalidity + 1, now_s)
    account.listed = account.modseq
    return Mailbox(
        account.account_no,
        mailbox_no,
        name,
        special,
        account.uidvalidity & 0xFFFFFFFF,
        1,
        account.modseq,
        account.modseq,
        account.modseq,
        0,
        0,
        0,
        0,
    )


def unknown() -> Refused:
    """There is no such mailbox."""
    return Refused(Reason.UNKNOWN_MAILBOX, "There is no such mailbox")


class Mailboxes:
    """All that concerns mailboxes and not the messages in them."""

    def __init__(self, db: Database, release: Release, clock: Clock = now_ms) -> None:
        self._db = db
        self._release = release
        self._clock = clock

    async def registered(self, tx: Tx, account_no: int, user_id: str) -> None:
        """The hook of registration: the mailboxes of a new account."""
        await ensure(tx, account_no, self._clock() // 1000)

    async def listing(self, account_no: int) -> Listed:
        """Every mailbox with its counts; the first time it makes them."""
        async with self._db.read() as snap:
            found = await self._listed(snap, account_no)
        if found is not None:
            return found

        async def make() -> None:
            async with self._db.write() as tx:
                await ensure(tx, account_no, self._clock() // 1000)

        await retrying(make)
        async with self._db.read() as snap:
            found = await self._listed(snap, account_no)
        assert found is not None, "it was made just now"
        return found

    async def _listed(self, snap: Snap, account_no: int) -> Listed | None:
        account = await store.account(snap, account_no)
        if account is None:
            return None
        subscribed = set(await store.subscriptions(snap, account_no))
        return Listed(account, await store.all_of(snap, account_no), subscribed)

    async def find(self, account_no: int, name: str) -> Mailbox:
        """A mailbox by its name: what STATUS and SELECT tell of it. Says `UNKNOWN_MAILBOX`."""
        name = name_of(name)
        async with self._db.read(single=True) as snap:
            found = await store.named(snap, account_no, name)
        if found is None and name == INBOX:
            await self.listing(account_no)
            async with self._db.read(single=True) as snap:
                found = await store.named(snap, account_no, name)
        if found is None:
            raise unknown()
        return found

    async def create(self, account_no: int, name: str, special: str = "") -> Mailbox:
        """Makes a mailbox, and those above it that are missing.

        `Refused`: MAILBOX_IN_USE, BAD_MAILBOX_NAME, TOO_MANY_MAILBOXES; INVALID_PARAM for a
        special use that we do not know or that another mailbox has.
        """
        name = name_of(name)
        if special and special not in SPECIAL:
            raise Refused(Reason.INVALID_PARAM, "There is no such special use")
        return await retrying(lambda: self._create(account_no, name, special))

    async def _create(self, account_no: int, name: str, special: str) -> Mailbox:
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, self._clock() // 1000)
            known = {one.name: one for one in await store.all_of(tx, account_no)}
            if name in known:
                raise Refused(Reason.MAILBOX_IN_USE, "There is a mailbox of this name")
            if special and any(one.special == special for one in known.values()):
                raise Refused(Reason.INVALID_PARAM, "Another mailbox has this special use")
            above = [upper for upper in _above(name) if upper not in known]
            if len(known) + len(above) >= limits.MAILBOXES_MAX:
                raise Refused(
                    Reason.TOO_MANY_MAILBOXES, f"At most {limits.MAILBOXES_MAX} mailboxes"
                )
            account.next_modseq()
            now_s = self._clock() // 1000
            for upper in above:
                await store.add_mailbox(tx, new(account, upper, "", now_s))
            made = new(account, name, special, now_s)
            await store.add_mailbox(tx, made)
            await self._save(tx, account)
            return made

    async def rename(self, account_no: int, old: str, name: str) -> None:
        """Gives a mailbox and those below it another name; what is subscribed to stays so.

        INBOX itself stays: its messages move to the new mailbox (RFC 9051 §6.3.6). `Refused`:
        UNKNOWN_MAILBOX, MAILBOX_IN_USE, BAD_MAILBOX_NAME, TOO_MANY_MAILBOXES.
        """
        old, name = name_of(old), name_of(name)
        if name == INBOX or name.startswith(old + "/"):
            raise Refused(Reason.BAD_MAILBOX_NAME, "A mailbox cannot have this name")
        await retrying(lambda: self._rename(account_no, old, name))

    async def _rename(self, account_no: int, old: str, name: str) -> None:
        async with self._db.write() as tx:
            account = await ensure(tx, account_no, self._clock() // 1000)
            known = {one.name: one for one in await store.all_of(tx, account_no)}
            source = known.get(old)
            if source is None:
                raise unknown()
            if name in known:
                raise Refused(Reason.MAILBOX_IN_USE, "There is a mailbox of this name")
            modseq = account.next_modseq()
            now_s = self._clock() // 1000
            above = [upper for upper in _above(name) if upper not in known]
            if len(known) + len(above) >= limits.MAILBOXES_MAX:
                raise Refused(
                    Reason.TOO_MANY_MAILBOXES, f"At most {limits.MAILBOXES_MAX} mailboxes"
                )
            for upper in above:
                await store.add_mailbox(tx, new(account, upper, "", now_s))
            if old == INBOX:
                target = new(account, name, "", now_s)
                await store.add_mailbox(tx, target)
                await self._empty_into(tx, source, target, modseq)
            else:
                await self._rename_all(tx, account, list(known.values()), old, name)
            await self._save(tx, account)

    async def _rename_all(
        self, tx: Tx, account: Account, known: Sequence[Mailbox], old: str, name: str
    ) -> None:
        subscribed = set(await store.subscriptions(tx, account.account_no))
        moved = [one for one in known if one.name == old or one.name.startswith(old + "/")]
        names = [name_of(name + one.name[len(old) :]) for one in moved]
        taken = {one.name for one in known}
        if not taken.isdisjoint(names):
            raise Refused(Reason.MAILBOX_IN_USE, "There is a mailbox of this name")
        for one, new_name in zip(moved, names, strict=True):
            if one.name in subscribed:
                await store.unsubscribe(tx, account.account_no, one.name)
                await store.subscribe(tx, account.account_no, new_name)
            one.name = new_name
            one.changed = account.modseq
            await store.name_mailbox(tx, one)
        account.listed = account.modseq

    async def _empty_into(self, tx: Tx, source: Mailbox, target: Mailbox, modseq: int) -> None:
        """Moves all messages of INBOX."""
        rows = await placed.all_of(tx, source.account_no, source.mailbox_no)
        every = Segment()
        for row in rows:
            every.extend(row.segment)
        if not len(every):
            return
        count = len(every)
        await placed.vanish(
            tx, source.account_no, source.mailbox_no, modseq, every, self._clock() // 1000
        )
        every.uids[:] = _numbered(1, count)
        every.modseqs[:] = _same(modseq, count)
        await placed.drop_all(tx, source.account_no, source.mailbox_no)
        await placed.add(tx, target.account_no, target.mailbox_no, every, modseq)
        for field in ("messages", "unseen", "deleted", "bytes"):
            setattr(target, field, getattr(source, field))
            setattr(source, field, 0)
        target.uidnext = count + 1
        source.modseq = target.modseq = modseq
        await store.save_mailboxes(tx, [source, target])

    async def delete(self, account_no: int, name: str) -> None:
        """Removes a mailbox with its messages; those below it stay.

        `Refused`: UNKNOWN_MAILBOX; FORBIDDEN for INBOX.
        """
        name = name_of(name)
        if name == INBOX:
            raise Refused(Reason.FORBIDDEN, "INBOX cannot be deleted")
        blobs = await retrying(lambda: self._delete(account_no, name))
        await self._release.remove(blobs)

    async def _delete(self, account_no: int, name: str) -> list[str]:
        async with self._db.write() as tx:
            account = await store.lock(tx, account_no)
            found = await store.named(tx, account_no, name) if account else None
            if account is None or found is None:
                raise unknown()
            modseq = account.next_modseq()
            rows = await placed.all_of(tx, account_no, found.mailbox_no)
            blobs: list[str] = []
            if rows:
                every = Segment()
                for row in rows:
                    every.extend(row.segment)
                nos = every.nos
                await placed.drop_all(tx, account_no, found.mailbox_no)
                now_s = self._clock() // 1000
                await placed.vanish(tx, account_no, found.mailbox_no, modseq, every, now_s)
                blobs = await self._release.copies(tx, account, nos)
                account.used -= found.bytes
                account.placed -= len(nos)
            for one in await store.all_of(tx, account_no):
                if one.name.startswith(found.name + "/"):  # nothing is above it any more
                    one.changed = modseq
                    await store.name_mailbox(tx, one)
            await store.drop_mailbox(tx, account_no, found.mailbox_no, modseq)
            account.listed = modseq
            await self._save(tx, account)
            return blobs

    async def set_special(self, account_no: int, name: str, special: str) -> None:
        """Gives a mailbox a special use, or takes it away (''). INBOX keeps its own."""
        name = name_of(name)
        if special and special not in SPECIAL:
            raise Refused(Reason.INVALID_PARAM, "There is no such special use")

        async def write() -> None:
            async with self._db.write() as tx:
                account = await ensure(tx, account_no, self._clock() // 1000)
                known = await store.all_of(tx, account_no)
                found = next((one for one in known if one.name == name), None)
                if found is None or name == INBOX:
                    raise unknown()
                if special and any(one.special == special for one in known if one is not found):
                    raise Refused(Reason.INVALID_PARAM, "Another mailbox has this special use")
                found.special = special
                found.changed = account.listed = account.next_modseq()
                await store.name_mailbox(tx, found)
                await self._save(tx, account)

        await retrying(write)

    async def set_order(self, account_no: int, mailbox_no: int, order: int) -> None:
        """Where clients show a mailbox (JMAP's sortOrder). Says `UNKNOWN_MAILBOX`."""

        async def write() -> None:
            async with self._db.write() as tx:
                account = await ensure(tx, account_no, self._clock() // 1000)
                found = await store.one(tx, account_no, mailbox_no)
                if found is None:
                    raise unknown()
                await store.set_order(tx, account_no, mailbox_no, order)
                found.changed = account.listed = account.next_modseq()
                await store.name_mailbox(tx, found)
                await self._save(tx, account)

        await retrying(write)

    async def subscribe(self, account_no: int, name: str, wanted: bool = True) -> None:
        """Subscribes to a name, or no longer; it need not be a mailbox's."""
        name = name_of(name)

        async def write() -> None:
            async with self._db.write() as tx:
                account = await ensure(tx, account_no, self._clock() // 1000)
                if wanted:
                    if len(await store.subscriptions(tx, account_no)) >= limits.MAILBOXES_MAX:
                        raise Refused(Reason.TOO_MANY_MAILBOXES, "Too many subscriptions")
                    await store.subscribe(tx, account_no, name)
                elif not await store.unsubscribe(tx, account_no, name):
                    return
                account.listed = account.next_modseq()
                found = await store.named(tx, account_no, name)
                if found is not None:
                    found.changed = account.modseq
                    await store.name_mailbox(tx, found)
                await self._save(tx, account)

        await retrying(write)

    async def _save(self, tx: Tx, account: Account) -> None:
        await store.save(tx, account)
        tx.change(Kind.MAIL, account.account_no, account.modseq)


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _numbered(first: int, count: int) -> array[int]:
    return array("I", range(first, first + count))


def _same(number: int, count: int) -> array[int]:
    return array("Q", [number]) * count
