"""Both engines for every subject's storage tests: fixtures `database` and `feed`.

`database` is parametrised: a test that asks for it runs once on SQLite and once on PostgreSQL,
each time on an empty database with the whole schema. In strict mode the engines refuse what
would be wrong under load: waiting inside a transaction for anything but it, `:pos` outside
`at_end`, `take_id` inside a transaction.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase
from tests import postgres

ENGINES = ("sqlite", "postgres")
_DATABASES = itertools.count()

_EMPTY = """
do $$ declare name text; found bool; begin
    for name in select tablename from pg_tables
        where schemaname = 'public' and tablename <> 'schema_version' loop
        execute format('select exists (select 1 from %I)', name) into found;
        if found then execute format('delete from %I', name); end if;
    end loop;
    perform setval('feed_pos', 1, false);
end $$
"""


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database file with the whole schema."""
    path = tmp_path_factory.mktemp("schema") / "kerwen.db"
    migrate_sqlite(path)
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A running PostgreSQL, shared by the whole run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with postgres.shared(run) as server:
        if server is None:
            pytest.skip("PostgreSQL is not here")
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server) -> str:
    """The DSN of this test process's own database, with the whole schema."""
    # a folder's conftest that takes these fixtures over has its own session: each its database
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"kerwen_{worker}_{os.getpid()}_{next(_DATABASES)}"
    dsn = postgres_server.database(name)
    with ThreadPoolExecutor(1) as thread:  # here a loop may be running already
        thread.submit(asyncio.run, _create(postgres_server, name, dsn)).result()
    return dsn


async def _create(server: postgres.Server, name: str, dsn: str) -> None:
    from kerwen.storage.migrate import migrate_postgres
    from kerwen.storage.postgres_pool import connect

    link = await connect(server.dsn)
    await link.execute(f"create database {name} template template0 encoding 'UTF8' locale 'C'")
    await link.raw.close()
    link = await connect(dsn)
    await migrate_postgres(link)
    await link.raw.close()


async def emptied(dsn: str) -> str:
    """Removes all rows of a test process's database."""
    from kerwen.storage.postgres_pool import connect

    link = await connect(dsn)
    await link.execute(_EMPTY)
    link.raw.terminate()
    return dsn


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of the engine that this run of the test is for."""
    name: str = request.param
    return name


@pytest.fixture
def feed() -> Feed:
    """The feed that `database` tells."""
    return Feed()


@pytest.fixture
async def database(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, feed: Feed
) -> AsyncIterator[Database]:
    """An empty database of either engine with the whole schema, in strict mode."""
    db: Database
    locks = os.environ.get("KERWEN_STRICT_LOCKS", "") == "1"
    if engine == "sqlite":
        path = tmp_path / "kerwen.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        db = SqliteDatabase(path, feed, strict=True, strict_locks=locks)
    else:
        from kerwen.storage.postgres_open import open_postgres

        dsn = await emptied(request.getfixturevalue("postgres_template"))
        db = await open_postgres(dsn, feed, strict=True, strict_locks=locks)
    yield db
    await db.close()
