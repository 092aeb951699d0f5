"""Takes mail over from elsewhere: what is marked as taken is not taken twice.

A mark and the messages that it stands for are written in one transaction, so an import that was
killed at any moment is simply begun again. The owner's vault need not be open: it is sealed as
mail that arrives is.
"""

# docs/import.md

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail import flags as flag_names
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Append, Item
from kerwen.mail.actions.mailboxes import INBOX, Mailboxes, name_of
from kerwen.mail.mbox import Found
from kerwen.mail.store import imports
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database, Tx

Also = Callable[[Tx], Awaitable[None]]
_AT_ONCE: Final = 200
_AT_ONCE_BYTES: Final = 4 << 20
_TURN: Final = 16  # messages that are rendered before others have their turn
_KEYWORDS_MAX: Final = 16


class Taken(msgspec.Struct):
    """What became of the messages so far."""

    taken: int = 0
    known: int = 0  # here already
    left_out: int = 0  # too long, or broken
    bytes: int = 0


class Place(msgspec.Struct, frozen=True):
    """A folder of another server, as it is marked: `tag` of the server, name and folder."""

    tag: int
    validity: int


class ImportMail:
    """The one way by which mail of elsewhere comes in."""

    def __init__(
        self, db: Database, tags: Tags, append: Append, mailboxes: Mailboxes, clock: Clock = now_ms
    ) -> None:
        self._db = db
        self._tags = tags
        self._append = append
        self._mailboxes = mailboxes
        self._clock = clock
        self._targets: dict[tuple[int, str], str] = {}

    async def files(
        self, account_no: int, batches: AsyncIterator[list[Found]], taken: Taken
    ) -> None:
        """Takes messages of files, in the order in which they lie there. `Refused(OVER_QUOTA)`."""
        seen: Counter[int] = Counter()  # the same message may lie in a folder twice, and stays so
        async for batch in batches:
            for some in _parts(batch):
                await self._files(account_no, some, seen, taken)

    async def _files(
        self, account_no: int, some: list[Found], seen: Counter[int], taken: Taken
    ) -> None:
        tags = []
        for found in some:
            base = self._content(account_no, found)
            seen[base] += 1
            nth = seen[base]
            again = b"%d %d" % (base, nth)
            tags.append(base if nth == 1 else self._tags.tag(account_no, b"import", again))
        async with self._db.read() as snap:
            known = await imports.known(snap, account_no, tags)
        news = [(f, tag) for f, tag in zip(some, tags, strict=True) if tag not in known]
        taken.known += len(some) - len(news)
        by_folder: dict[str, list[tuple[Found, int]]] = {}
        for found, tag in news:
            by_folder.setdefault(found.folder, []).append((found, tag))
        for folder, pairs in by_folder.items():
            marks = [tag for _, tag in pairs]

            async def also(tx: Tx, marks: Sequence[int] = marks) -> None:
                await imports.mark(tx, account_no, marks, self._clock())

            await self._put(account_no, folder, [found for found, _ in pairs], also, taken)

    async def begun(self, account_no: int, place: Place) -> int:
        """The last UID of a folder that is here. `Refused(CONFLICT)`: the folder is another one
        now, so nobody can tell what of it is here."""
        async with self._db.read() as snap:
            validity, uid = await imports.place(snap, account_no, place.tag)
        if uid and validity != place.validity:
            raise Refused(Reason.CONFLICT, "It was numbered anew at the other server")
        return uid

    def place(self, account_no: int, server: str, user: str, folder: bytes, validity: int) -> Place:
        """How a folder of another server is marked."""
        name = b"\0".join((b"imap", server.lower().encode(), user.encode(), folder))
        return Place(self._tags.tag(account_no, b"import", name), validity)

    async def folder(
        self,
        account_no: int,
        place: Place,
        some: list[Found],
        last_uid: int,
        taken: Taken,
        *,
        once: bool,
        mark: bool,
    ) -> None:
        """Takes some messages of a folder; it was read up to `last_uid` then. `mark`: their
        contents are remembered, `once`: those that are remembered are passed over."""
        tags = [self._content(account_no, found, whole=True) for found in some] if mark else []
        if once:
            async with self._db.read() as snap:
                known = await imports.known(snap, account_no, tags)
            left = [(f, t) for f, t in zip(some, tags, strict=True) if t not in known]
            taken.known += len(some) - len(left)
            some, tags = [f for f, _ in left], [t for _, t in left]

        async def also(tx: Tx) -> None:
            now = self._clock()
            await imports.move(tx, account_no, place.tag, place.validity, last_uid, now)
            await imports.mark(tx, account_no, tags, now)

        if some:
            await self._put(account_no, some[0].folder, some, also, taken)
        else:
            async with self._db.write() as tx:
                await also(tx)

    def _content(self, account_no: int, found: Found, *, whole: bool = False) -> int:
        """The tag of a message: its content, and (but for `whole`) the folder that it goes to."""
        digest = hashlib.sha256(found.raw).digest()
        where = b"" if whole else found.folder.encode("utf-8", "replace") + b"\0"
        return self._tags.tag(account_no, b"imported", where + digest)

    async def _put(
        self, account_no: int, folder: str, some: list[Found], also: Also, taken: Taken
    ) -> None:
        name = await self._target(account_no, folder)
        items = []
        for at, found in enumerate(some):
            if at % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            try:
                made = await sealing.made(found.raw)
            except Refused:
                taken.left_out += 1
                continue
            keywords = _good(found.keywords)
            items.append(Item(made, found.flags, keywords, found.date_s))
        if not items:
            async with self._db.write() as tx:
                await also(tx)
        else:
            try:
                await self._append.run(account_no, name, items, also=also)
            except Refused as error:
                if error.reason is not Reason.BAD_FLAG:
                    raise
                items = [msgspec.structs.replace(one, keywords=()) for one in items]
                await self._append.run(account_no, name, items, also=also)
        taken.taken += len(items)
        taken.bytes += sum(item.made.size for item in items)

    async def _target(self, account_no: int, folder: str) -> str:
        """The mailbox of a folder, made where it is missing."""
        if not folder:
            return INBOX
        kept = self._targets.get((account_no, folder))
        if kept is not None:
            return kept
        if folder.startswith("\\"):
            async with self._db.read() as snap:
                special = await boxes.special(snap, account_no, folder[1:])
            if special is not None:
                return special.name
            folder = folder[1:].capitalize()
        try:
            name = name_of(folder)
        except Refused:
            name = name_of("Imported")
        try:
            await self._mailboxes.create(account_no, name)
            await self._mailboxes.subscribe(account_no, name)
        except Refused as error:
            if error.reason is Reason.TOO_MANY_MAILBOXES:
                name = INBOX
            elif error.reason is not Reason.MAILBOX_IN_USE:
                raise
        if len(self._targets) > 10_000:
            self._targets.clear()
        return name


def _good(keywords: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for name in keywords[:_KEYWORDS_MAX]:
        try:
            found.append(flag_names.keyword(name))
        except Refused:
            continue
    return tuple(found)


def _parts(batch: list[Found]) -> list[list[Found]]:
    """Messages that are written together."""
    parts: list[list[Found]] = [[]]
    size = 0
    for found in batch:
        if parts[-1] and (len(parts[-1]) >= _AT_ONCE or size > _AT_ONCE_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(found)
        size += len(found.raw)
    return parts if parts[0] else []
