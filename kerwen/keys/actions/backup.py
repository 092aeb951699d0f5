"""Keeps sealed copies of session keys: versions of a backup, and the keys in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.keys.backup import Rank, SessionKey, Version, replaces, version_data, version_number
from kerwen.keys.store import backup as store
from kerwen.keys.store.cross_signing import lock_user
from kerwen.storage.database import Database, Row, Snap, Tx


@dataclass(frozen=True, slots=True)
class Place:
    """What of a backup is meant: all of it, a room, or one session of a room."""

    room_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Stand:
    """How a backup stands after a change."""

    etag: int
    count: int


def _not_found() -> Refused:
    return Refused(Reason.NOT_FOUND, "Unknown backup version")


class Backup:
    """CS #server-side-key-backups. Accounts see nothing but their own."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # --- versions -----------------------------------------------------------------------

    async def create(self, account_no: int, body: dict[str, Any]) -> str:
        """A new backup; its name."""
        algorithm, auth_data = version_data(body)
        async with self._db.write() as tx:
            await lock_user(tx, account_no)
            last, count = await store.last_version(tx, account_no)
            if count >= limits.BACKUP_VERSIONS_MAX:
                raise Refused(Reason.TOO_LARGE, "There are too many backups: delete old ones")
            await store.add_version(tx, account_no, last + 1, algorithm, auth_data)
        return str(last + 1)

    async def version(self, account_no: int, name: str | None) -> Version:
        """A backup, the newest if `name` is None."""
        async with self._db.read() as snap:
            if name is not None:
                return await self._need(snap, account_no, name)
            found = await store.current_version(snap, account_no)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "No current backup version")
        return found

    async def update(self, account_no: int, name: str, body: dict[str, Any]) -> None:
        """Replaces `auth_data`; nothing else may change."""
        algorithm, auth_data = version_data(body)
        if body.get("version") not in (None, name):
            raise Refused(Reason.INVALID_PARAM, "The body names another version")
        async with self._db.write() as tx:
            held = await self._lock(tx, account_no, name)
            if held.algorithm != algorithm:
                raise Refused(Reason.INVALID_PARAM, "Algorithm does not match")
            await store.set_auth_data(tx, account_no, held.version, auth_data)

    async def delete(self, account_no: int, name: str) -> None:
        """Deletes a backup with its keys; well done too if it was deleted before."""
        number = version_number(name)
        if number is None:
            raise _not_found()
        async with self._db.write() as tx:
            if await store.lock_version(tx, account_no, number) is not None:
                await store.delete_version(tx, account_no, number)
            elif not await store.was_deleted(tx, account_no, number):
                raise _not_found()

    # --- keys ---------------------------------------------------------------------------

    async def put(self, account_no: int, name: str, keys: Sequence[SessionKey]) -> Stand:
        """Stores the keys that are better than what is here. Only into the newest backup."""
        async with self._db.write() as tx:
            held = await self._lock_current(tx, account_no, name)
            better, added = await _better(tx, account_no, held.version, keys)
            if not better:
                return Stand(held.etag, held.count)
            count = held.count + added
            if count > limits.BACKUP_KEYS_MAX:
                raise Refused(Reason.TOO_LARGE, "The backup is full")
            await store.put_keys(tx, account_no, held.version, better)
            await store.set_count(tx, account_no, held.version, held.etag + 1, count)
        return Stand(held.etag + 1, count)

    async def key(self, account_no: int, name: str, room_id: str, session_id: str) -> bytes:
        """One session's key, as JSON."""
        async with self._db.read() as snap:
            held = await self._need(snap, account_no, name)
            body = await store.key_of(snap, account_no, held.version, room_id, session_id)
        if body is None:
            raise Refused(Reason.NOT_FOUND, "Key not found")
        return body

    async def keys(
        self, account_no: int, name: str, room_id: str | None
    ) -> bytes | AsyncIterator[bytes]:
        """A room's keys or all, as JSON: at once where they fit a page, else in pieces."""
        async with self._db.read() as snap:
            held = await self._need(snap, account_no, name)
        pages = self._pages(account_no, held.version, room_id)
        first = await anext(pages)
        if len(first) < limits.BACKUP_PAGE:
            writer = _Writer(room_id is None)
            return writer.begin() + writer.rows(first) + writer.end()
        return _json(first, pages, room_id is None)

    async def delete_keys(self, account_no: int, name: str, place: Place) -> Stand:
        """Deletes the keys of a place."""
        async with self._db.write() as tx:
            held = await self._lock(tx, account_no, name)
            gone = await store.delete_keys(
                tx, account_no, held.version, place.room_id, place.session_id
            )
            if not gone:
                return Stand(held.etag, held.count)
            stand = Stand(held.etag + 1, held.count - gone)
            await store.set_count(tx, account_no, held.version, stand.etag, stand.count)
        return stand

    async def _pages(
        self, account_no: int, version: int, room_id: str | None
    ) -> AsyncIterator[list[Row]]:
        """Each page is a snapshot of its own: a slow reader holds nothing open."""
        after = ("", "")
        while True:
            async with self._db.read(long=True) as snap:
                rows = await store.page(
                    snap, account_no, version, room_id, after, limits.BACKUP_PAGE
                )
            yield rows
            if len(rows) < limits.BACKUP_PAGE:
                return
            after = rows[-1][0], rows[-1][1]

    async def _need(self, snap: Snap, account_no: int, name: str) -> Version:
        number = version_number(name)
        found = None
        if number is not None:
            found = await store.version_of(snap, account_no, number)
        if found is None:
            raise _not_found()
        return found

    async def _lock(self, tx: Tx, account_no: int, name: str) -> Version:
        number = version_number(name)
        found = None
        if number is not None:
            found = await store.lock_version(tx, account_no, number)
        if found is None:
            raise _not_found()
        return found

    async def _lock_current(self, tx: Tx, account_no: int, name: str) -> Version:
        current = await store.current_version(tx, account_no)
        if current is None:
            raise _not_found()
        if str(current.version) != name:
            raise Refused(
                Reason.WRONG_BACKUP_VERSION,
                "Wrong backup version",
                extra={"current_version": str(current.version)},
            )
        return await self._lock(tx, account_no, name)


