"""Copies of the database, taken while it runs; and what must follow when one is put back.

SQLite: a copy through SQLite's own backup interface, from one snapshot, in small steps on a
thread, so that writers never wait. PostgreSQL: `pg_dump --format=custom DSN`; to put it back,
`pg_restore --dbname=DSN FILE`, then `jump_postgres` (which `kerwen restore` does).

Clients may hold tokens newer than the copy. So a restored feed *jumps*: it leaves 2^32 numbers
unused, every such token stays valid, and no new change hides under one (`feed.md` §10).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import orjson

from kerwen.storage.database import Kind
from kerwen.storage.feed import settled_at
from kerwen.storage.sqlite_link import connect

JUMP_RESTORE = 2**32
_PAGES = 128  # a step: half a MiB
_PAUSE_S = 0.001  # between steps: the disk is for the writers first


def copy_sqlite(source: Path, target: Path) -> None:
    """Writes a consistent copy of a database in use; for a thread or a process of its own.

    The copy appears under its name when it is whole and on disk. Raises OSError or
    sqlite3.Error; then nothing is left behind.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        _copy(source, part)
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, part: Path) -> None:
    if not source.exists():
        raise FileNotFoundError(source)
    reader = connect(source, query_only=True)
    writer = sqlite3.connect(part)
    try:
        # a snapshot of our own: without it, each commit of the server would begin the copy anew
        reader.execute("begin")
        reader.execute("select count(*) from sqlite_schema").fetchone()
        reader.backup(writer, pages=_PAGES, progress=lambda *_: time.sleep(_PAUSE_S))
        reader.execute("commit")
        check = writer.execute("pragma quick_check(1)").fetchone()[0]
        if check != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {check}")
    finally:
        reader.close()
        writer.close()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


async def backup_sqlite(source: Path, target: Path) -> None:
    """`copy_sqlite` on a thread."""
    await asyncio.to_thread(copy_sqlite, source, target)


def restore_sqlite(copy: Path, target: Path) -> int:
    """Puts a copy in the database's place and jumps; the next position. The server is stopped.

    Refuses (FileExistsError) to write over a database.
    """
    if target.exists():
        raise FileExistsError(target)
    part = target.with_name(target.name + ".restore")
    part.unlink(missing_ok=True)
    try:
        _copy(copy, part)
        following = jump_sqlite(part)
        for suffix in ("-wal", "-shm"):  # of a database that stood here before
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    finally:
        for suffix in ("", "-wal", "-shm"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)
    return following


def jump_sqlite(path: Path, by: int = JUMP_RESTORE) -> int:
    """Leaves `by` positions unused in a database that nobody has open; the next position."""
    conn = connect(path)
    try:
        conn.execute("begin immediate")
        newest, items = conn.execute(
            "select pos, items from feed order by pos desc limit 1"
        ).fetchone() or (0, "[]")
        following = settled_at(newest, orjson.loads(items)) + by
        first_free = settled_at(newest, orjson.loads(items)) + 1
        row = orjson.dumps([[Kind.JUMP, 0, following]]).decode()
        conn.execute("insert into feed (pos, items) values (?, ?)", (first_free, row))
        conn.execute("commit")
    finally:
        conn.close()  # the last connection: the log is copied into the file
    return following


async def jump_postgres(dsn: str) -> int:
    """Jumps after `pg_restore`; the next position. No worker may run."""
    from kerwen.storage.postgres_feed import jump
    from kerwen.storage.postgres_pool import connect as connect_postgres

    link = await connect_postgres(dsn)
    try:
        return await jump(link, JUMP_RESTORE)
    finally:
        link.raw.terminate()
