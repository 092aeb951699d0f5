"""`kerwen import synapse`: a whole Synapse into an empty data folder, or nothing (docs/import.md).

The database is built beside its place and put there when it is whole, so whatever ends an import
early leaves an empty folder (and perhaps files that no row names, which the next sweep removes).
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from kerwen.accounts.old_hash import PEPPER_FILE
from kerwen.base.clock import now_ms
from kerwen.base.config import BadConfig, Config, load, recorded_domain
from kerwen.base.errors import Unavailable
from kerwen.commands.synapse.keys import import_keys
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.media import import_media
from kerwen.commands.synapse.people import import_people
from kerwen.commands.synapse.personal import import_personal
from kerwen.commands.synapse.rooms import Rooms
from kerwen.commands.synapse.settings import Settings, read_settings
from kerwen.commands.synapse.source import Source, open_source
from kerwen.main import lock, make_folders, open_blobs
from kerwen.storage.bulk import BulkFile
from kerwen.storage.key_files import read_secret, signing_key, write_secret

DATABASE = "kerwen.db"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says. `into`: a PostgreSQL database of Kerwen's; None: SQLite."""

    database: str | None
    media: Path | None
    settings: Path | None
    data: Path
    domain: str | None = None
    into: str | None = None


@dataclass(slots=True)
class Report:
    """What came over, and what did not."""

    done: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    spent_s: float = 0.0


def run(wanted: Wanted) -> Report:
    """Does it. Raises `BadConfig` with a line for the operator; then nothing was changed."""
    begun = time.monotonic()
    said = read_settings(wanted.settings) if wanted.settings is not None else Settings()
    where = wanted.database or said.database
    if where is None:
        raise BadConfig("say where Synapse's database is: --database PATH or DSN")
    source = open_source(where)
    try:
        domain = _domain(source, said, wanted)
        flags = {"data": str(wanted.data), "domain": domain}
        if wanted.into is not None:
            flags["database"] = wanted.into
        config = load(flags, None, serving=False)
        if (config.data_path / DATABASE).exists():
            raise BadConfig(f"{config.data_path} has a database: an import wants an empty folder")
        make_folders(config)
        with lock(config.data_path):
            _keep_secrets(config, said)
            report = asyncio.run(_import(config, source, wanted.media or said.media))
    except Unavailable as error:
        raise BadConfig(f"{error.reason.name}: {error.private.get('cause', '')}") from None
    finally:
        source.close()
    report.spent_s = time.monotonic() - begun
    return report


def _domain(source: Source, said: Settings, wanted: Wanted) -> str:
    """The server's name, which can never change."""
    row = next(source.rows("select name from users order by creation_ts limit 1"), None)
    if row is None:
        raise BadConfig("that Synapse has no accounts")
    domain: str = row[0].partition(":")[2]
    for other in (said.server_name, wanted.domain, recorded_domain(wanted.data)):
        if other is not None and other != domain:
            raise BadConfig(f"the accounts are of {domain}, not of {other}")
    return domain


def _keep_secrets(config: Config, said: Settings) -> None:
    """The signing key, so that the server stays who it is; the pepper of the old passwords."""
    keys = config.data_path / "keys"
    if said.signing_key is not None:
        kept = read_secret(keys / "signing.key")
        if kept.split() not in ([], said.signing_key.split()):
            raise BadConfig(f"{keys} has a signing key already, another one")
        write_secret(keys / "signing.key", said.signing_key + "\n")
    if said.pepper:
        write_secret(keys / PEPPER_FILE, said.pepper)


async def _import(config: Config, source: Source, media: Path | None) -> Report:
    blobs = open_blobs(config)
    try:
        with BulkFile(config.data_path / DATABASE) as bulk:
            ledger = Ledger(bulk, source, config.server_name, now_ms(), _tell)
            await import_people(ledger)
            await import_keys(ledger)
            await Rooms(ledger, signing_key(config.data_path / "keys")).run()
            await import_personal(ledger)
            if media is not None:
                await import_media(ledger, media, blobs)
            bulk.finish(ledger.end)
            if config.database is None:
                bulk.place()
            else:
                await _into_postgres(bulk.path, config.database)
        return Report(dict(ledger.done), dict(ledger.left_out))
    finally:
        await blobs.close()


async def _into_postgres(path: Path, dsn: str) -> None:
    from kerwen.storage.move import move_to_postgres

    _tell("into PostgreSQL")
    await move_to_postgres(path, dsn)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
