"""Schema files: numbered, never edited after a release, applied once each at start."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

from kerwen.storage.dialect import SQLITE, Dialect
from kerwen.storage.sql import expand_script
from kerwen.storage.sqlite import connect

_NUMBERED = re.compile(r"(\d{4})_[a-z_]+\.sql")


def scripts(dialect: Dialect) -> list[tuple[int, str]]:
    """The schema files in order, in an engine's words."""
    found = []
    for file in resources.files("kerwen.storage").joinpath("schema").iterdir():
        match = _NUMBERED.fullmatch(file.name)
        if match:
            found.append((int(match.group(1)), expand_script(file.read_text("utf-8"), dialect)))
    return sorted(found)


def migrate_sqlite(path: Path) -> None:
    """Creates or upgrades the database file; refuses one that a newer program wrote."""
    conn = connect(path)
    conn.execute("create table if not exists schema_version (version BIGINT not null)")
    current = conn.execute("select coalesce(max(version), 0) from schema_version").fetchone()[0]
    wanted = scripts(SQLITE)
    if current > wanted[-1][0]:
        conn.close()
        raise SystemExit(
            f"kerwen: {path} has schema {current}, newer than this program ({wanted[-1][0]});"
            " install the newer Kerwen again"
        )
    for version, text in wanted:
        if version > current:
            _apply(conn, version, text)
    conn.close()


def _apply(conn: sqlite3.Connection, version: int, text: str) -> None:
    conn.executescript(
        f"begin immediate;\n{text}\ninsert into schema_version values ({version});\ncommit;"
    )
