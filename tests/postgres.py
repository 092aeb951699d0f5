"""A private PostgreSQL for tests: found or installed, started in a folder of its own, stopped.

One cluster serves a whole run, all workers of pytest-xdist included: the first who needs it
starts it, the last who leaves stops it. It listens on a Unix socket only, and it syncs to disk
like a real one. `KERWEN_TEST_POSTGRES=off` does without; a DSN there names a server to use
instead (its role may create databases).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETTING = "KERWEN_TEST_POSTGRES"
_PORT = 5432  # names the socket only; the folder makes it unique
_OPTIONS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "150",
    "max_wal_size": "1GB",
    "log_min_messages": "fatal",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `folder` is empty when it is not ours."""

    dsn: str
    folder: str = ""

    def database(self, name: str) -> str:
        """The DSN of one of its databases."""
        head, query = self.dsn.split("?", 1) if "?" in self.dsn else (self.dsn, "")
        base = head.rsplit("/", 1)[0]
        return f"{base}/{name}" + (f"?{query}" if query else "")


def _newest() -> Path | None:
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    if found:
        return Path(max(found, key=lambda p: int(Path(p).parts[4].split(".")[0]))).parent
    which = shutil.which("postgres")
    return Path(which).resolve().parent if which else None


def _install() -> None:
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return
    print("tests: installing PostgreSQL with apt-get", file=sys.stderr, flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "postgresql"]):
        subprocess.run(
            ["apt-get", *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )


@functools.cache
def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, after an attempt to install them; or None."""
    if os.environ.get(SETTING) == "off":
        return None
    found = _newest()
    if found is None:
        _install()
        found = _newest()
    if found is None:
        print(
            "tests: PostgreSQL is not here and cannot be installed (not root, or no apt-get):"
            " its half of the storage tests is skipped",
            file=sys.stderr,
            flush=True,
        )
    return found


def _owner() -> dict[str, str]:
    """PostgreSQL refuses to run as root: then its programs run as `postgres` or `nobody`."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return {"user": name}
    raise RuntimeError("no user to run PostgreSQL as")


def start(folder: Path) -> tuple[Server, int]:
    """Makes and starts a cluster in an empty folder; the server and its process id."""
    programs = binaries()
    assert programs is not None
    owner = _owner()
    if owner:
        shutil.chown(folder, owner["user"])
    folder.chmod(0o755)
    words = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "kerwen"]
    _run([programs / "initdb", "-D", folder / "data", *words], owner)
    options = [part for key, value in _OPTIONS.items() for part in ("-c", f"{key}={value}")]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [programs / "postgres", "-D", folder / "data", "-k", folder, "-p", str(_PORT), *options],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        start_new_session=True,
        **owner,  # type: ignore[call-overload]
    )
    _run([programs / "pg_isready", "-q", "-h", folder, "-p", str(_PORT)], owner, tries=200)
    return Server(f"postgresql://kerwen@/postgres?host={folder}&port={_PORT}", str(folder)), (
        server.pid
    )


def _run(command: list[object], owner: dict[str, str], tries: int = 1) -> None:
    for left in reversed(range(tries)):
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            check=False,
            **owner,  # type: ignore[call-overload]
        )
        if done.returncode == 0:
            return
        if left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["sleep", "0.05"], check=False)
    raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")


def stop(pid: int, folder: Path) -> None:
    """Ends a cluster at once (it holds nothing that anybody wants) and removes it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)  # immediate shutdown
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    for _ in range(100):  # not our child, but another worker's
        if not _runs(pid):
            break
        subprocess.run(["sleep", "0.05"], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


@contextlib.contextmanager
def shared(run: str) -> Iterator[Server | None]:
    """The server of a test run; None if PostgreSQL cannot be had. `run` names the run."""
    named = os.environ.get(SETTING, "")
    if named and named != "off":
        yield Server(named)
        return
    if binaries() is None:
        yield None
        return
    book = Path(tempfile.gettempdir()) / f"kerwen-test-postgres-{run}.json"
    server = _join(book)
    try:
        yield server
    finally:
        _leave(book)


@contextlib.contextmanager
def _locked(book: Path) -> Iterator[dict[str, object]]:
    with book.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        entry: dict[str, object] = json.loads(file.read() or "{}")
        yield entry
        file.seek(0)
        file.truncate()
        file.write(json.dumps(entry))


def _join(book: Path) -> Server:
    with _locked(book) as entry:
        if not entry:
            folder = Path(tempfile.mkdtemp(prefix="kerwen-pg-"))
            server, pid = start(folder)
            entry.update(dsn=server.dsn, folder=server.folder, pid=pid, users=0)
        entry["users"] = int(str(entry["users"])) + 1
        return Server(str(entry["dsn"]), str(entry["folder"]))


def _leave(book: Path) -> None:
    with _locked(book) as entry:
        entry["users"] = int(str(entry["users"])) - 1
        if entry["users"] == 0:
            stop(int(str(entry["pid"])), Path(str(entry["folder"])))
            book.unlink()
