"""Upgrades: whole or not at all, never backwards, the old file kept until it is done."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.storage import migrate
from kerwen.storage.migrate import migrate_postgres, migrate_sqlite, missing, versions
from kerwen.storage.postgres_pool import Link
from kerwen.storage.postgres_pool import connect as connect_postgres
from kerwen.storage.sqlite_link import connect
from tests import postgres

ONE = "-- the first; with a semicolon\ncreate table a (no {id}, t TEXT default ';');\n"
TWO = "create table b (no {id}); insert into b values (1);\nalter table a add column n BIGINT;"
BAD = "create table c (no {id}); insert into nowhere values (1);"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "schema"
    made.mkdir()
    (made / "0001_one.sql").write_text(ONE)
    (made / "README").write_text("not a schema file")
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kerwen.db"


def _tables(path: Path) -> set[str]:
    conn = connect(path)
    rows = conn.execute("select name from sqlite_schema where type = 'table'").fetchall()
    conn.close()
    return {row[0] for row in rows} - {"schema_version"}


def _done(path: Path) -> list[int]:
    conn = connect(path)
    rows = conn.execute("select version from schema_version order by version").fetchall()
    conn.close()
    return [row[0] for row in rows]


def test_from_nothing_and_one_by_one(path: Path, folder: Path) -> None:
    migrate_sqlite(path, folder)
    assert (_tables(path), _done(path)) == ({"a"}, [1])
    (folder / "0002_two.sql").write_text(TWO)
    migrate_sqlite(path, folder)
    assert (_tables(path), _done(path)) == ({"a", "b"}, [1, 2])
    migrate_sqlite(path, folder)
    assert _done(path) == [1, 2]
    assert {file.name for file in path.parent.iterdir()} == {"kerwen.db", "schema"}


def test_a_newer_schema_is_refused_with_a_clear_line(path: Path, folder: Path) -> None:
    (folder / "0002_two.sql").write_text(TWO)
    migrate_sqlite(path, folder)
    (folder / "0002_two.sql").unlink()
    with pytest.raises(SystemExit, match="newer than this program"):
        migrate_sqlite(path, folder)
    assert _done(path) == [1, 2]


def test_an_upgrade_that_fails_changes_nothing_and_keeps_the_copy(path: Path, folder: Path) -> None:
    migrate_sqlite(path, folder)
    conn = connect(path)
    conn.execute("insert into a (no) values (7)")
    conn.close()
    (folder / "0002_two.sql").write_text(TWO)
    (folder / "0003_bad.sql").write_text(BAD)
    with pytest.raises(sqlite3.OperationalError):
        migrate_sqlite(path, folder)
    assert (_tables(path), _done(path)) == ({"a"}, [1])
    copy = path.with_name("kerwen.db.before-upgrade")
    assert _tables(copy) == {"a"}
    (folder / "0003_bad.sql").write_text("create table c (no {id})")
    migrate_sqlite(path, folder)
    assert _tables(path) == {"a", "b", "c"}
    assert not copy.exists()


class Killed(BaseException):
    """The process is gone: nothing below runs again."""


@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_anywhere_is_made_good_by_the_next_start(
    path: Path, folder: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate_sqlite(path, folder)
    (folder / "0002_two.sql").write_text(TWO)
    real = migrate.connect
    count = 0

    class Dying:
        def __init__(self, conn: sqlite3.Connection) -> None:
            self.conn = conn

        def execute(self, *args: object) -> sqlite3.Cursor:
            nonlocal count
            count += 1
            if count == at:
                self.conn.close()
                raise Killed
            return self.conn.execute(*args)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(self.conn, name)

    monkeypatch.setattr(migrate, "connect", lambda p, **kw: real(p, **kw) if kw else Dying(real(p)))
    try:
        migrate_sqlite(path, folder)
    except Killed:
        assert _done(path) in ([1], [1, 2])
    monkeypatch.undo()
    migrate_sqlite(path, folder)
    assert (_tables(path), _done(path)) == ({"a", "b"}, [1, 2])


def test_numbers_are_used_once(folder: Path) -> None:
    (folder / "0001_other.sql").write_text(ONE)
    with pytest.raises(AssertionError, match="two schema files"):
        versions(folder)


def test_a_start_without_news_reads_no_file(path: Path, folder: Path) -> None:
    migrate_sqlite(path, folder)
    (folder / "0001_one.sql").write_bytes(b"\xff not even text")
    migrate_sqlite(path, folder)


def test_our_own_files_are_in_order() -> None:
    found = versions()
    assert sorted(found)[0] == 1
    assert missing(set(found), migrate._FOLDER, "x") == {}


@pytest.fixture
async def link(postgres_server: postgres.Server) -> AsyncIterator[Link]:
    """A database of our own without any schema."""
    admin = await connect_postgres(postgres_server.dsn)
    await admin.execute("create database kerwen_migrate template template0 locale 'C'")
    made = await connect_postgres(postgres_server.database("kerwen_migrate"))
    yield made
    made.raw.terminate()
    await admin.execute("drop database kerwen_migrate with (force)")
    await admin.raw.close()


async def test_postgres_from_nothing_and_one_by_one(
    link: Link, folder: Path, postgres_server: postgres.Server
) -> None:
    await migrate_postgres(link, folder)
    (folder / "0002_two.sql").write_text(TWO)
    await migrate_postgres(link, folder)
    await migrate_postgres(link, folder)
    assert await link.value("select count(*) from b") == 1
    assert await link.value("select array_agg(version order by version) from schema_version") == [
        1,
        2,
    ]
    assert await link.value("select cache_size from pg_sequences") == 1  # feed.md §3
    (folder / "0003_bad.sql").write_text(BAD)
    with pytest.raises(Exception, match="nowhere"):
        await migrate_postgres(link, folder)
    again = await connect_postgres(postgres_server.database("kerwen_migrate"))
    assert await again.value("select to_regclass('c')") is None
    (folder / "0003_bad.sql").unlink()
    (folder / "0002_two.sql").unlink()
    with pytest.raises(SystemExit, match="newer than this program"):
        await migrate_postgres(again, folder)
    again.raw.terminate()


async def test_postgres_that_sorts_by_a_language_is_refused(
    postgres_server: postgres.Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answers:
        async def value(self, text: str) -> str:
            return "en_US.UTF-8"

    with pytest.raises(SystemExit, match="locale 'C'"):
        await migrate._check_database(Answers())  # type: ignore[arg-type]