async def _better(
    tx: Tx, account_no: int, version: int, keys: Sequence[SessionKey]
) -> tuple[list[SessionKey], int]:
    """The keys that replace what is here or are new, and how many are new."""
    by_room: dict[str, list[SessionKey]] = defaultdict(list)
    for key in keys:
        by_room[key.room_id].append(key)
    better: list[SessionKey] = []
    added = 0
    for room_id, of_room in by_room.items():
        sessions = [key.session_id for key in of_room]
        held: dict[str, Rank] = await store.ranks(tx, account_no, version, room_id, sessions)
        for key in of_room:
            old = held.get(key.session_id)
            if old is None:
                added += 1
            if old is None or replaces(key.rank, old):
                better.append(key)
    return better, added


class _Writer:
    """Writes the keys of a room, or of all rooms one after the other, as one JSON object."""

    def __init__(self, all_rooms: bool) -> None:
        self._all_rooms = all_rooms
        self._room: str | None = None
        self._first = True

    def begin(self) -> bytes:
        return b'{"rooms":{' if self._all_rooms else b'{"sessions":{'

    def rows(self, rows: Sequence[Row]) -> bytes:
        parts: list[bytes] = []
        for room_id, session_id, body in rows:
            if self._all_rooms and room_id != self._room:
                parts.append(b"" if self._room is None else b"}},")
                parts.append(orjson.dumps(room_id) + b':{"sessions":{')
                self._room = room_id
                self._first = True
            parts.append(b"" if self._first else b",")
            parts.append(b"%b:%b" % (orjson.dumps(session_id), body))
            self._first = False
        return b"".join(parts)

    def end(self) -> bytes:
        return b"}}" if self._room is None else b"}}}}"


async def _json(
    first: list[Row], pages: AsyncIterator[list[Row]], all_rooms: bool
) -> AsyncIterator[bytes]:
    writer = _Writer(all_rooms)
    yield writer.begin() + writer.rows(first)
    async for rows in pages:
        yield writer.rows(rows)
    yield writer.end()
