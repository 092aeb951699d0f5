"""Databases of their own for servers of their own."""

from __future__ import annotations

import itertools
import os

from kerwen.storage.postgres_pool import connect
from tests import postgres

_NUMBERS = itertools.count()


async def empty_database(found: postgres.Server) -> str:
    """The DSN of a new, empty PostgreSQL database."""
    name = f"kerwen_proof_{os.getpid()}_{next(_NUMBERS)}"
    link = await connect(found.dsn)
    await link.execute(f"create database {name} template template0 encoding 'UTF8' locale 'C'")
    await link.raw.close()
    return found.database(name)


async def copied_database(found: postgres.Server, dsn: str) -> str:
    """The DSN of a copy of a database that nobody uses just now, as `pg_restore` would make."""
    source = dsn.split("?")[0].rpartition("/")[2]
    name = f"kerwen_proof_{os.getpid()}_{next(_NUMBERS)}"
    link = await connect(found.dsn)
    await link.execute(f"create database {name} template {source}")
    await link.raw.close()
    return found.database(name)
