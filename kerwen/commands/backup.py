"""`kerwen backup` and `kerwen restore`: the data folder as one tar file, and back.

A backup may be taken while the server runs. The database is copied first, as it stood at one
moment; then the blobs, which are on disk before a row names them, so every blob that the copy
names is there (but for those that somebody deleted in between). The last member, `MANIFEST`,
holds the SHA-256 of every other: a backup that was cut off has none and is refused.

A restore also renews what the lost server may have given away after the backup: one-time keys are
spent, devices are looked at again, and tokens that are unknown now end softly, so that clients
log in again and keep their keys. `docs/promise.md` says what is promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from kerwen.accounts.store.tokens import note_restore
from kerwen.base.clock import now_ms
from kerwen.base.config import BadConfig, Config, recorded_domain
from kerwen.base.errors import Unavailable
from kerwen.keys.store.restored import renew_after_restore
from kerwen.mail.store.restored import renew_after_restore as renew_mail
from kerwen.storage.backup import copy_sqlite, jump_postgres, jump_sqlite
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database

DATABASE: Final = "kerwen.db"
MANIFEST: Final = "MANIFEST"
FORMAT: Final = 1
_NOT_KEPT: Final = ("lock", "admin.sock", DATABASE)  # and what lies beside the database
_MODES: Final = {"tar": "w|", "gz": "w|gz"}


def backup(config: Config, file: Path) -> tuple[int, int]:
    """Writes a backup; the number of its files and its size in bytes. Raises `BadConfig`.

    `file` ends with `.tar` or `.tar.gz`, must not exist, and appears only when it is whole.
    """
    data = config.data_path
    if config.database is not None or config.blobs is not None:
        raise BadConfig("this backs up a data folder; PostgreSQL and S3 have tools of their own")
    if not (data / DATABASE).exists():
        raise BadConfig(f"there is no {DATABASE} in {data}")
    if file.exists():
        raise BadConfig(f"{file} exists already")
    part = file.with_name(file.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            count = _write(data, out, _mode(file), file.parent)
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise BadConfig(f"{file}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return count, file.stat().st_size


def restore(file: Path, data: Path) -> int:
    """Unpacks a backup into an empty or new folder; the number of files. Raises `BadConfig`."""
    if data.exists() and any(data.iterdir()):
        raise BadConfig(f"{data} is not empty: a restore writes over nothing")
    data.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(tarfile.open(file, "r|*"))
            room = Path(tempfile.mkdtemp(prefix=data.name + ".restore-", dir=data.parent))
            stack.callback(shutil.rmtree, room, ignore_errors=True)
            count = _unpack(source, room)
            _check_database(room / DATABASE)
            jump_sqlite(room / DATABASE)
            asyncio.run(_renew(room / DATABASE))
            if data.exists():
                data.rmdir()
            room.rename(data)
            _sync_folder(data.parent)
        except (OSError, EOFError, tarfile.TarError) as error:
            raise BadConfig(f"{file}: {error}") from None
    return count


def after_pg_restore(dsn: str) -> int:
    """What a restore must do to a PostgreSQL database that was put back; the next position on
    its feed. No worker may run. Raises `BadConfig`.
    """

    async def both() -> int:
        following = await jump_postgres(dsn)
        await _renew(dsn)
        return following

    try:
        return asyncio.run(both())
    except Unavailable as error:
        raise BadConfig(f"PostgreSQL: {error.private.get('cause', error)}") from None


# --- writing -------------------------------------------------------------------------------


def _mode(file: Path) -> str:
    mode = _MODES.get(file.suffix.removeprefix("."))
    if mode is None:
        raise BadConfig(f"{file}: the name must end with .tar or .tar.gz")
    return mode


def _write(data: Path, out: IO[bytes], mode: str, folder: Path) -> int:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        with _copy_of(data / DATABASE, folder) as copy:
            _add(tar, copy, DATABASE, sums)
        for path in _files(data):
            _add(tar, path, path.relative_to(data).as_posix(), sums)
        text = json.dumps(
            {
                "format": FORMAT,
                "domain": recorded_domain(data),
                "at_ms": time.time_ns() // 1_000_000,
                "sha256": sums,
            }
        ).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(text)
        info.mtime = int(time.time())
        tar.addfile(info, io.BytesIO(text))
    return len(sums)


@contextlib.contextmanager
def _copy_of(database: Path, folder: Path) -> Iterator[Path]:
    """A copy of the database as it stood at one moment; writers are not stopped."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".kerwen-backup-") as room:
        copy = Path(room) / DATABASE
        try:
            copy_sqlite(database, copy)
        except sqlite3.Error as error:
            raise BadConfig(f"{database}: {error}") from None
        yield copy


def _files(data: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(data):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            kept = path.parent != data or not name.startswith(_NOT_KEPT)
            if kept and not name.endswith(".part") and path.is_file() and not path.is_symlink():
                yield path


class _Summing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self.sha256.update(part)
        return part


def _add(tar: tarfile.TarFile, path: Path, name: str, sums: dict[str, str]) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # deleted since we looked
    with file:
        info = tar.gettarinfo(arcname=name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        summing = _Summing(file)
        tar.addfile(info, summing)
        sums[name] = summing.sha256.hexdigest()


# --- reading -------------------------------------------------------------------------------


def _unpack(source: tarfile.TarFile, room: Path) -> int:
    sums: dict[str, str] = {}
    manifest: dict[str, object] | None = None
    for member in source:
        if member.name == MANIFEST:
            content = source.extractfile(member)
            assert content is not None, "the manifest is a file"
            manifest = json.load(content)
        elif member.isfile():
            sums[member.name] = _extract(source, member, room)
        elif not member.isdir():
            raise tarfile.TarError(f"{member.name} is neither file nor folder")
    if manifest is None:
        raise tarfile.TarError("the backup is not whole: it has no MANIFEST")
    if manifest.get("format") != FORMAT:
        raise tarfile.TarError("a newer Kerwen wrote this backup")
    if manifest.get("sha256") != sums:
        raise tarfile.TarError("the backup is damaged: its sums do not fit")
    return len(sums)


def _extract(source: tarfile.TarFile, member: tarfile.TarInfo, room: Path) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise tarfile.TarError(f"{member.name} would leave the folder")
    path = room.joinpath(*name.parts)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = source.extractfile(member)
    assert found is not None, "it is a file"
    summing = _Summing(found)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        shutil.copyfileobj(summing, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    path.chmod(member.mode & 0o755)
    return summing.sha256.hexdigest()


def _check_database(path: Path) -> None:
    if not path.exists():
        raise tarfile.TarError(f"there is no {DATABASE} in it")
    conn = sqlite3.connect(path)
    try:
        told = conn.execute("pragma quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        told = str(error)
    finally:
        conn.close()
    if told != "ok":
        raise tarfile.TarError(f"the database in it is damaged: {told}")


async def _renew(database: Path | str) -> None:
    """What must not be as it was when the backup was made."""
    db = await open_database(database, Feed())
    try:
        async with db.write() as tx:
            now = now_ms()
            await renew_after_restore(tx)
            await renew_mail(tx, now)
            await note_restore(tx, now)
    finally:
        await db.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
