"""Keeps the Sieve scripts of accounts, and their vacations."""

# RFC 5804 §2; RFC 9661; RFC 8621 §8

from __future__ import annotations

import asyncio
import unicodedata
import zlib
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.mailboxes import ensure
from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.lexer import decoded
from kerwen.mail.sieve.vacation import Vacation
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import scripts as store
from kerwen.mail.store.scripts import Filters, Stored
from kerwen.storage.database import Database, Kind, Tx, retrying

_T = TypeVar("_T")
OFF_LOOP: Final = 8 * limits.KIB
_BAD_NAME: Final = frozenset({"Cc", "Zl", "Zp"})  # RFC 5804 §1.6


class Kept(msgspec.Struct, frozen=True):
    """All that an account has; `changes` rises with every change."""

    changes: int
    active: int
    scripts: list[Stored]
    vacation: Vacation


class Scripts:
    """What the doors of scripts call. Scripts that are no good are refused with `BadScript`."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def kept(self, account_no: int) -> Kept:
        """Everything, of one moment."""
        async with self._db.read() as snap:
            filters = await store.filters(snap, account_no) or Filters(account_no)
            scripts = await store.every(snap, account_no)
        return Kept(filters.changes, filters.active, scripts, vacation_of(filters))

    async def get(self, account_no: int, name: str) -> Stored:
        """A script. Says `NOT_FOUND`."""
        async with self._db.read(single=True) as snap:
            found = await store.named(snap, account_no, name)
        if found is None:
            raise unknown()
        return found

    async def version(self, account_no: int, script_no: int, version: int) -> bytes | None:
        """The text of a script, if its CRC-32 is still this one."""
        async with self._db.read() as snap:
            every = await store.every(snap, account_no)
        for one in every:
            source = one.source.encode()
            if one.no == script_no and zlib.crc32(source) == version:
                return source
        return None

    async def put(self, account_no: int, name: str, source: bytes) -> Stored:
        """Makes a script or replaces it. `BadScript`; `Refused`: INVALID_PARAM (the name),
        LIMIT_EXCEEDED (there are too many)."""
        check_name(name)
        text = await checked(source)

        async def write(tx: Tx, filters: Filters) -> Stored:
            known = await store.named(tx, account_no, name)
            if known is None:
                await self._check_room(tx, account_no)
            made = Stored(known.no if known else self._number(filters), name, text)
            await store.put(tx, account_no, made)
            return made

        return await self._change(account_no, write)

    async def add(self, account_no: int, name: str, source: bytes) -> Stored:
        """`put` of a name that must be free: CONFLICT."""
        await self._check_free(account_no, name)
        return await self.put(account_no, name, source)

    async def replace(
        self, account_no: int, script_no: int, *, name: str | None, source: bytes | None
    ) -> None:
        """Changes a script by its number. `BadScript`; `Refused`: NOT_FOUND, CONFLICT (the name
        is another's), INVALID_PARAM."""
        text = None
        if source is not None:
            text = await checked(source)
        if name is not None:
            check_name(name)

        async def write(tx: Tx, filters: Filters) -> None:
            known = {one.no: one for one in await store.every(tx, account_no)}
            old = known.get(script_no)
            if old is None:
                raise unknown()
            wanted = old.name if name is None else name
            if any(one.name == wanted for one in known.values() if one.no != script_no):
                raise Refused(Reason.CONFLICT, "Another script has this name")
            new = Stored(script_no, wanted, old.source if text is None else text)
            await store.put(tx, account_no, new)

        await self._change(account_no, write)

    async def rename(self, account_no: int, old: str, name: str) -> None:
        """Gives a script another name; an active one stays active."""
        found = await self.get(account_no, old)
        await self.replace(account_no, found.no, name=name, source=None)

    async def delete(self, account_no: int, script_no: int) -> None:
        """`Refused`: NOT_FOUND; FORBIDDEN while it is active."""

        async def write(tx: Tx, filters: Filters) -> None:
            if all(one.no != script_no for one in await store.names(tx, account_no)):
                raise unknown()
            if filters.active == script_no:
                raise Refused(Reason.FORBIDDEN, "The active script cannot be deleted")
            await store.drop(tx, account_no, script_no)

        await self._change(account_no, write)

    async def activate(self, account_no: int, script_no: int) -> None:
        """Makes a script the active one; 0: none is. Says `NOT_FOUND`."""

        async def write(tx: Tx, filters: Filters) -> None:
            names = await store.names(tx, account_no)
            if script_no and all(one.no != script_no for one in names):
                raise unknown()
            filters.active = script_no

        await self._change(account_no, write)

    async def have_space(self, account_no: int, name: str, size: int) -> None:
        """Whether `put` of so many bytes would be taken. `Refused`: TOO_LARGE, LIMIT_EXCEEDED,
        INVALID_PARAM."""
        check_name(name)
        if size > limits.SIEVE_SCRIPT_MAX:
            raise Refused(Reason.TOO_LARGE, f"At most {limits.SIEVE_SCRIPT_MAX} bytes")
        async with self._db.read() as snap:
            names = {one.name for one in await store.names(snap, account_no)}
        if name not in names and len(names) >= limits.SIEVE_SCRIPTS_MAX:
            raise _too_many()

    async def set_vacation(self, account_no: int, vacation: Vacation) -> None:
        """Sets what is answered while somebody is away. Says `TOO_LARGE`."""
        text = msgspec.json.encode(vacation).decode()
        if len(text) > limits.SIEVE_SCRIPT_MAX:
            raise Refused(Reason.TOO_LARGE, "This answer is too long")

        async def write(tx: Tx, filters: Filters) -> None:
            filters.vacation = text

        await self._change(account_no, write)

    async def _check_free(self, account_no: int, name: str) -> None:
        async with self._db.read(single=True) as snap:
            if await store.named(snap, account_no, name) is not None:
                raise Refused(Reason.CONFLICT, "Another script has this name")

    async def _check_room(self, tx: Tx, account_no: int) -> None:
        if len(await store.names(tx, account_no)) >= limits.SIEVE_SCRIPTS_MAX:
            raise _too_many()

    def _number(self, filters: Filters) -> int:
        filters.next_no += 1
        return filters.next_no - 1

    async def _change(self, account_no: int, write: Callable[[Tx, Filters], object]) -> _T:
        async def run() -> _T:
            async with self._db.write() as tx:
                account = await ensure(tx, account_no, self._clock() // 1000)
                filters = await store.lock(tx, account_no)
                done: _T = await write(tx, filters)  # type: ignore[misc]
                filters.changes += 1
                await store.save(tx, filters)
                modseq = account.next_modseq()
                await boxes.save(tx, account)
                tx.change(Kind.FILTERS, account_no, filters.changes)
                tx.change(Kind.MAIL, account_no, modseq)  # who listens asks what is new
            return done

        return await retrying(run)


def vacation_of(filters: Filters) -> Vacation:
    """The vacation of a row; the default if none was set."""
    if not filters.vacation:
        return Vacation()
    return msgspec.json.decode(filters.vacation, type=Vacation)


async def checked(source: bytes) -> str:
    """The text of a script that can be run; else `BadScript`. A long one is judged on a thread."""
    text = decoded(source)
    if len(text) > OFF_LOOP:
        await asyncio.to_thread(check, text)
    else:
        check(text)
    return text


def check_name(name: str) -> None:
    """`Refused(INVALID_PARAM)` for what no script may be called."""
    if not 0 < len(name) <= limits.SIEVE_NAME_MAX or any(
        unicodedata.category(letter) in _BAD_NAME for letter in name
    ):
        raise Refused(Reason.INVALID_PARAM, "No script can be called so")


def unknown() -> Refused:
    """There is no such script."""
    return Refused(Reason.NOT_FOUND, "There is no such script")


def _too_many() -> Refused:
    return Refused(Reason.LIMIT_EXCEEDED, f"At most {limits.SIEVE_SCRIPTS_MAX} scripts")
