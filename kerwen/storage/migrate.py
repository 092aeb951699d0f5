"""Schema files: numbered, never edited after a release, applied once each at start.

An upgrade is one transaction: it is done whole or not at all, so a crash in the middle leaves
the old schema, and the next start does it again. SQLite keeps a copy of the old file beside it
until the upgrade is done.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from kerwen.storage.dialect import POSTGRES, SQLITE, Dialect
from kerwen.storage.sql import expand_script
from kerwen.storage.sqlite import connect

if TYPE_CHECKING:
    from kerwen.storage.postgres_pool import Link

_NUMBERED = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_FOLDER = Path(__file__).parent / "schema"
_VERSION_TABLE = "create table if not exists schema_version (version BIGINT not null)"
_ONE_AT_A_TIME = 0x6B657277656E  # an advisory lock: one worker upgrades, the others wait


def versions(folder: Path = _FOLDER) -> dict[int, Path]:
    """The schema files by number. Reads names only, so that a start costs little."""
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        match = _NUMBERED.fullmatch(file.name)
        if match:
            number = int(match.group(1))
            assert number not in found, f"two schema files have number {number}"
            found[number] = file
    return found


def missing(done: set[int], folder: Path, where: str) -> dict[int, Path]:
    """What is still to be applied; SystemExit if a newer program was here."""
    wanted = versions(folder)
    newest = max(wanted)
    if done and max(done) > newest:
        raise SystemExit(
            f"kerwen: {where} has schema {max(done)}, newer than this program ({newest});"
            " install the newer Kerwen again"
        )
    return {number: file for number, file in wanted.items() if number not in done}


def _text(file: Path, dialect: Dialect) -> str:
    return expand_script(file.read_text("utf-8"), dialect)


def migrate_sqlite(path: Path, folder: Path = _FOLDER) -> None:
    """Creates or upgrades the database file; refuses one that a newer program wrote."""
    conn = connect(path)
    try:
        conn.execute(_VERSION_TABLE)
        todo = missing(_done(conn), folder, str(path))
        if todo:
            _upgrade(conn, path, folder)
    finally:
        conn.close()


def _done(conn: sqlite3.Connection) -> set[int]:
    return {row[0] for row in conn.execute("select version from schema_version")}


def _upgrade(conn: sqlite3.Connection, path: Path, folder: Path) -> None:
    copy = path.with_name(path.name + ".before-upgrade")
    conn.execute("pragma busy_timeout = 60000")
    conn.execute("begin immediate")  # one process at a time; the others find it done
    try:
        done = _done(conn)
        todo = missing(done, folder, str(path))
        if done and todo:
            _copy(path, copy)
        for number, file in todo.items():
            for statement in _statements(_text(file, SQLITE)):
                conn.execute(statement)
            conn.execute("insert into schema_version values (?)", (number,))
        conn.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            conn.execute("rollback")
        raise
    copy.unlink(missing_ok=True)


def _statements(text: str) -> list[str]:
    """The statements of a script (`executescript` would commit what is under way)."""
    found = []
    rest = ""
    for piece in text.split(";"):
        rest += piece
        if sqlite3.complete_statement(rest + ";"):
            found.append(rest)
            rest = ""
        else:
            rest += ";"  # it stood in a string, a comment or a trigger
    left = rest.removesuffix(";")
    if re.sub(r"--[^\n]*", "", left).strip():
        found.append(left)  # a last statement without its semicolon
    return found


def _copy(path: Path, copy: Path) -> None:
    """A whole copy of the old database: written aside, synced, then named."""
    part = copy.with_name(copy.name + ".part")
    part.unlink(missing_ok=True)
    source, target = connect(path, query_only=True), sqlite3.connect(part)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(copy)


async def migrate_postgres(link: Link, folder: Path = _FOLDER) -> None:
    """Creates or upgrades the schema of a PostgreSQL database, in one transaction."""
    exists = await link.value("select to_regclass('schema_version') is not null")
    if exists and not missing(await _done_postgres(link), folder, "the database"):
        return
    await link.execute("begin")
    try:
        await link.execute(
            f"set local lock_timeout = 0; select pg_advisory_xact_lock({_ONE_AT_A_TIME})"
        )
        await link.execute(_VERSION_TABLE)
        done = await _done_postgres(link)
        if not done:
            await _check_database(link)
            await link.execute("create sequence feed_pos cache 1")
        for number, file in missing(done, folder, "the database").items():
            await link.execute(_text(file, POSTGRES))
            await link.execute(f"insert into schema_version values ({number})")
        await link.execute("commit")
    except BaseException:
        link.raw.terminate()
        raise


async def _done_postgres(link: Link) -> set[int]:
    rows = await link.call(link.raw.fetch, "select version from schema_version")
    return {row[0] for row in rows}


async def _check_database(link: Link) -> None:
    """A new database must sort text by bytes, as SQLite does and our indexes need."""
    collation = await link.value(
        "select datcollate from pg_database where datname = current_database()"
    )
    if collation not in ("C", "POSIX", "C.UTF-8", "C.utf8"):
        raise SystemExit(
            f"kerwen: the PostgreSQL database sorts by {collation}; make it with"
            " `create database kerwen template template0 encoding 'UTF8' locale 'C'`"
        )
